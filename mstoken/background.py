"""A background thread with an event loop, to which any thread and any event loop can give work.

Threads and short-lived event loops ask for tokens, and some tokens are obtained ahead of need, when nothing asks. One
event loop that stays does all of this work, so its connections are kept and its state needs no locks.

anyio's blocking portal does worse (anyio 4.16): a child that is forked while a portal runs never exits, because the
finalizer of the portal waits there for a thread that only the parent has. Work that is submitted while the portal
closes is not cancelled, and `call_soon` costs 45 µs there and 3 µs here.
"""

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

from mstoken.blocking import MAX_THREADS, DaemonThreads

T = TypeVar("T")


async def wait_for(future: "Future[T]") -> T:
    """Return the result of a future of a background thread, in an event loop of asyncio or of trio.

    Cancelling the task that waits cancels the future. Raise what the work raised, and `CancelledError` of
    `concurrent.futures` if something else cancelled the future. Raise RuntimeError in any other kind of event loop.
    """
    if _runs_in_asyncio():
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise CancelledError from None
    await _trio_wait(future)
    return future.result()


def _runs_in_asyncio() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _trio_wait(future: "Future[Any]") -> None:
    # If trio runs this, then it has been imported.
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        future.cancel()
        raise RuntimeError(
            "This code runs in an event loop that mstoken does not know. Use asyncio or trio, or the sync methods in a "
            "thread."
        )
    token, done = trio.lowlevel.current_trio_token(), trio.Event()

    def wake(_: "Future[Any]") -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(done.set)

    future.add_done_callback(wake)
    try:
        await done.wait()
    except BaseException:
        future.cancel()
        raise


class Background:
    """A daemon thread that runs an event loop until it is closed.

    A forked child does not have the thread: make one `Background` for each process (see `PerProcess`).
    """

    def __init__(self, name: str) -> None:
        """`name` is the name of the thread."""
        self._loop = asyncio.new_event_loop()
        # Looking up the address of a server blocks too, and must not hold up the end either.
        self._loop.set_default_executor(DaemonThreads(MAX_THREADS, f"{name} blocking call"))
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start `work` in the background, and return its future. Cancelling the future cancels the work.

        After `close`, the work does not start, and its future is cancelled.
        """
        with self._lock:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        cancelled: Future[T] = Future()
        cancelled.cancel()
        cancelled.set_running_or_notify_cancel()
        return cancelled

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call `function` in the background. After `close`, it is not called."""
        with self._lock:
            if not self._closed:
                self._loop.call_soon_threadsafe(function)

    def close(self, last: Coroutine[Any, Any, object]) -> None:
        """Cancel all work, run `last`, and wait until the thread has ended. A second call only waits."""
        with self._lock:
            if self._closed:
                last.close()
            else:
                self._closed = True
                ended = asyncio.run_coroutine_threadsafe(self._end(last), self._loop)
                ended.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))
        self._thread.join()

    async def _end(self, last: Coroutine[Any, Any, object]) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await last
        await self._loop.shutdown_default_executor()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()
