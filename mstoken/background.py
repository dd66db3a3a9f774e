"""Where this process signs in: one thread with an event loop of its own, whoever asks.

Tokens are wanted by threads and by event loops that come and go, and are signed in for ahead of need, when nobody
asks. One loop that stays does all of it: it has the connections to Firebase, and the only state that needs no locks.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Background:
    """A daemon thread that runs an event loop. It does not survive a fork: a child needs one of its own."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Starts `work` in the background; cancelling the future cancels it. Once this is closed, it is cancelled."""
        with self._lock:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        cancelled: Future[T] = Future()
        cancelled.cancel()
        cancelled.set_running_or_notify_cancel()
        return cancelled

    def call_soon(self, function: Callable[[], object]) -> None:
        """Runs `function` in the background; once this is closed, nothing happens."""
        with self._lock:
            if not self._closed:
                self._loop.call_soon_threadsafe(function)

    def close(self, last: Coroutine[Any, Any, object]) -> None:
        """Cancels what is running, runs `last`, and ends the thread; returns when it has ended. Once is enough."""
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
