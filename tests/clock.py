"""Time for tests: it stands still until it is moved."""

import asyncio
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Gives seconds since the epoch, or any other seconds."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class MovableTime:
    """The time of day, which runs on from where it was moved to."""

    def __init__(self) -> None:
        self._moved = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._moved

    def advance(self, time: timedelta) -> None:
        self._moved += time


async def no_sleep(_seconds: float) -> None:
    """Lets the others go on, and no time pass."""
    await asyncio.sleep(0)


class ManualSleep:
    """Sleeps until a test says so, and knows for how long it was asked to."""

    def __init__(self) -> None:
        self.asked_seconds: asyncio.Queue[float] = asyncio.Queue()
        self._wake = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        await self.asked_seconds.put(seconds)
        self._wake.clear()
        await self._wake.wait()

    def wake(self) -> None:
        self._wake.set()


class SkippingSleep:
    """Sleeps by moving a fake clock, until the clock has reached `end`. From then on it sleeps for good."""

    def __init__(self, clock: FakeClock, end: float) -> None:
        self._clock = clock
        self._end = end
        self.has_reached_end = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        if self._clock.now >= self._end:
            self.has_reached_end.set()
            await asyncio.Event().wait()
        self._clock.advance(seconds)
        await asyncio.sleep(0)
