"""The pause after a failure before the next attempt. Everything in this library that retries uses it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom

RANDOM = SystemRandom()
"""Spreads what processes do in time.

The generator of the module `random` would not: a program may seed it, and its forked processes share its state.
"""

_MAX_DOUBLINGS = 32
"""More doublings would change nothing, and 2.0 ** 1024 raises OverflowError."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `first_seconds` to `longest_seconds`, with "equal jitter".

    Each delay is a random part of its step, between half of it and all of it. So processes that failed at the same
    time do not retry at the same time, and none of them retries at once. `jitter` returns a number from 0 to 1.

    Source: Marc Brooker, "Exponential Backoff And Jitter".
    """

    first_seconds: float
    longest_seconds: float
    jitter: Callable[[], float] = RANDOM.random

    def delay_seconds(self, failures: int) -> float:
        """Return the seconds to wait after `failures` failures in a row, 1 or more."""
        step = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
        return step * (1 + self.jitter()) / 2
