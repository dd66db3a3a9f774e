"""The work runs once at a time, and all tasks that ask meanwhile share its result."""

import asyncio
import gc
import threading

import pytest

from mstoken.single_flight import SingleFlight
from tests.elsewhere import in_own_loop


class Work:
    """Work that ends when `may_end` is set. It counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.may_end = asyncio.Event()
        self.fails_with: Exception | None = None

    async def __call__(self) -> int:
        self.runs += 1
        await self.may_end.wait()
        if self.fails_with is not None:
            raise self.fails_with
        return self.runs


async def test_tasks_share_the_result_of_a_run() -> None:
    """Ten tasks that ask while the work runs get the result of one run."""
    work = Work()
    flight = SingleFlight(work, "work")
    waiting = [asyncio.create_task(flight.join()) for _ in range(10)]
    await asyncio.sleep(0)
    work.may_end.set()
    assert await asyncio.gather(*waiting) == [1] * 10


async def test_a_later_task_starts_a_new_run() -> None:
    """A result is not kept: after the end of a run the next one begins."""
    work = Work()
    work.may_end.set()
    flight = SingleFlight(work, "work")
    assert [await flight.join(), await flight.join()] == [1, 2]


async def test_tasks_share_the_error_of_a_run() -> None:
    """If the work fails, each task that waits gets the error. The next run is not affected."""
    work = Work()
    work.fails_with = OSError("down")
    flight = SingleFlight(work, "work")
    waiting = [asyncio.create_task(flight.join()) for _ in range(3)]
    await asyncio.sleep(0)
    work.may_end.set()
    assert all(isinstance(result, OSError) for result in await asyncio.gather(*waiting, return_exceptions=True))
    work.fails_with = None
    assert await flight.join() == 2


async def test_cancelling_a_task_does_not_cancel_the_work() -> None:
    """The other tasks get the result of the run that the cancelled task started."""
    work = Work()
    flight = SingleFlight(work, "work")
    first, second = asyncio.create_task(flight.join()), asyncio.create_task(flight.join())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    work.may_end.set()
    assert first.cancelled()
    assert await second == 1


async def test_an_error_that_no_task_waits_for_is_not_reported() -> None:
    """If all tasks that waited were cancelled, asyncio does not report an exception that was never retrieved."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    work = Work()
    work.fails_with = OSError("down")
    flight = SingleFlight(work, "work")
    only = asyncio.create_task(flight.join())
    await asyncio.sleep(0)
    only.cancel()
    work.may_end.set()
    await asyncio.wait([only, flight.start()])
    del flight, only, work
    gc.collect()
    await asyncio.sleep(0)
    assert complaints == []


async def test_is_running() -> None:
    """It is true from the start of a run to its end."""
    work = Work()
    flight = SingleFlight(work, "work")
    assert not flight.is_running
    task = flight.start()
    assert flight.is_running
    work.may_end.set()
    await task
    assert not flight.is_running


async def test_starting_twice_starts_once() -> None:
    """A second start returns the task of the first."""
    work = Work()
    flight = SingleFlight(work, "work")
    assert flight.start() is flight.start()
    await flight.aclose()


async def test_closing_cancels_the_run() -> None:
    """After the close nothing runs, and tasks that waited are cancelled. Otherwise closing does nothing."""
    work = Work()
    flight = SingleFlight(work, "work")
    await flight.aclose()
    waiting = asyncio.create_task(flight.join())
    await asyncio.sleep(0)
    await flight.aclose()
    assert not flight.is_running
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_run_of_another_loop_is_not_waited_for() -> None:
    """A run that began in a loop that no longer runs, as after a fork, does not block the next loop."""
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def begin(flight: SingleFlight[int]) -> None:
        flight.start()

    async def run() -> int:
        return 7

    flight = SingleFlight(run, "work")
    first.run_until_complete(begin(flight))
    assert second.run_until_complete(flight.join()) == 7
    first.run_until_complete(asyncio.sleep(0))
    first.close()
    second.close()


async def test_loops_in_two_threads_have_a_run_each() -> None:
    """Each loop waits for its own run, and a close in one loop does not reach the other."""
    together = threading.Barrier(2)

    async def run() -> int:
        await asyncio.to_thread(together.wait, 20)
        return threading.get_ident()

    flight = SingleFlight(run, "work")

    async def join() -> bool:
        return await flight.join() == threading.get_ident()

    assert list(await asyncio.gather(in_own_loop(join), in_own_loop(join))) == [True, True]
    work = Work()
    other = SingleFlight(work, "work")
    other.start()
    await in_own_loop(other.aclose)
    assert other.is_running
    await other.aclose()
