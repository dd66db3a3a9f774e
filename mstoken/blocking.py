"""Blocking calls from event loops, in threads that nothing has to wait for.

google-auth and firebase-admin block, and some of their requests time out after two minutes only. `asyncio.to_thread`
makes such a call in a thread for which the event loop waits when it ends, and the process too. So an outage of Google's
metadata server would hold up the end of a service. The threads here are daemons, and each call has a deadline.
"""

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from typing_extensions import override

from mstoken.per_process import PerProcess

DEADLINE_SECONDS = 10.0
"""How long a call of google-auth or firebase-admin is waited for, in seconds. It may consist of several requests."""
MAX_THREADS = 64

P = ParamSpec("P")
T = TypeVar("T")


class DaemonThreads(ThreadPoolExecutor):
    """At most `max_threads` daemon threads, which are started when they are needed.

    It is a ThreadPoolExecutor because asyncio does not accept another executor as the default of an event loop. It
    shares no code with that class, whose threads are waited for when the process ends.
    """

    def __init__(self, max_threads: int, name: str) -> None:
        """`name` is the name of the threads."""
        super().__init__(1)
        self._name = name
        self._limit = max_threads
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        """The calls that have not begun. None ends a thread."""
        self._idle = threading.Semaphore(0)
        """Counts the threads that wait for a call."""
        self._lock = threading.Lock()
        self._started = 0
        self._is_shut_down = False

    @override
    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Start `function` in a thread, as soon as one is free. Cancelling the future helps until then."""
        future: Future[T] = Future()
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("the threads were shut down")
            self._calls.put(partial(_call, future, partial(function, *args, **kwargs)))
            if not self._idle.acquire(blocking=False) and self._started < self._limit:
                self._started += 1
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
        return future

    @override
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads that are idle, and the others after their calls. This waits for none of them."""
        with self._lock:
            if not self._is_shut_down:
                self._is_shut_down = True
                for _ in range(self._started):
                    self._calls.put(None)

    def _run(self) -> None:
        while self._run_next():
            pass

    def _run_next(self) -> bool:
        """Run one call. Return False if the thread must end."""
        try:
            call = self._calls.get_nowait()
        except queue.Empty:
            self._idle.release()
            call = self._calls.get()
        if call is not None:
            call()
        return call is not None


async def call_blocking(function: Callable[..., T], *args: Any, deadline_seconds: float = DEADLINE_SECONDS) -> T:
    """Return `function(*args)`, which may block: it runs in a daemon thread.

    Raises TimeoutError after `deadline_seconds`. The thread goes on then, and also if the task is cancelled; its result
    is dropped.
    """
    async with asyncio.timeout(deadline_seconds):
        return await asyncio.wrap_future(start_blocking(function, *args))


def start_blocking(function: Callable[..., T], *args: Any) -> "Future[T]":
    """Start `function(*args)` in a daemon thread, and return its future."""
    run_in_context = partial(contextvars.copy_context().run, function)
    return _threads.get().submit(run_in_context, *args)


def _call(future: "Future[T]", function: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


_threads = PerProcess(lambda: DaemonThreads(MAX_THREADS, "mstoken blocking call"))
