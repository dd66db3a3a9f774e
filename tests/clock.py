"""Clocks and sleeps that a test controls."""

import asyncio
from datetime import UTC, datetime, timedelta


class FakeClock:
    """A clock that stands still until it is advanced. It returns seconds since the epoch, or any other seconds."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class MovableTime:
    """The time of day, plus the time by which the test has advanced it."""

    def __init__(self) -> None:
        self._moved = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._moved

    def advance(self, time: timedelta) -> None:
        self._moved += time


async def no_sleep(_seconds: float) -> None:
    """Let other tasks run, without any delay."""
    await asyncio.sleep(0)


class ManualSleep:
    """Sleeps until the test wakes it, and records the seconds of each sleep."""

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
    """Advances a fake clock in place of sleeping. Once the clock has reached `end`, it sleeps for ever."""

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


class LoopClock:
    """Lets the time of an event loop pass at once: time limits end when the test says so, on a busy machine too."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._time = loop.time
        self._passed_seconds = 0.0
        # The loop reads its time with this method, and nothing else can be given to it.
        loop.time = self._now  # type: ignore[method-assign]

    def _now(self) -> float:
        return self._time() + self._passed_seconds

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass. Whatever is due by then happens in the next pass of the loop."""
        self._passed_seconds += seconds

    def advance_from_outside(self, seconds: float) -> None:
        """Do the same in another thread than the loop's. Work that was given to the loop before has begun by then."""

        async def advance() -> None:
            self.advance(seconds)

        asyncio.run_coroutine_threadsafe(advance(), self._loop).result()
