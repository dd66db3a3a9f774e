"""The URL chooses the store."""

import pytest

from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.replay.redis import RedisReplayStore
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.callee.replay.store import ReplayStore, replay_store
from mstoken.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryReplayStore),
        ("sqlite:///spent.db", SQLiteReplayStore),
        ("sqlite:////var/lib/spent.db", SQLiteReplayStore),
        ("redis://localhost:6379/0", RedisReplayStore),
        ("rediss://user:secret@redis.example.com", RedisReplayStore),
        ("unix:///run/redis.sock", RedisReplayStore),
    ],
)
async def test_the_url_chooses_the_store(url: str, kind: type[ReplayStore]) -> None:
    """One setting, one store; nothing is connected to yet."""
    store = replay_store(url, "test-store")
    assert isinstance(store, kind)
    await store.aclose()


@pytest.mark.parametrize("url", ["", "memory", "memory:x", "sqlite:", "sqlite:///", "mysql://u:secret@x", "/spent.db"])
def test_any_other_url_is_a_settings_error(url: str) -> None:
    """It names the variable and what is wanted, and repeats nothing that may be a password."""
    with pytest.raises(SettingsError, match=r"MSTOKEN_REPLAY_URL is .*is wanted") as caught:
        replay_store(url, "test-store")
    assert "secret" not in str(caught.value)


def test_an_address_that_redis_cannot_have() -> None:
    """Also where the scheme is right."""
    with pytest.raises(SettingsError, match="no address of a Redis") as caught:
        replay_store("redis://:secret@localhost:port", "test-store")
    assert "secret" not in str(caught.value)
