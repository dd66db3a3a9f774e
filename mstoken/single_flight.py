"""One piece of work at a time, however many tasks ask for its result."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs `work` once for everyone who asks while it runs; they share its result or its error.

    Cancelling one who waits does not cancel the work. For one event loop at a time: a run that another loop began
    (before a fork, or in a loop that has ended) is not waited for.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, T]], name: str) -> None:
        """`work` makes the coroutine to run; `name` is the name of its task."""
        self._work = work
        self._name = name
        self._task: asyncio.Task[T] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a run is under way in this event loop."""
        task = self._task
        return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()

    def start(self) -> "asyncio.Task[T]":
        """Begin a run, unless one is under way. Return the task of the run."""
        if self._task is None or not self.is_running:
            self._task = asyncio.create_task(self._work(), name=self._name)
            # Everyone who waits may have been cancelled: then nobody reads the error, and asyncio would complain.
            self._task.add_done_callback(_read_error)
        return self._task

    async def join(self) -> T:
        """Return the result of the run under way, or of a new one. Raise what the work raises."""
        return await asyncio.shield(self.start())

    async def aclose(self) -> None:
        """Cancel the run under way, if there is one, and wait for its end."""
        if self._task is not None and self.is_running:
            self._task.cancel()
            await asyncio.wait([self._task])


def _read_error(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()
