"""Jobs that a service does by itself, in the background."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Self

from mstoken.log_events import log_event
from mstoken.problem import Problem

STOP_SECONDS = 1.5
"""How long a stopping app waits for a job that is running before it cancels the job, in seconds."""

BATCH = 500
"""How many rows a job deletes in one transaction."""
PAUSE_SECONDS = 0.05
"""The pause between two batches, in seconds."""

_log = logging.getLogger("services.background")


class Repeated:
    """A job that runs when the app starts, and then every `every_seconds`: one of the `resources` of `build`.

    Each process of a service runs it, so a job must allow being run twice at once, and being cancelled. If it fails,
    the failure is logged, and the job runs again when it is due.
    """

    def __init__(
        self,
        name: str,
        job: Callable[[], Awaitable[object]],
        *,
        every_seconds: float,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self._name = name
        self._job = job
        self._every_seconds = every_seconds
        self._stop_seconds = stop_seconds
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._stopping.clear()
        self._task = asyncio.create_task(self._repeat(), name=self._name)
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._task is not None  # noqa: S101 - set by __aenter__
        self._stopping.set()
        await asyncio.wait({self._task}, timeout=self._stop_seconds)
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _repeat(self) -> None:
        while not self._stopping.is_set():
            await self._run()
            try:
                async with asyncio.timeout(self._every_seconds):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def _run(self) -> None:
        try:
            await self._job()
        except Problem as problem:
            message = f"the job {self._name} failed: {problem.code}"
            log_event(_log, logging.WARNING, "background", message, job=self._name, reason=problem.code)
        except Exception as error:
            message = f"the job {self._name} failed because of a defect: {type(error).__name__}"
            log_event(_log, logging.ERROR, "defect", message, exc_info=error, job=self._name)


async def in_batches(
    delete: Callable[[], Awaitable[int]],
    *,
    size: int = BATCH,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> int:
    """Repeat `delete`, which deletes up to `size` rows and returns how many, until it deletes fewer.

    Return how many rows were deleted. Between two batches, the other writers of the database have a turn.
    """
    total = 0
    while (deleted := await delete()) >= size:
        total += deleted
        await sleep(PAUSE_SECONDS)
    return total + deleted
