"""One thread with an event loop, for whoever asks, until it is closed."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from mstoken.background import Background
from tests.mstoken.caller.fakes import DEADLINE_SECONDS


async def ident() -> int:
    """The thread that runs this."""
    return threading.get_ident()


async def nothing() -> None:
    """No last work."""


class Endless:
    """Work that goes on until it is cancelled."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()


@pytest.fixture
def background() -> Iterator[Background]:
    background = Background("test background")
    yield background
    background.close(nothing())


def thread_names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_all_threads_share_its_one_thread(background: Background) -> None:
    """Whoever submits, the work is done in the same thread, which is none of theirs."""
    with ThreadPoolExecutor(4) as threads:
        submitted = list(threads.map(lambda _: background.submit(ident()).result(DEADLINE_SECONDS), range(40)))
        others = set(threads.map(lambda _: threading.get_ident(), range(4)))
    assert len(set(submitted)) == 1
    assert submitted[0] not in others | {threading.get_ident()}


def test_event_loops_that_come_and_go_share_it(background: Background) -> None:
    """Work outlives the loop that it was submitted from, and its result can be awaited in any."""
    work = Endless()

    async def submit_one_and_await_another() -> tuple[Future[None], int]:
        return background.submit(work()), await asyncio.wrap_future(background.submit(ident()))

    endless, first = asyncio.run(submit_one_and_await_another())
    _, second = asyncio.run(submit_one_and_await_another())
    assert first == second
    assert not endless.done()


def test_an_error_comes_out_of_the_future(background: Background) -> None:
    """Whoever submitted the work gets its error, and the thread goes on."""

    async def fail() -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        background.submit(fail()).result(DEADLINE_SECONDS)
    assert background.submit(ident()).result(DEADLINE_SECONDS) != threading.get_ident()


def test_cancelling_the_future_cancels_the_work(background: Background) -> None:
    """Nothing goes on that nobody waits for."""
    work = Endless()
    future = background.submit(work())
    assert work.begun.wait(DEADLINE_SECONDS)
    assert future.cancel()
    assert work.ended.wait(DEADLINE_SECONDS)


async def test_cancelling_the_waiter_cancels_the_work(background: Background) -> None:
    """A task that gives up takes the work that it waits for along."""
    work = Endless()
    waiter = asyncio.ensure_future(asyncio.wrap_future(background.submit(work())))
    assert await asyncio.to_thread(work.begun.wait, DEADLINE_SECONDS)
    waiter.cancel()
    assert await asyncio.to_thread(work.ended.wait, DEADLINE_SECONDS)


def test_a_function_is_called_in_the_thread(background: Background) -> None:
    """`call_soon` runs it where the work is done."""
    called: Future[int] = Future()
    background.call_soon(lambda: called.set_result(threading.get_ident()))
    assert called.result(DEADLINE_SECONDS) == background.submit(ident()).result(DEADLINE_SECONDS)


def test_closing_ends_the_thread() -> None:
    """It is gone when `close` returns."""
    background = Background("test that ends")
    assert "test that ends" in thread_names()
    background.close(nothing())
    assert "test that ends" not in thread_names()


def test_closing_leaves_nothing_open() -> None:
    """The event loop is closed, so that nothing warns of it when it is thrown away."""
    background = Background("test that leaves nothing")
    background.submit(ident()).result(DEADLINE_SECONDS)
    background.close(nothing())
    thrown_away = weakref.ref(background)
    del background
    gc.collect()
    assert thrown_away() is None


def test_closing_cancels_what_is_running_before_the_last_work() -> None:
    """The last work has the thread to itself: what it lets go of is used by nobody any more."""
    background = Background("test that cancels")
    works = [Endless() for _ in range(3)]
    futures = [background.submit(work()) for work in works]
    assert all(work.begun.wait(DEADLINE_SECONDS) for work in works)
    ended_before_last: list[bool] = []

    async def last() -> None:
        ended_before_last.extend(work.ended.is_set() for work in works)

    background.close(last())
    assert ended_before_last == [True, True, True]
    assert all(future.cancelled() for future in futures)


def test_closing_waits_for_the_last_work() -> None:
    """Also where that takes turns of the event loop, and in the thread that did all the rest."""
    background = Background("test with a last work")
    thread = background.submit(ident()).result(DEADLINE_SECONDS)
    last_in: list[int] = []

    async def last() -> None:
        await asyncio.sleep(0)
        last_in.append(threading.get_ident())

    background.close(last())
    assert last_in == [thread]


def test_a_last_work_that_fails_keeps_nothing_open() -> None:
    """The thread ends nevertheless."""
    background = Background("test with a last work that fails")

    async def fail() -> None:
        raise LookupError("lost")

    background.close(fail())
    assert "test with a last work that fails" not in thread_names()


def test_closing_waits_for_blocking_work() -> None:
    """A function in a thread of its own cannot be cancelled; it has returned when `close` returns."""
    background = Background("test with blocking work")
    begun, may_return, returned = threading.Event(), threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        may_return.wait(DEADLINE_SECONDS)
        returned.set()

    async def let_it_return() -> None:
        may_return.set()

    background.submit(asyncio.to_thread(block))
    assert begun.wait(DEADLINE_SECONDS)
    background.close(let_it_return())
    assert returned.is_set()


def test_a_function_that_comes_after_closing_is_not_called() -> None:
    """`call_soon` is harmless then: what it was for is over."""
    background = Background("test that is over")
    background.close(nothing())
    called = threading.Event()
    background.call_soon(called.set)
    assert not called.is_set()


def test_work_that_comes_while_closing_does_not_hang() -> None:
    """Its future is done when `close` returns, so that nobody waits for ever."""
    background = Background("test that is closing")
    closing, may_close = threading.Event(), threading.Event()

    async def last() -> None:
        closing.set()
        await asyncio.to_thread(may_close.wait, DEADLINE_SECONDS)

    closer = threading.Thread(target=lambda: background.close(last()))
    closer.start()
    assert closing.wait(DEADLINE_SECONDS)
    late = background.submit(Endless()())
    may_close.set()
    closer.join(DEADLINE_SECONDS)
    assert late.done()


def test_work_that_comes_after_closing_is_cancelled() -> None:
    """As is what comes before: whoever submits at the wrong time need not tell the two apart."""
    background = Background("test that is closed")
    background.close(nothing())
    work = ident()
    try:
        assert background.submit(work).cancelled()
    finally:
        work.close()
