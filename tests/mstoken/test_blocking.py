"""Blocking calls in daemon threads: their results, their deadline, and what does not wait for them."""

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from textwrap import dedent

import pytest

from mstoken.blocking import DaemonThreads, call_blocking
from tests.mstoken.caller.fakes import DEADLINE_SECONDS

ROOT = Path(__file__).parents[2]


class Stuck:
    """A call that goes on until the test ends it."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.ended = threading.Event()

    def __call__(self) -> None:
        self.begun.release()
        self.may_end.wait(DEADLINE_SECONDS)
        self.ended.set()

    def wait_until_begun(self) -> None:
        assert self.begun.acquire(timeout=DEADLINE_SECONDS)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    stuck = Stuck()
    yield stuck
    stuck.may_end.set()


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[DaemonThreads]:
    """At most two threads. They have the name of the test, because those of an earlier test may not have ended yet."""
    threads = DaemonThreads(2, request.node.name)
    yield threads
    threads.shutdown()


def count(name: str) -> int:
    """Return how many threads have the name."""
    return [thread.name for thread in threading.enumerate()].count(name)


class TestDaemonThreads:
    """The executor."""

    def test_it_returns_what_the_function_returns(self, threads: DaemonThreads) -> None:
        """The function runs in another thread, which is a daemon, with its arguments."""
        assert threads.submit(divmod, 7, 2).result(DEADLINE_SECONDS) == (3, 1)
        assert threads.submit(int, "11", base=2).result(DEADLINE_SECONDS) == 3
        thread = threads.submit(threading.current_thread).result(DEADLINE_SECONDS)
        assert thread is not threading.current_thread()
        assert thread.daemon

    def test_it_raises_what_the_function_raises(self, threads: DaemonThreads) -> None:
        """The thread goes on, with the next call."""
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                threads.submit(divmod, 1, 0).result(DEADLINE_SECONDS)
        assert threads.submit(divmod, 1, 1).result(DEADLINE_SECONDS) == (1, 0)

    def test_idle_threads_are_used_again(self, threads: DaemonThreads) -> None:
        """Calls one after the other need one thread, or two if the first is not yet idle."""
        used = {threads.submit(threading.get_ident).result(DEADLINE_SECONDS) for _ in range(50)}
        assert len(used) <= 2

    def test_a_call_that_is_stuck_does_not_hold_up_the_next(self, threads: DaemonThreads, stuck: Stuck) -> None:
        """Another thread is started, also if the first one had been idle before."""
        threads.submit(divmod, 1, 1).result(DEADLINE_SECONDS)
        threads.submit(stuck)
        stuck.wait_until_begun()
        assert threads.submit(divmod, 7, 2).result(DEADLINE_SECONDS) == (3, 1)

    def test_there_is_a_maximum_of_threads(
        self, request: pytest.FixtureRequest, threads: DaemonThreads, stuck: Stuck
    ) -> None:
        """While all are busy, a call waits for a thread, and can be cancelled."""
        for _ in range(2):
            threads.submit(stuck)
            stuck.wait_until_begun()
        waiting, cancelled = threads.submit(divmod, 7, 2), threads.submit(divmod, 1, 0)
        assert count(request.node.name) == 2
        assert not waiting.running()
        assert cancelled.cancel()
        stuck.may_end.set()
        assert waiting.result(DEADLINE_SECONDS) == (3, 1)

    def test_shutting_down_does_not_wait(self, stuck: Stuck) -> None:
        """Threads end when they are idle. No other call can be made."""
        threads = DaemonThreads(2, "test of the end")
        future = threads.submit(stuck)
        stuck.wait_until_begun()
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "test of the end")
        threads.shutdown(wait=True)
        threads.shutdown(wait=True)
        assert not future.done()
        with pytest.raises(RuntimeError, match="shut down"):
            threads.submit(divmod, 1, 1)
        stuck.may_end.set()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()


async def test_a_blocking_call_returns_and_raises_what_its_function_does() -> None:
    """The event loop goes on meanwhile."""
    assert await call_blocking(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await call_blocking(divmod, 1, 0)
    may_return = threading.Event()
    asyncio.get_running_loop().call_soon(may_return.set)
    assert await call_blocking(may_return.wait, DEADLINE_SECONDS)


async def test_a_blocking_call_has_the_context_of_its_task() -> None:
    """Log records of the function have the same facts as those of the task."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("of the task")
    assert await call_blocking(variable.get) == "of the task"


async def test_a_blocking_call_has_a_deadline(stuck: Stuck) -> None:
    """The task goes on with an error. The thread does not, but nothing waits for it."""
    with pytest.raises(TimeoutError):
        await call_blocking(stuck, deadline_seconds=0.01)
    assert not stuck.ended.is_set()


async def test_a_cancelled_task_does_not_wait_for_its_call(stuck: Stuck) -> None:
    """So closing does not wait either."""
    task = asyncio.create_task(call_blocking(stuck))
    await call_blocking(stuck.wait_until_begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not stuck.ended.is_set()


def test_an_event_loop_ends_during_a_call(stuck: Stuck) -> None:
    """The loop waits for the threads of its default executor, and not for this one."""

    async def main() -> None:
        asyncio.create_task(call_blocking(stuck))  # noqa: RUF006 - the loop ends before the task does
        await call_blocking(stuck.wait_until_begun)

    asyncio.run(main())
    assert not stuck.ended.is_set()


@pytest.mark.process
def test_the_process_ends_during_a_call() -> None:
    """A call that never returns does not keep the process alive."""
    script = """
        import asyncio, threading
        from mstoken.blocking import call_blocking

        begun = threading.Event()

        def block():
            begun.set()
            threading.Event().wait()

        async def main():
            asyncio.create_task(call_blocking(block))
            await call_blocking(begun.wait)

        asyncio.run(main())
        print("end of main")
    """
    ended = subprocess.run(
        [sys.executable, "-c", dedent(script)], cwd=ROOT, timeout=DEADLINE_SECONDS, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "end of main\n", "")


@pytest.mark.process
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    """The threads of the parent do not exist there."""
    assert asyncio.run(call_blocking(divmod, 7, 2)) == (3, 1)
    child = os.fork()
    if not child:
        signal.alarm(int(DEADLINE_SECONDS))
        os._exit(0 if asyncio.run(call_blocking(divmod, 7, 2)) == (3, 1) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_future_is_read_from_any_thread(threads: DaemonThreads) -> None:
    """It is an ordinary future."""
    future: Future[tuple[int, int]] = threads.submit(divmod, 7, 2)
    assert asyncio.run(asyncio.wait_for(_awaited(future), DEADLINE_SECONDS)) == (3, 1)


async def _awaited(future: "Future[tuple[int, int]]") -> tuple[int, int]:
    return await asyncio.wrap_future(future)
