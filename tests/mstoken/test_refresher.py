"""A refresher repeats its work in the background, whatever the work raises."""

import asyncio
import logging

import pytest

from mstoken.refresher import PAUSE_AFTER_DEFECT_SECONDS, Refresher
from tests.clock import ManualSleep
from tests.elsewhere import in_own_loop

log = logging.getLogger("tests.refresher")


class Work:
    """Asks for a pause of `pause_seconds`, or raises `error`. Counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.pause_seconds = 9.0
        self.error: Exception | None = None

    async def __call__(self) -> float:
        self.runs += 1
        if self.error is not None:
            raise self.error
        return self.pause_seconds


def refresher(work: Work, sleep: ManualSleep) -> Refresher:
    """Return a refresher that sleeps until the test wakes it."""
    return Refresher(work, name="work", log=log, message="the work failed", sleep=sleep)


async def test_it_pauses_for_as_long_as_the_work_says() -> None:
    """The first run is at the start; each further run follows after the pause that the run before it returned."""
    work, sleep = Work(), ManualSleep()
    refreshing = refresher(work, sleep)
    refreshing.start()
    for run in range(1, 4):
        assert await sleep.asked_seconds.get() == 9
        assert work.runs == run
        sleep.wake()
    await refreshing.aclose()


@pytest.mark.parametrize("error", [ZeroDivisionError(), OverflowError(), MemoryError(), TimeoutError()])
async def test_no_error_ends_it(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """An exception is logged with its traceback, and the next run follows after 10 s."""
    work, sleep = Work(), ManualSleep()
    work.error = error
    refreshing = refresher(work, sleep)
    refreshing.start()
    assert await sleep.asked_seconds.get() == PAUSE_AFTER_DEFECT_SECONDS == 10
    assert caplog.messages == ["the work failed"]
    assert type(error).__name__ in caplog.text
    work.error = None
    sleep.wake()
    assert await sleep.asked_seconds.get() == 9
    await refreshing.aclose()


async def test_closing_ends_it() -> None:
    """After the close no task is left. Closing a refresher that was never started does nothing."""
    work, sleep = Work(), ManualSleep()
    refreshing = refresher(work, sleep)
    await refreshing.aclose()
    refreshing.start()
    await sleep.asked_seconds.get()
    await refreshing.aclose()
    assert [task for task in asyncio.all_tasks() if task.get_name() == "work"] == []


async def test_starting_twice_starts_one_task() -> None:
    """A second start changes nothing, unless the task has been cancelled meanwhile."""
    work, sleep = Work(), ManualSleep()
    refreshing = refresher(work, sleep)
    refreshing.start()
    refreshing.start()
    await sleep.asked_seconds.get()
    (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "work"]
    task.cancel()
    await asyncio.wait([task])
    refreshing.start()
    await sleep.asked_seconds.get()
    assert work.runs == 2
    await refreshing.aclose()


async def test_each_event_loop_has_a_task_of_its_own() -> None:
    """A loop that ended without closing it does not keep another loop from starting or closing it."""
    work = Work()
    refreshing = Refresher(work, name="work", log=log, message="the work failed")

    async def start_and_leave() -> int:
        refreshing.start()
        await asyncio.sleep(0)
        return work.runs

    assert [await in_own_loop(start_and_leave), await in_own_loop(start_and_leave)] == [1, 2]
    await refreshing.aclose()
    refreshing.start()
    await in_own_loop(refreshing.aclose)
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "work"] == ["work"]
    await refreshing.aclose()
