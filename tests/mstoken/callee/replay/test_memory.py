"""The store in memory, and its refusal to serve one of several workers."""

from collections.abc import AsyncIterator

import pytest

from mstoken.callee.replay.factory import replay_store
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.errors import SettingsError
from tests.clock import FakeClock
from tests.mstoken.callee.replay.test_store import ReplayStoreContract, in_processes, megabytes_for


class TestMemoryReplayStore(ReplayStoreContract):
    """The store in memory."""

    @pytest.fixture
    async def store(self, clock: FakeClock) -> AsyncIterator[MemoryReplayStore]:
        store = MemoryReplayStore(clock=clock)
        yield store
        await store.aclose()

    async def test_expired_ids_are_deleted(self, store: MemoryReplayStore, clock: FakeClock) -> None:
        """After its expiry an id takes no memory."""
        await store.spend("old", clock() + 60)
        clock.advance(180)
        await store.spend("new", clock() + 60)
        assert await store.spend("old", clock() + 60) is True

    @pytest.mark.process
    @pytest.mark.slow
    async def test_a_million_ids_take_less_than_200_megabytes(self) -> None:
        """The growth is measured in a separate process."""
        assert max(await in_processes(1, megabytes_of_memory_store, "memory:", 1_000_000)) < 200


def megabytes_of_memory_store(url: str, ids: int) -> int:
    """Return the memory that a store in memory takes for `ids` ids, in megabytes."""
    return int(megabytes_for(MemoryReplayStore(), ids))


def refusal_of_a_worker(url: str, number: int) -> int:
    """Return 1 if this process is refused a store in memory because it is one of several workers."""
    try:
        replay_store(url, "product")
    except SettingsError as error:
        return int("one of several workers" in str(error))
    return 0


@pytest.mark.process
async def test_one_of_several_workers_is_refused() -> None:
    """With `uvicorn --workers 2` each worker is a child of `multiprocessing`, and both refuse to start."""
    assert await in_processes(2, refusal_of_a_worker, "memory:", 0) == [1, 1]


async def test_the_second_worker_of_a_forking_manager_is_refused() -> None:
    """The workers of one parent get one store in memory for each service, and another one after it was closed."""
    first = replay_store("memory:", "test-sole")
    with pytest.raises(SettingsError, match="not the only worker"):
        replay_store("memory:", "test-sole")
    other = replay_store("memory:", "test-other")
    await first.aclose()
    again = replay_store("memory:", "test-sole")
    await again.aclose()
    await other.aclose()
