"""The promises of a replay store. The tests of each store inherit them."""

import asyncio
import multiprocessing
import resource
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial

import pytest

from mstoken.callee.replay.factory import replay_store
from mstoken.callee.replay.store import ReplayStore
from mstoken.errors import StoreIsNew, VerifierUnavailable
from mstoken.wire import CLOCK_SKEW_SECONDS
from tests.clock import FakeClock
from tests.elsewhere import in_forked_child, in_own_loop
from tests.mstoken.cli.setups import laptop

FAR_FUTURE = 5_000_000_000.0
"""A time after the memory of every store began, in seconds since the epoch."""
RACERS = 10
"""How many spends of one process run at once. A busy machine must end each within the time limits of the store."""


async def begin(store: ReplayStore) -> None:
    """Begin the memory of a new store, as a service does when it starts."""
    with suppress(StoreIsNew):
        await store.ready()


async def spend(store: ReplayStore, one_time_id: str, clock: FakeClock, *, seconds: float = 60) -> bool:
    """Spend an id that is issued now and is kept for these seconds."""
    return await store.spend(one_time_id, issued_at=clock(), expires_at=clock() + seconds)


async def replays_that_pass(store: ReplayStore, ids: Sequence[str], issued_at: float, clock: FakeClock) -> list[str]:
    """Spend each id once more. Return the ids that the store accepts."""
    passed = []
    for one_time_id in ids:
        with suppress(VerifierUnavailable):
            if await store.spend(one_time_id, issued_at=issued_at, expires_at=clock() + 60):
                passed.append(one_time_id)
    return passed


async def lost_memory_is_noticed(store: ReplayStore, clock: FakeClock, lose: Callable[[], object]) -> None:
    """Spend forty ids, lose the memory of the store, and check what follows.

    None of them is accepted again, and no other id of that time. An id that is issued later is accepted once.
    """
    issued_at, ids = clock(), [f"id-{number}" for number in range(40)]
    assert [await spend(store, one_time_id, clock) for one_time_id in ids] == [True] * len(ids)
    clock.advance(2)
    lose()
    assert await replays_that_pass(store, [*ids, "unused"], issued_at, clock) == []
    clock.advance(CLOCK_SKEW_SECONDS + 1)
    assert await replays_that_pass(store, [*ids, "unused"], issued_at, clock) == []
    assert await spend(store, "new", clock) is True
    assert await spend(store, "new", clock) is False
    await store.ready()


