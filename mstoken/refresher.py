"""A background task that keeps a cache or a token fresh, and that no error can end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from mstoken import telemetry
from mstoken.per_loop import PerLoop

PAUSE_AFTER_DEFECT_SECONDS = 10.0
"""Pause after an exception that the refreshing code did not expect."""


class Refresher:
    """Calls `refresh` again and again in a background task of each event loop that starts it.

    `refresh` returns the seconds to wait until its next call. If it raises an exception, which is a defect, the
    exception is logged to `log` with the text `message`, and the next call follows after 10 s.
    """

    def __init__(
        self,
        refresh: Callable[[], Awaitable[float]],
        *,
        name: str,
        log: logging.Logger,
        message: str,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`name` is the name of the task."""
        self._refresh = refresh
        self._log = log
        self._message = message
        self._sleep = sleep
        self._task = PerLoop(lambda: asyncio.create_task(self._run(), name=name))

    def start(self) -> None:
        """Start the task of the running event loop, unless it is running."""
        task = self._task.peek()
        if task is not None and task.done():
            self._task.pop()
        self._task.get()

    async def aclose(self) -> None:
        """Cancel the task of the running event loop, if there is one, and wait for its end."""
        task = self._task.pop()
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        telemetry.begin_new_trace()
        while True:
            try:
                pause_seconds = await self._refresh()
            except Exception:  # a cache that is no longer refreshed would refuse every call, hours later
                self._log.exception(self._message)
                pause_seconds = PAUSE_AFTER_DEFECT_SECONDS
            await self._sleep(pause_seconds)
