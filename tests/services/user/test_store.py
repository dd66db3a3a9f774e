"""services/user/store.py"""

from pathlib import Path

from services.common.database import Database
from services.user.app import MIGRATIONS
from services.user.profiles import Profile
from services.user.store import ProfileStore


async def test_the_first_profile_stays(tmp_path: Path) -> None:
    """A profile that is added when there is one changes nothing: another request was quicker."""
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'user.db'}", MIGRATIONS)
    await database.open()
    store = ProfileStore(database)
    first = Profile("maya", "maya@example.com", "Maya")
    await store.add(first)
    await store.add(Profile("maya", None, "Someone else"))
    assert await store.get("maya") == first
    await database.close()
