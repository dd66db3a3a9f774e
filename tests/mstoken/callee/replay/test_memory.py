"""Spent ids in memory."""

from collections.abc import AsyncIterator

import pytest

from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.replay.store import replay_store
from mstoken.errors import SettingsError
from tests.clock import FakeClock
from tests.mstoken.callee.replay.contract import ReplayStoreContract, in_processes, megabytes_for


class TestMemoryReplayStore(ReplayStoreContract):
    """The store in memory."""

    @pytest.fixture
    async def store(self, clock: FakeClock) -> AsyncIterator[MemoryReplayStore]:
        store = MemoryReplayStore(clock=clock)
        yield store
        await store.aclose()

    async def test_what_has_expired_is_forgotten(self, store: MemoryReplayStore, clock: FakeClock) -> None:
        """Memory holds no more than the ids that still count."""
        await store.spend("old", clock() + 60)
        clock.advance(180)
        await store.spend("new", clock() + 60)
        assert await store.spend("old", clock() + 60) is True

    @pytest.mark.process
    @pytest.mark.slow
    async def test_a_million_ids_take_less_than_200_megabytes(self) -> None:
        """Measured in a process of its own."""
        assert max(await in_processes(1, megabytes_of_memory_store, "memory:", 1_000_000)) < 200


def megabytes_of_memory_store(url: str, ids: int) -> int:
    """How much a store in memory takes for `ids` ids."""
    return int(megabytes_for(MemoryReplayStore(), ids))


def refusal_of_a_worker(url: str, number: int) -> int:
    """1 if a worker of a process manager is refused a store in memory."""
    try:
        replay_store(url, "product")
    except SettingsError as error:
        return int("a worker of several" in str(error))
    return 0


@pytest.mark.process
async def test_a_worker_of_several_has_no_store_in_memory() -> None:
    """Under `uvicorn --workers 2` each worker is a child of multiprocessing; both refuse to start."""
    assert await in_processes(2, refusal_of_a_worker, "memory:", 0) == [1, 1]


async def test_workers_of_a_forking_manager_are_refused_from_the_second_on() -> None:
    """One store in memory for a parent and a service; another service has its own, and closing makes room."""
    first = replay_store("memory:", "test-sole")
    with pytest.raises(SettingsError, match="not the only worker"):
        replay_store("memory:", "test-sole")
    other = replay_store("memory:", "test-other")
    await first.aclose()
    again = replay_store("memory:", "test-sole")
    await again.aclose()
    await other.aclose()
