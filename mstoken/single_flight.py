"""Work that runs once at a time, for all tasks that need its result."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from mstoken.per_loop import PerLoop

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs `work` once for all tasks that ask for its result while it runs. They share the result or the error.

    If one of these tasks is cancelled, the work goes on. Each event loop has a run of its own: a run of another loop,
    which may have ended or may run in another thread or process, is not waited for.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], name: str) -> None:
        """`work` returns a new coroutine to run. `name` is the name of its task."""
        self._work = work
        self._name = name
        self._task: PerLoop[asyncio.Task[T]] = PerLoop(self._begin)

    @property
    def is_running(self) -> bool:
        """Whether the work is running in this event loop."""
        task = self._task.peek()
        return task is not None and not task.done()

    def start(self) -> "asyncio.Task[T]":
        """Start the work, unless it is running. Return its task."""
        if not self.is_running:
            self._task.pop()
        return self._task.get()

    async def join(self) -> T:
        """Return the result of the running work, or of a new run. Raise the exception of the work."""
        return await asyncio.shield(self.start())

    async def aclose(self) -> None:
        """Cancel the work if it is running, and wait for its end."""
        task = self._task.peek()
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    def _begin(self) -> "asyncio.Task[T]":
        task = asyncio.create_task(self._work(), name=self._name)
        # If all tasks that wait are cancelled, the error is not read, and asyncio would report it.
        task.add_done_callback(_read_error)
        return task


def _read_error(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()