class ReplayStoreContract:
    """The tests that every store passes.

    A subclass has a fixture `new_store`: a store that uses the fixture `clock` and the default clock skew, and whose
    memory begins at its first use.
    """

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    async def store(self, new_store: ReplayStore, clock: FakeClock) -> ReplayStore:
        """A store whose memory began a minute ago."""
        await begin(new_store)
        clock.advance(60)
        return new_store

    async def test_an_id_is_accepted_once(self, store: ReplayStore, clock: FakeClock) -> None:
        """The first spend of an id returns True, and every later one returns False."""
        assert await spend(store, "one", clock) is True
        assert await spend(store, "one", clock) is False
        assert await spend(store, "one", clock, seconds=6000) is False

    async def test_similar_ids_are_different_ids(self, store: ReplayStore, clock: FakeClock) -> None:
        """Ids that differ only in case or by a NUL character are different ids."""
        for token_id in ("one", "One", "one\0", "öne", ""):
            assert await spend(store, token_id, clock) is True

    async def test_one_of_many_concurrent_spends_succeeds(self, store: ReplayStore, clock: FakeClock) -> None:
        """If 1,000 tasks spend one id at the same time, exactly one gets True."""
        won = await asyncio.gather(*(spend(store, "contested", clock) for _ in range(1000)))
        assert sum(won) == 1

    async def test_an_id_is_kept_until_it_expires(self, store: ReplayStore, clock: FakeClock) -> None:
        """It is kept up to the last second, whatever other ids are spent meanwhile."""
        await spend(store, "kept", clock, seconds=70)
        for second in range(70):
            assert await spend(store, f"other-{second}", clock, seconds=70) is True
            assert await spend(store, "kept", clock, seconds=70) is False
            clock.advance(1)

    async def test_a_working_store_is_ready(self, store: ReplayStore) -> None:
        """`ready` raises nothing, and has nothing to warn of."""
        assert await store.ready() is None

    async def test_a_new_store_refuses_what_may_have_been_used_before(
        self, new_store: ReplayStore, clock: FakeClock
    ) -> None:
        """It cannot tell that of an id that was issued before its memory began, by a clock that may be 5 s ahead."""
        clock.now = began = clock() + 0.5
        await begin(new_store)
        for issued_at in (began - 3600, began - 0.5, began, began + CLOCK_SKEW_SECONDS - 0.5):
            with pytest.raises(StoreIsNew) as caught:
                await new_store.spend("one", issued_at=issued_at, expires_at=began + 60)
            assert caught.value.accepts_from == began - 0.5 + CLOCK_SKEW_SECONDS + 1
            assert caught.value.retry_after_seconds == CLOCK_SKEW_SECONDS + 1
        issued_at = began - 0.5 + CLOCK_SKEW_SECONDS + 1
        assert await new_store.spend("one", issued_at=issued_at, expires_at=began + 60) is True
        assert await new_store.spend("one", issued_at=issued_at, expires_at=began + 60) is False

    async def test_a_new_store_refuses_what_was_issued_in_the_second_in_which_it_began(
        self, new_store: ReplayStore, clock: FakeClock
    ) -> None:
        """Times of issue are in whole seconds, so the id may have been used a moment before."""
        began = clock()
        await begin(new_store)
        newest = began + CLOCK_SKEW_SECONDS
        with pytest.raises(StoreIsNew):
            await new_store.spend("one", issued_at=newest, expires_at=began + 60)
        assert await new_store.spend("one", issued_at=newest + 1, expires_at=began + 60) is True

    async def test_a_new_store_is_ready_as_soon_as_it_accepts_what_is_issued_now(
        self, new_store: ReplayStore, clock: FakeClock
    ) -> None:
        """Times of issue are in whole seconds, so it takes up to one second more than the clock skew."""
        clock.advance(0.5)
        await begin(new_store)
        for _ in range(CLOCK_SKEW_SECONDS + 1):
            with pytest.raises(StoreIsNew):
                await new_store.ready()
            with pytest.raises(StoreIsNew):
                await new_store.spend("one", issued_at=int(clock()), expires_at=clock() + 60)
            clock.advance(1)
        await new_store.ready()
        assert await new_store.spend("one", issued_at=int(clock()), expires_at=clock() + 60) is True

    async def test_a_clock_that_was_ahead_at_the_start_delays_nothing(
        self, new_store: ReplayStore, clock: FakeClock
    ) -> None:
        """If the memory began in what is now the future, it is complete since now at the latest."""
        await begin(new_store)
        clock.advance(-3600)
        with pytest.raises(StoreIsNew):
            await spend(new_store, "one", clock)
        clock.advance(CLOCK_SKEW_SECONDS + 1)
        assert await spend(new_store, "one", clock) is True

    async def test_two_event_loops_one_after_the_other(self, store: ReplayStore, clock: FakeClock) -> None:
        """A second loop goes on where the first one ended, whether or not the first one closed the store."""
        spend_one, spend_two = partial(spend, store, "one", clock), partial(spend, store, "two", clock)
        assert await in_own_loop(spend_one) is True
        assert await in_own_loop(spend_one) is False
        assert await in_own_loop(store.ready) is None
        await in_own_loop(store.aclose)
        assert await in_own_loop(spend_two) is True
        assert await spend_two() is False

    async def test_twelve_threads_with_a_loop_each(self, store: ReplayStore, clock: FakeClock) -> None:
        """If all of them spend the same twenty ids at the same time, each id is accepted once."""
        together = threading.Barrier(12)

        async def race() -> list[bool]:
            together.wait(20)
            won = [await spend(store, f"contested-{number}", clock) for number in range(20)]
            await asyncio.sleep(0)
            return won

        won = await asyncio.gather(*(in_own_loop(race) for _ in range(12)))
        assert [sum(column) for column in zip(*won, strict=True)] == [1] * 20

    async def test_a_closed_store_can_be_used_again(self, store: ReplayStore, clock: FakeClock) -> None:
        """It accepts no id that was used before it was closed."""
        issued_at = clock()
        assert await spend(store, "one", clock) is True
        await store.aclose()
        await store.aclose()
        assert await replays_that_pass(store, ["one"], issued_at, clock) == []
        clock.advance(CLOCK_SKEW_SECONDS + 1)
        assert await replays_that_pass(store, ["one"], issued_at, clock) == []
        assert await spend(store, "two", clock) is True
        assert await spend(store, "two", clock) is False

    @pytest.mark.process
    async def test_a_forked_child_accepts_nothing_twice(self, store: ReplayStore, clock: FakeClock) -> None:
        """What was spent before the fork is refused in the child, and an id is spent in the parent or in the child."""
        assert await spend(store, "before", clock) is True

        async def in_child() -> int:
            before = await replays_that_pass(store, ["before"], clock(), clock)
            return len(before) + 2 * len(await replays_that_pass(store, ["after"], clock(), clock))

        spent_in_child = in_forked_child(in_child)
        assert spent_in_child in (0, 2)
        assert await spend(store, "before", clock) is False
        assert await spend(store, "after", clock) is (spent_in_child == 0)
        assert await spend(store, "last", clock) is True


