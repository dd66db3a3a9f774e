"""The promises that every replay store keeps."""

import asyncio
import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest

from mstoken.callee.replay.store import ReplayStore, replay_store
from tests.clock import FakeClock


class ReplayStoreContract:
    """What every store promises. A subclass gives `store`, over the clock `clock`."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    async def test_an_id_counts_once(self, store: ReplayStore, clock: FakeClock) -> None:
        """The first spend is True, every other False."""
        assert await store.spend("one", clock() + 60) is True
        assert await store.spend("one", clock() + 60) is False
        assert await store.spend("one", clock() + 6000) is False

    async def test_ids_do_not_disturb_each_other(self, store: ReplayStore, clock: FakeClock) -> None:
        """Another id is another id, also if it differs only in case or by a NUL."""
        for token_id in ("one", "One", "one\0", "öne", ""):
            assert await store.spend(token_id, clock() + 60) is True

    async def test_of_many_at_once_one_wins(self, store: ReplayStore, clock: FakeClock) -> None:
        """1,000 tasks race for one id."""
        won = await asyncio.gather(*(store.spend("contested", clock() + 60) for _ in range(1000)))
        assert sum(won) == 1

    async def test_an_id_is_remembered_until_it_expires(self, store: ReplayStore, clock: FakeClock) -> None:
        """Up to the last second, whatever else is spent meanwhile."""
        await store.spend("kept", clock() + 70)
        for second in range(70):
            assert await store.spend(f"other-{second}", clock() + 70) is True
            assert await store.spend("kept", clock() + 70) is False
            clock.advance(1)

    async def test_ready_is_silent_when_all_is_well(self, store: ReplayStore) -> None:
        """Nothing is raised."""
        await store.ready()


class SharedReplayStoreContract(ReplayStoreContract):
    """What a store promises that processes share. A subclass also gives `url`, by which they find it."""

    @pytest.mark.process
    async def test_processes_share_it(self, url: str) -> None:
        """1,000 spends of one id race, 250 at once in each of four processes: exactly one wins."""
        won = await in_processes(4, race_for_one_id, url, 250)
        assert sum(won) == 1

    @pytest.mark.process
    async def test_another_process_sees_what_was_spent(self, store: ReplayStore, url: str) -> None:
        """And none of it twice."""
        await store.spend("contested", 4_000_000_000)
        assert await in_processes(1, race_for_one_id, url, 1) == [0]


async def in_processes(count: int, function: Callable[[str, int], int], url: str, number: int) -> list[int]:
    """What `function(url, number)` returns in each of `count` new processes that run at the same time."""
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as processes:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(processes, function, url, number) for _ in range(count)))


def race_for_one_id(url: str, spends: int) -> int:
    """How many of `spends` concurrent spends of one id this process won."""

    async def race() -> int:
        store = replay_store(url, "product")
        won = await asyncio.gather(*(store.spend("contested", 4_000_000_000) for _ in range(spends)))
        await store.aclose()
        return sum(won)

    return asyncio.run(race())


def megabytes_for(store: ReplayStore, ids: int) -> float:
    """By how much this process's memory grows, at its peak, while `ids` ids of tokens are spent."""

    async def spend_all() -> None:
        for number in range(ids):
            await store.spend(f"{number:022d}", 4_000_000_000 + number % 60)
        await store.aclose()

    unit = 2**20 if sys.platform == "darwin" else 2**10
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asyncio.run(spend_all())
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit
