"""The promises of a replay store. The tests of each store inherit them."""

import asyncio
import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest

from mstoken.callee.replay.factory import replay_store
from mstoken.callee.replay.store import ReplayStore
from tests.clock import FakeClock


class ReplayStoreContract:
    """The tests that every store passes. A subclass has a fixture `store` that uses the fixture `clock`."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    async def test_an_id_is_accepted_once(self, store: ReplayStore, clock: FakeClock) -> None:
        """The first spend of an id returns True, and every later one returns False."""
        assert await store.spend("one", clock() + 60) is True
        assert await store.spend("one", clock() + 60) is False
        assert await store.spend("one", clock() + 6000) is False

    async def test_similar_ids_are_different_ids(self, store: ReplayStore, clock: FakeClock) -> None:
        """Ids that differ only in case or by a NUL character are different ids."""
        for token_id in ("one", "One", "one\0", "öne", ""):
            assert await store.spend(token_id, clock() + 60) is True

    async def test_one_of_many_concurrent_spends_succeeds(self, store: ReplayStore, clock: FakeClock) -> None:
        """If 1,000 tasks spend one id at the same time, exactly one gets True."""
        won = await asyncio.gather(*(store.spend("contested", clock() + 60) for _ in range(1000)))
        assert sum(won) == 1

    async def test_an_id_is_kept_until_it_expires(self, store: ReplayStore, clock: FakeClock) -> None:
        """It is kept up to the last second, whatever other ids are spent meanwhile."""
        await store.spend("kept", clock() + 70)
        for second in range(70):
            assert await store.spend(f"other-{second}", clock() + 70) is True
            assert await store.spend("kept", clock() + 70) is False
            clock.advance(1)

    async def test_a_working_store_is_ready(self, store: ReplayStore) -> None:
        """`ready` raises nothing."""
        await store.ready()


class SharedReplayStoreContract(ReplayStoreContract):
    """The tests of a store that processes share. A subclass also has a fixture `url`, which names the store."""

    @pytest.mark.process
    async def test_processes_share_the_store(self, url: str) -> None:
        """If four processes spend one id 250 times each, at the same time, exactly one spend succeeds."""
        won = await in_processes(4, race_for_one_id, url, 250)
        assert sum(won) == 1

    @pytest.mark.process
    async def test_another_process_sees_what_was_spent(self, store: ReplayStore, url: str) -> None:
        """An id that one process spent is refused in another."""
        await store.spend("contested", 4_000_000_000)
        assert await in_processes(1, race_for_one_id, url, 1) == [0]


async def in_processes(count: int, function: Callable[[str, int], int], url: str, number: int) -> list[int]:
    """Return the results of `function(url, number)` in `count` new processes that run at the same time."""
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as processes:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(processes, function, url, number) for _ in range(count)))


def race_for_one_id(url: str, spends: int) -> int:
    """Spend one id `spends` times at once in this process. Return how many of them succeeded."""

    async def race() -> int:
        store = replay_store(url, "product")
        won = await asyncio.gather(*(store.spend("contested", 4_000_000_000) for _ in range(spends)))
        await store.aclose()
        return sum(won)

    return asyncio.run(race())


def megabytes_for(store: ReplayStore, ids: int) -> float:
    """Spend `ids` ids of tokens. Return by how many megabytes the peak memory of this process grew."""

    async def spend_all() -> None:
        for number in range(ids):
            await store.spend(f"{number:022d}", 4_000_000_000 + number % 60)
        await store.aclose()

    unit = 2**20 if sys.platform == "darwin" else 2**10
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asyncio.run(spend_all())
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit
