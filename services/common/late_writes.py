"""Writes that must not be lost because the database is away for a moment, such as the release of a lease."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, TypeAlias

from mstoken.backoff import Backoff
from mstoken.log_events import log_event
from services.common.errors import DatabaseUnavailable

BACKOFF = Backoff(first_seconds=0.1, longest_seconds=1.0)
STOP_SECONDS = 2.0
"""How long a stopping app tries to make the writes that it still owes, in seconds."""
MAX_OWED = 10_000
"""Maximum number of writes that wait. If there are more, the oldest are dropped."""

Write: TypeAlias = Callable[[], Awaitable[bool]]
"""A write that may be repeated. It returns False if there was nothing to change, perhaps only for now."""

_log = logging.getLogger("services.late_writes")


@dataclass(frozen=True, slots=True)
class _Owed:
    """A write that was not made. `useless_at`, by the clock of the writes, is when it has become superfluous."""

    write: Write
    useless_at: float


class LateWrites:
    """Makes writes at once, or as soon as the database is back: one of the `resources` of `build`.

    List it before the jobs that use it, so that it stops after them. Each write has an end of its own, because what it
    ends would have ended by itself then. Without `async with`, a write that fails is never made.
    """

    def __init__(self, *, backoff: Backoff = BACKOFF, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds."""
        self._backoff = backoff
        self._clock = clock
        self._owed: deque[_Owed] = deque(maxlen=MAX_OWED)
        self._is_owed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many writes wait."""
        return len(self._owed)

    async def make(self, write: Write, *, useful_seconds: float) -> None:
        """Make a write. If the database is unavailable, or the caller is cancelled, it is made later."""
        try:
            await write()
        except DatabaseUnavailable:
            self.owe(write, useful_seconds=useful_seconds)
        except BaseException:
            self.owe(write, useful_seconds=useful_seconds)
            raise

    def owe(self, write: Write, *, useful_seconds: float) -> None:
        """Make a write later, and again until it has changed something or `useful_seconds` have passed.

        Use it after a transaction whose outcome is unknown: what it has written may not be there yet.
        """
        self._owed.append(_Owed(write, self._clock() + useful_seconds))
        self._is_owed.set()

    async def settle(self) -> None:
        """Try each write that waits. Raises `DatabaseUnavailable` at the first that fails; it and the rest wait on."""
        for _ in range(len(self._owed)):
            owed = self._owed.popleft()
            if owed.useless_at <= self._clock():
                continue
            try:
                if await owed.write():
                    continue
            except BaseException:
                self._owed.appendleft(owed)
                raise
            self._owed.append(owed)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._settle_for_ever(), name="late writes")
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._task is not None  # noqa: S101 - set by __aenter__
        self._task.cancel()
        await asyncio.wait({self._task})
        with suppress(DatabaseUnavailable, TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await self.settle()

    async def _settle_for_ever(self) -> None:
        rounds = 0
        while True:
            await self._is_owed.wait()
            rounds += 1
            try:
                await self.settle()
            except DatabaseUnavailable:
                pass  # The database has logged it.
            except Exception as error:
                self._owed.popleft()
                message = f"a late write failed because of a defect, and is dropped: {type(error).__name__}"
                log_event(_log, logging.ERROR, "defect", message, exc_info=error)
            if self._owed:
                await asyncio.sleep(self._backoff.delay_seconds(rounds))
            else:
                self._is_owed.clear()
                rounds = 0
