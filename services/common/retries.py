"""Repeats failed calls that may be made twice, as long as not too many calls need it.

The pauses between attempts follow `mstoken.backoff.Backoff`. A budget limits the repetitions: when most calls fail,
repeating each of them would multiply the load on a service that is already overloaded.

Source: gRFC A6, "Throttling Retry Attempts and Hedged RPCs"; Finagle's RetryBudget.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mstoken.backoff import Backoff
from services.common.deadlines import remaining_seconds

MAX_ATTEMPTS = 3
BACKOFF = Backoff(first_seconds=0.1, longest_seconds=1.0)

T = TypeVar("T")


class TryAgain(Exception):
    """An attempt failed for a `reason` that may pass soon. Wait at least `after_seconds` before the next attempt."""

    def __init__(self, reason: str, *, after_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_seconds = after_seconds


class RetryBudget:
    """The number of repetitions allowed: `ratio` of all calls, with at most `burst` saved up."""

    def __init__(self, *, ratio: float = 0.1, burst: float = 10.0) -> None:
        self._ratio = ratio
        self._burst = burst
        self._tokens = burst

    def deposit(self) -> None:
        """Count a call."""
        self._tokens = min(self._burst, self._tokens + self._ratio)

    def withdraw(self) -> bool:
        """Count a repetition, and return True; return False if the budget does not allow one."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Retries:
    """Makes calls with up to `MAX_ATTEMPTS` attempts each. `sleep` takes seconds."""

    def __init__(
        self,
        budget: RetryBudget | None = None,
        *,
        backoff: Backoff = BACKOFF,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._budget = budget or RetryBudget()
        self._backoff = backoff
        self._sleep = sleep

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns. Make another attempt when it raises `TryAgain`; raise the last `TryAgain`."""
        self._budget.deposit()
        failures = 0
        while True:
            try:
                return await attempt()
            except TryAgain as error:
                failures += 1
                if not self._may_repeat(failures, error):
                    raise
                pause_seconds = error.after_seconds + self._backoff.delay_seconds(failures)
            await self._sleep(pause_seconds)

    def _may_repeat(self, failures: int, error: TryAgain) -> bool:
        is_in_time = error.after_seconds < remaining_seconds()
        return failures < MAX_ATTEMPTS and is_in_time and self._budget.withdraw()
