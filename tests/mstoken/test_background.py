"""A background thread with an event loop: what runs in it, and what closing it does."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from mstoken.background import Background
from tests.mstoken.caller.fakes import DEADLINE_SECONDS


async def current_thread() -> int:
    """Return the id of the thread that runs this."""
    return threading.get_ident()


async def nothing() -> None: ...


class Endless:
    """Work that goes on until it is cancelled."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.ended = threading.Event()

    async def __call__(self) -> None:
        self.started.set()
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


def test_all_work_is_done_in_one_thread(background: Background) -> None:
    """The work of several threads is done in the same background thread."""
    with ThreadPoolExecutor(4) as threads:
        submitted = list(threads.map(lambda _: background.submit(current_thread()).result(DEADLINE_SECONDS), range(40)))
        others = set(threads.map(lambda _: threading.get_ident(), range(4)))
    assert len(set(submitted)) == 1
    assert submitted[0] not in others | {threading.get_ident()}


def test_event_loops_share_the_thread(background: Background) -> None:
    """Work goes on after the event loop that submitted it has ended, and any event loop can await a result."""
    work = Endless()

    async def submit_and_await() -> tuple[Future[None], int]:
        return background.submit(work()), await asyncio.wrap_future(background.submit(current_thread()))

    endless, first = asyncio.run(submit_and_await())
    _, second = asyncio.run(submit_and_await())
    assert first == second
    assert not endless.done()


def test_the_future_raises_the_error_of_the_work(background: Background) -> None:
    """After an error, the thread goes on."""

    async def fail() -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        background.submit(fail()).result(DEADLINE_SECONDS)
    assert background.submit(current_thread()).result(DEADLINE_SECONDS) != threading.get_ident()


def test_cancelling_the_future_cancels_the_work(background: Background) -> None:
    """Work does not go on after its future was cancelled."""
    work = Endless()
    future = background.submit(work())
    assert work.started.wait(DEADLINE_SECONDS)
    assert future.cancel()
    assert work.ended.wait(DEADLINE_SECONDS)


async def test_cancelling_a_task_cancels_the_work(background: Background) -> None:
    """Work does not go on after the task that awaits it was cancelled."""
    work = Endless()
    waiting = asyncio.ensure_future(asyncio.wrap_future(background.submit(work())))
    assert await asyncio.to_thread(work.started.wait, DEADLINE_SECONDS)
    waiting.cancel()
    assert await asyncio.to_thread(work.ended.wait, DEADLINE_SECONDS)


def test_call_soon_calls_in_the_thread(background: Background) -> None:
    """The function is called in the thread that does the work."""
    called: Future[int] = Future()
    background.call_soon(lambda: called.set_result(threading.get_ident()))
    assert called.result(DEADLINE_SECONDS) == background.submit(current_thread()).result(DEADLINE_SECONDS)


def test_closing_ends_the_thread() -> None:
    """The thread has ended when `close` returns."""
    background = Background("test that ends")
    assert "test that ends" in thread_names()
    background.close(nothing())
    assert "test that ends" not in thread_names()


def test_closing_leaves_nothing_open() -> None:
    """The event loop is closed, so there is no warning when it is garbage collected."""
    background = Background("test that leaves nothing")
    background.submit(current_thread()).result(DEADLINE_SECONDS)
    background.close(nothing())
    collected = weakref.ref(background)
    del background
    gc.collect()
    assert collected() is None


def test_closing_cancels_all_work_before_the_last_work() -> None:
    """The last work can release what the other work used."""
    background = Background("test that cancels")
    works = [Endless() for _ in range(3)]
    futures = [background.submit(work()) for work in works]
    assert all(work.started.wait(DEADLINE_SECONDS) for work in works)
    ended_before_last: list[bool] = []

    async def last() -> None:
        ended_before_last.extend(work.ended.is_set() for work in works)

    background.close(last())
    assert ended_before_last == [True, True, True]
    assert all(future.cancelled() for future in futures)


def test_closing_waits_for_the_last_work() -> None:
    """The last work runs in the same thread, and may await something."""
    background = Background("test with a last work")
    thread = background.submit(current_thread()).result(DEADLINE_SECONDS)
    last_in: list[int] = []

    async def last() -> None:
        await asyncio.sleep(0)
        last_in.append(threading.get_ident())

    background.close(last())
    assert last_in == [thread]


def test_the_thread_ends_after_a_last_work_that_fails() -> None:
    """An error in the last work does not keep the thread alive."""
    background = Background("test with a last work that fails")

    async def fail() -> None:
        raise LookupError("lost")

    background.close(fail())
    assert "test with a last work that fails" not in thread_names()


def test_closing_does_not_wait_for_blocking_work() -> None:
    """A function in another thread cannot be cancelled: asyncio looks up the addresses of servers in such a way."""
    background = Background("test with blocking work")
    started, may_return, returned = threading.Event(), threading.Event(), threading.Event()

    def block() -> None:
        started.set()
        may_return.wait(DEADLINE_SECONDS)
        returned.set()

    background.submit(asyncio.to_thread(block))
    assert started.wait(DEADLINE_SECONDS)
    background.close(nothing())
    assert not returned.is_set()
    may_return.set()
    assert returned.wait(DEADLINE_SECONDS)


def test_after_closing_call_soon_does_nothing() -> None:
    """The function is not called, and there is no error."""
    background = Background("test that is over")
    background.close(nothing())
    called = threading.Event()
    background.call_soon(called.set)
    assert not called.is_set()


def test_work_that_is_submitted_during_closing() -> None:
    """Its future is done when `close` returns, so a thread that waits for it does not wait for ever."""
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


def test_work_that_is_submitted_after_closing() -> None:
    """Its future is cancelled, like those of work that `close` cancels."""
    background = Background("test that is closed")
    background.close(nothing())
    work = current_thread()
    try:
        assert background.submit(work).cancelled()
    finally:
        work.close()
