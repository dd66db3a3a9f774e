"""Time for tests: it stands still until it is moved."""

import asyncio


class FakeClock:
    """Gives seconds since the epoch, or any other seconds."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


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
