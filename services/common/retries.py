"""Another try for calls that may be made twice, as long as not too many need one.

Tries are apart by a random time ("full jitter"), so that those who failed together do not come back together. And there
is a budget: where most calls fail, trying each again would double the load on whoever is down already.

Source: Marc Brooker, "Exponential Backoff And Jitter"; gRFC A6, "Throttling Retry Attempts and Hedged RPCs"; Finagle's
RetryBudget. The loop is tenacity's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, wait_random_exponential

from services.common.deadlines import remaining_seconds

ATTEMPTS = 3
FIRST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 1.0

T = TypeVar("T")


class TryAgain(Exception):
    """A try came to nothing, for a reason that may be gone in a moment: `after_seconds` at least, if that is known."""

    def __init__(self, fault: str, *, after_seconds: float = 0.0) -> None:
        super().__init__(fault)
        self.fault = fault
        self.after_seconds = after_seconds


class RetryBudget:
    """How many tries there may be beyond the first: `ratio` of all calls, and `most` of them in a burst."""

    def __init__(self, *, ratio: float = 0.1, most: float = 10.0) -> None:
        self._ratio = ratio
        self._most = most
        self._tokens = most

    def deposit(self) -> None:
        """For each call."""
        self._tokens = min(self._most, self._tokens + self._ratio)

    def withdraw(self) -> bool:
        """For each further try: whether there may be one."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Retries:
    """Makes calls, up to `ATTEMPTS` times each. `sleep` takes seconds."""

    def __init__(
        self, budget: RetryBudget | None = None, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._budget = budget or RetryBudget()
        self._sleep = sleep
        self._jitter = wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS)

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What `attempt` returns. It is made again where it raises `TryAgain`, the last of which comes out."""
        self._budget.deposit()
        retrying = AsyncRetrying(sleep=self._sleep, wait=self._wait, retry=self._worth_another, reraise=True)
        return await retrying(attempt)

    def _worth_another(self, state: RetryCallState) -> bool:
        error = _error(state)
        if not isinstance(error, TryAgain) or state.attempt_number >= ATTEMPTS:
            return False
        return error.after_seconds < remaining_seconds() and self._budget.withdraw()

    def _wait(self, state: RetryCallState) -> float:
        error = _error(state)
        after = error.after_seconds if isinstance(error, TryAgain) else 0.0
        return after + self._jitter(state)


def _error(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()
