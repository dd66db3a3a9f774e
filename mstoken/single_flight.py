"""Work that runs once at a time, for all tasks that need its result."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs `work` once for all tasks that ask for its result while it runs. They share the result or the error.

    If one of these tasks is cancelled, the work goes on. An instance serves one event loop at a time: a run that
    another loop began, before a fork or in a loop that has ended, is not waited for.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], name: str) -> None:
        """`work` returns a new coroutine to run. `name` is the name of its task."""
        self._work = work
        self._name = name
        self._task: asyncio.Task[T] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the work is running in this event loop."""
        task = self._task
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    def start(self) -> "asyncio.Task[T]":
        """Start the work, unless it is running. Return its task."""
        if self._task is None or not self.is_running:
            self._task = asyncio.create_task(self._work(), name=self._name)
            # If all tasks that wait are cancelled, the error is not read, and asyncio would report it.
            self._task.add_done_callback(_read_error)
        return self._task

    async def join(self) -> T:
        """Return the result of the running work, or of a new run. Raise the exception of the work."""
        return await asyncio.shield(self.start())

    async def aclose(self) -> None:
        """Cancel the work if it is running, and wait for its end."""
        if self._task is not None and self.is_running:
            self._task.cancel()
            await asyncio.wait([self._task])


def _read_error(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()
