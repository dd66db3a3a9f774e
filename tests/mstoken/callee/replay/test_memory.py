"""The store in memory, and its refusal to serve one of several workers."""

import time
from collections.abc import AsyncIterator

import pytest

from mstoken.callee.replay.factory import replay_store
from mstoken.callee.replay.memory import MemoryReplayStore, SoleMemoryReplayStore
from mstoken.errors import SettingsError, StoreIsNew, VerifierUnavailable
from mstoken.wire import CLOCK_SKEW_SECONDS
from tests.clock import FakeClock
from tests.elsewhere import in_forked_child
from tests.mstoken.callee.replay.test_store import FAR_FUTURE, ReplayStoreContract, in_processes, megabytes_for, spend
from tests.mstoken.cli.setups import laptop


class TestMemoryReplayStore(ReplayStoreContract):
    """The store in memory."""

    @pytest.fixture
    async def new_store(self, clock: FakeClock) -> AsyncIterator[MemoryReplayStore]:
        store = MemoryReplayStore(complete_since=clock() + 0.5, clock=clock)
        yield store
        await store.aclose()

    async def test_expired_ids_are_deleted(self, store: MemoryReplayStore, clock: FakeClock) -> None:
        """After its expiry an id takes no memory."""
        await spend(store, "old", clock)
        clock.advance(180)
        await spend(store, "new", clock)
        assert await spend(store, "old", clock) is True

    async def test_a_store_of_a_test_refuses_nothing_for_its_age(self) -> None:
        """By default nothing was spent before, so even old ids are accepted once."""
        store = MemoryReplayStore()
        await store.ready()
        assert await store.spend("old", issued_at=time.time() - 3600, expires_at=FAR_FUTURE) is True

    @pytest.mark.process
    async def test_a_forked_child_is_told_why_it_is_refused(self, store: MemoryReplayStore, clock: FakeClock) -> None:
        """Parent and child would accept the same token once each, so the child accepts none, and is not ready."""

        async def in_child() -> int:
            with pytest.raises(VerifierUnavailable, match=r"was forked from.*Set MSTOKEN_REPLAY_URL to sqlite:///path"):
                await store.ready()
            with pytest.raises(VerifierUnavailable, match="was forked from"):
                await spend(store, "one", clock)
            return 1

        assert in_forked_child(in_child) == 1

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
        replay_store(laptop(replay_url=url), "product")
    except SettingsError as error:
        return int("one of several workers" in str(error))
    return 0


@pytest.mark.process
async def test_one_of_several_workers_is_refused() -> None:
    """With `uvicorn --workers 2` each worker is a child of `multiprocessing`, and both refuse to start."""
    assert await in_processes(2, refusal_of_a_worker, "memory:", 0) == [1, 1]


async def test_the_second_worker_of_a_forking_manager_is_refused() -> None:
    """The workers of one parent get one store in memory for each service, and another one after it was closed."""
    settings = laptop(replay_url="memory:")
    first = replay_store(settings, "test-sole")
    with pytest.raises(SettingsError, match="not the only worker"):
        replay_store(settings, "test-sole")
    other = replay_store(settings, "test-other")
    await first.aclose()
    again = replay_store(settings, "test-sole")
    await again.aclose()
    await other.aclose()


@pytest.mark.process
async def test_a_forked_child_makes_no_store_beside_that_of_its_parent() -> None:
    """Both would accept the same token. After the parent has closed its store, the child may have one."""
    store = SoleMemoryReplayStore("test-fork")

    async def in_child() -> int:
        with pytest.raises(SettingsError, match="forked from one that keeps spent ids in its own memory"):
            SoleMemoryReplayStore("test-fork")
        await SoleMemoryReplayStore("test-fork-other").aclose()
        return 1

    async def in_later_child() -> int:
        await SoleMemoryReplayStore("test-fork").aclose()
        return 1

    assert in_forked_child(in_child) == 1
    await store.aclose()
    assert in_forked_child(in_later_child) == 1


async def test_a_store_that_was_closed_begins_again() -> None:
    """Another worker may have accepted tokens meanwhile, or is the only one by now."""
    clock = FakeClock()
    store = SoleMemoryReplayStore("test-again", clock=clock)
    clock.advance(60)
    issued_at = clock()
    await store.aclose()
    await store.aclose()
    other = SoleMemoryReplayStore("test-again", clock=clock)
    with pytest.raises(VerifierUnavailable, match="not the only worker"):
        await store.spend("one", issued_at=issued_at, expires_at=clock() + 60)
    await other.aclose()
    with pytest.raises(StoreIsNew):
        await store.spend("one", issued_at=issued_at, expires_at=clock() + 60)
    clock.advance(CLOCK_SKEW_SECONDS + 1)
    assert await store.spend("two", issued_at=clock(), expires_at=clock() + 60) is True
    await store.aclose()


async def test_the_memory_of_a_service_begins_when_it_starts() -> None:
    """A token that was used before a restart is refused after it, because the new process cannot know that."""
    clock = FakeClock()
    before = SoleMemoryReplayStore("test-restart", clock=clock)
    clock.advance(60)
    issued_at = clock()
    assert await before.spend("one", issued_at=issued_at, expires_at=clock() + 60) is True
    await before.aclose()
    after = SoleMemoryReplayStore("test-restart", clock=clock)
    with pytest.raises(StoreIsNew):
        await after.spend("one", issued_at=issued_at, expires_at=clock() + 60)
    clock.advance(CLOCK_SKEW_SECONDS + 1)
    with pytest.raises(StoreIsNew):
        await after.spend("one", issued_at=issued_at, expires_at=clock() + 60)
    assert await after.spend("two", issued_at=clock(), expires_at=clock() + 60) is True
    await after.aclose()