class SharedReplayStoreContract(ReplayStoreContract):
    """The tests of a store that processes share. A subclass also has a fixture `url`, which names the store."""

    @pytest.mark.process
    async def test_processes_share_the_store(self, url: str) -> None:
        """If four processes spend one id 250 times each, many at the same time, exactly one spend succeeds."""
        won = await in_processes(4, race_for_one_id, url, 250)
        assert sum(won) == 1

    @pytest.mark.process
    async def test_a_forked_child_goes_on(self, store: ReplayStore, clock: FakeClock) -> None:
        """A store that was used before a fork works in the child, with connections of its own, and in the parent."""
        assert await spend(store, "one", clock) is True

        async def in_child() -> int:
            assert await store.ready() is None
            spent = [await spend(store, name, clock) for name in ("one", "two", "three")]
            await store.aclose()
            return spent == [False, True, True]

        assert in_forked_child(in_child) == 1
        assert [await spend(store, name, clock) for name in ("one", "two", "three", "four")] == [*[False] * 3, True]

    @pytest.mark.process
    async def test_another_process_sees_what_was_spent(self, store: ReplayStore, url: str) -> None:
        """An id that one process spent is refused in another."""
        assert await store.spend("contested", issued_at=FAR_FUTURE, expires_at=FAR_FUTURE) is True
        assert await in_processes(1, race_for_one_id, url, 1) == [0]


async def in_processes(count: int, function: Callable[[str, int], int], url: str, number: int) -> list[int]:
    """Return the results of `function(url, number)` in `count` new processes that run at the same time."""
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as processes:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(processes, function, url, number) for _ in range(count)))


def race_for_one_id(url: str, spends: int) -> int:
    """Spend one id `spends` times in this process, as many at once as `RACERS`. Return how many of them succeeded."""

    async def race() -> int:
        store = replay_store(laptop(replay_url=url), "product")
        places = asyncio.Semaphore(RACERS)

        async def spend_once() -> bool:
            async with places:
                return await store.spend("contested", issued_at=FAR_FUTURE, expires_at=FAR_FUTURE)

        won = await asyncio.gather(*(spend_once() for _ in range(spends)))
        await store.aclose()
        return sum(won)

    return asyncio.run(race())


def megabytes_for(store: ReplayStore, ids: int) -> float:
    """Spend `ids` ids of tokens. Return by how many megabytes the peak memory of this process grew."""

    async def spend_all() -> None:
        for number in range(ids):
            await store.spend(f"{number:022d}", issued_at=FAR_FUTURE, expires_at=FAR_FUTURE + number % 60)
        await store.aclose()

    unit = 2**20 if sys.platform == "darwin" else 2**10
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    asyncio.run(spend_all())
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / unit
