"""services/user/store.py"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from services.common.backlog import Waiting
from services.common.database import Database
from services.user.app import MIGRATIONS
from services.user.attempts import Attempt, Limit
from services.user.profiles import Profile
from services.user.store import AttemptStore, ProfileStore, attempts
from tests.services.user.fakes import MemoryAttempts


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


LIMIT = Limit(free=2, window_seconds=100, first_pause_seconds=10, longest_pause_seconds=20)


def attempt(number: int, at: int, account: str = "", subject: str = "") -> Attempt:
    return Attempt(f"{number:032x}", at, account, subject)


class AttemptStoreContract:
    """The promises of every store of attempts, the fake of the tests included."""

    async def test_a_subject_has_its_limit(self, store: AttemptStore) -> None:
        """Attempts are counted by subject. Beyond the free ones the answer is the seconds to wait."""
        assert await store.add(attempt(1, 1000), {"maya": LIMIT}) == 0
        assert await store.add(attempt(2, 1004), {"maya": LIMIT}) == 0
        assert await store.add(attempt(3, 1005), {"maya": LIMIT}) == 9
        assert await store.add(attempt(4, 1005), {"tomas": LIMIT}) == 0
        assert await store.add(attempt(5, 1014), {"maya": LIMIT}) == 0
        assert await store.add(attempt(6, 1015), {"maya": LIMIT}) == 19

    async def test_the_longest_wait_of_all_limits_counts(self, store: AttemptStore) -> None:
        """An attempt counts for several limits. If one of them makes it wait, it counts for none."""
        strict = Limit(free=1, window_seconds=100, first_pause_seconds=50, longest_pause_seconds=50)
        assert await store.add(attempt(1, 1000), {"maya": LIMIT, "home": strict}) == 0
        assert await store.add(attempt(2, 1000), {"maya": LIMIT, "home": strict}) == 50
        assert await store.add(attempt(3, 1000), {"maya": LIMIT}) == 0
        assert await store.add(attempt(4, 1000), {"maya": LIMIT, "home": strict}) == 50

    async def test_attempts_count_for_their_window(self, store: AttemptStore) -> None:
        """After the window of the limit an attempt does not count any more."""
        for number in range(2):
            await store.add(attempt(number, 1000), {"maya": LIMIT})
        assert await store.add(attempt(3, 1009), {"maya": LIMIT}) == 1
        assert await store.add(attempt(4, 1100), {"maya": LIMIT}) == 0
        assert await store.add(attempt(5, 1100), {"maya": LIMIT}) == 0

    async def test_a_clock_that_was_wrong(self, store: AttemptStore) -> None:
        """Attempts of a clock that was ahead count, and no one waits until the time that it showed."""
        for number in range(2):
            assert await store.add(attempt(number, 1000 + 3000), {"maya": LIMIT}) == 0
        assert await store.add(attempt(2, 1000), {"maya": LIMIT}) == 0
        assert await store.add(attempt(3, 1001), {"maya": LIMIT}) == 19

    async def test_an_attempt_is_removed(self, store: AttemptStore) -> None:
        """An attempt that is removed counts for none of its limits."""
        for number in range(5):
            one = attempt(number, 1000)
            assert await store.add(one, {"maya": LIMIT, "home": LIMIT}) == 0
            await store.remove(one)

    async def test_a_success_forgives_the_attempts_of_its_subject(self, store: AttemptStore) -> None:
        """All attempts with the subject of the log-in are removed from all limits, and no others."""
        for number in range(2):
            await store.add(attempt(number, 1000), {"maya at home": LIMIT, "home": LIMIT})
        await store.add(attempt(3, 1000), {"maya elsewhere": LIMIT, "elsewhere": LIMIT})
        await store.log_in_succeeded(attempt(9, 1001, "maya", "maya at home"), keep_networks=3, since=0)
        for number in range(10, 12):
            assert await store.add(attempt(number, 1001), {"maya at home": LIMIT, "home": LIMIT}) == 0
        assert await store.add(attempt(12, 1001), {"elsewhere": LIMIT}) == 0
        assert await store.add(attempt(13, 1001), {"elsewhere": LIMIT}) == 10

    async def test_networks_are_known(self, store: AttemptStore) -> None:
        """An account knows the networks of its successful log-ins, for a time."""
        await store.log_in_succeeded(attempt(1, 1000, "maya", "home"), keep_networks=3, since=0)
        assert await store.knows_network("maya", "home", since=1000)
        assert not await store.knows_network("maya", "home", since=1001)
        assert not await store.knows_network("maya", "elsewhere", since=0)
        assert not await store.knows_network("tomas", "home", since=0)
        await store.log_in_succeeded(attempt(2, 2000, "maya", "home"), keep_networks=3, since=0)
        assert await store.knows_network("maya", "home", since=2000)

    async def test_the_latest_networks_are_kept(self, store: AttemptStore) -> None:
        """Of each account the latest networks are kept, if they are not too old."""
        for number in range(5):
            log_in = attempt(number, 1000 + number, "maya", f"n{number}")
            await store.log_in_succeeded(log_in, keep_networks=3, since=1003)
        known = [await store.knows_network("maya", f"n{number}", since=0) for number in range(5)]
        assert known == [False, False, False, True, True]
        await store.log_in_succeeded(attempt(9, 1009, "maya", "n9"), keep_networks=2, since=0)
        assert not await store.knows_network("maya", "n3", since=0)
        assert await store.knows_network("maya", "n4", since=0)


@pytest.mark.both_databases
class TestAttemptStore(AttemptStoreContract):
    """Attempts in tables."""

    @pytest.fixture
    def store(self, database: Database) -> AttemptStore:
        return AttemptStore(database)

    async def test_concurrent_attempts_are_all_counted(self, store: AttemptStore) -> None:
        """However many attempts come at once, no more succeed than are free. Old ones are deleted meanwhile."""
        old = (store.add(attempt(number, 800), {f"u{number}": LIMIT, f"n{number}": LIMIT}) for number in range(5))
        assert await asyncio.gather(*old) == [0] * 5
        answers = await asyncio.gather(
            *(store.add(attempt(10 + n, 1000), {"maya": LIMIT, f"n{n}": LIMIT}) for n in range(10))
        )
        assert sorted(answers) == [0] * 2 + [10] * 8
        answers = await asyncio.gather(
            *(store.add(attempt(20 + n, 1000), {f"u{n}": LIMIT, "one": LIMIT}) for n in range(10))
        )
        assert sorted(answers) == [0] * 2 + [10] * 8

    async def test_concurrent_successes(self, store: AttemptStore) -> None:
        """A user who logs in on two devices at once, from one new network, logs in on both."""
        log_ins = (store.log_in_succeeded(attempt(n, 1000, "maya", "home"), keep_networks=3, since=0) for n in range(5))
        await asyncio.gather(*log_ins)
        assert await store.knows_network("maya", "home", since=1000)

    async def test_what_counts_no_more_is_deleted(self, store: AttemptStore, database: Database) -> None:
        """The table does not grow without end: rows that do not count any more are deleted, in batches."""
        for number in range(3):
            await store.add(attempt(number, 1000), {f"u{number}": LIMIT, f"n{number}": LIMIT})
        await store.add(attempt(9, 1100), {"maya": LIMIT})
        assert await store.forget(before=1099, limit=4) == 0
        assert await store.forgettable(before=1100) == Waiting(6, datetime.fromtimestamp(1100, UTC))
        assert [await store.forget(before=1100, limit=4) for _ in range(3)] == [4, 2, 0]
        async with database.read() as connection:
            assert (await connection.execute(select(attempts.c.subject))).scalars().all() == ["maya"]
        assert await store.forgettable(before=1100) == Waiting(0, None)

    async def test_networks_that_are_known_no_more_are_deleted(self, store: AttemptStore, database: Database) -> None:
        """The networks of accounts to which no one logs in any more are deleted too."""
        for number in range(3):
            log_in = attempt(number, 1000 + number, f"u{number}", f"n{number}")
            await store.log_in_succeeded(log_in, keep_networks=3, since=0)
        assert [await store.forget_networks(before=1002, limit=1) for _ in range(3)] == [1, 1, 0]
        assert not await store.knows_network("u1", "n1", since=0)
        assert await store.knows_network("u2", "n2", since=0)


class TestMemoryAttempts(AttemptStoreContract):
    """Attempts in a list."""

    @pytest.fixture
    def store(self) -> MemoryAttempts:
        return MemoryAttempts()
