"""services/user/store.py"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.common.database import Database
from services.user.app import MIGRATIONS
from services.user.login_attempts import LoginAttempt
from services.user.profiles import Profile
from services.user.store import LoginAttemptStore, ProfileStore
from tests.services.user.fakes import MemoryLoginAttempts


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database of User."""
    database = Database(database_url, MIGRATIONS)
    await database.open()
    yield database
    await database.close()


@pytest.mark.both_databases
async def test_the_first_profile_stays(database: Database) -> None:
    """Adding a profile that exists changes nothing, because another request may have added it."""
    store = ProfileStore(database)
    first = Profile("maya", "maya@example.com", "Maya")
    await store.add(first)
    await store.add(Profile("maya", None, "Someone else"))
    assert await store.get("maya") == first


class LoginAttemptStoreContract:
    """The promises of every store of failed log-ins, the fake of the tests included."""

    async def add(self, store: LoginAttemptStore, number: int, account: str, network: str, at: int) -> int | None:
        attempt = LoginAttempt(f"{number:032x}", account, network, at)
        return await store.add(attempt, since=at - 100, account_limit=2, network_limit=3)

    async def test_an_account_has_its_limit(self, store: LoginAttemptStore) -> None:
        """The attempts on one account are limited. The answer is the time of the attempt that must expire first."""
        assert await self.add(store, 1, "maya", "a", 1000) is None
        assert await self.add(store, 2, "maya", "b", 1010) is None
        assert await self.add(store, 3, "maya", "c", 1020) == 1000
        assert await self.add(store, 4, "tomas", "c", 1020) is None

    async def test_a_network_has_its_limit(self, store: LoginAttemptStore) -> None:
        """The attempts from one network are limited, whatever accounts they are on."""
        for number in range(3):
            assert await self.add(store, number, f"u{number}", "a", 1000 + number) is None
        assert await self.add(store, 3, "u3", "a", 1010) == 1000
        assert await self.add(store, 4, "u3", "b", 1010) is None

    async def test_refused_attempts_are_not_counted(self, store: LoginAttemptStore) -> None:
        """Further attempts do not make the waiting time longer."""
        for number in range(10):
            await self.add(store, number, "maya", "a", 1000 + number)
        assert await self.add(store, 10, "maya", "a", 1101) is None

    async def test_attempts_are_removed(self, store: LoginAttemptStore) -> None:
        """All attempts on an account, or one attempt, can be removed."""
        last = LoginAttempt(f"{9:032x}", "maya", "a", 1000)
        assert await self.add(store, 1, "maya", "a", 1000) is None
        assert await store.add(last, since=900, account_limit=2, network_limit=3) is None
        await store.remove(last)
        assert await self.add(store, 2, "maya", "a", 1000) is None
        await store.remove_account("maya")
        assert await self.add(store, 3, "maya", "a", 1000) is None


@pytest.mark.both_databases
class TestLoginAttemptStore(LoginAttemptStoreContract):
    """Failed log-ins in a table."""

    @pytest.fixture
    def store(self, database: Database) -> LoginAttemptStore:
        return LoginAttemptStore(database)

    async def test_concurrent_attempts_are_all_counted(self, store: LoginAttemptStore) -> None:
        """However many attempts come at once, no more succeed than the limits allow."""
        await asyncio.gather(*(self.add(store, number, f"u{number}", f"n{number}", 800) for number in range(5)))
        answers = await asyncio.gather(*(self.add(store, 10 + n, "maya", f"n{n}", 1000) for n in range(10)))
        assert answers.count(None) == 2
        answers = await asyncio.gather(*(self.add(store, 20 + n, f"u{n}", "one", 1000) for n in range(10)))
        assert answers.count(None) == 3


class TestMemoryLoginAttempts(LoginAttemptStoreContract):
    """Failed log-ins in a list."""

    @pytest.fixture
    def store(self) -> MemoryLoginAttempts:
        return MemoryLoginAttempts()
