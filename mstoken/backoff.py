"""How long to wait after a failure before the next attempt: the one back-off of this library."""

import random
from collections.abc import Callable
from dataclasses import dataclass

_MOST_DOUBLINGS = 32
"""Beyond this, doubling changes nothing, and 2.0 ** 1024 raises OverflowError."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays that double from `first_seconds` to `longest_seconds`, each spread by "equal jitter".

    A delay lies between half and all of its step, so that processes that failed together do not return together, and
    none of them returns at once. `jitter` returns a number from 0 to 1.
    Source: Marc Brooker, "Exponential Backoff And Jitter".
    """

    first_seconds: float
    longest_seconds: float
    jitter: Callable[[], float] = random.random

    def delay_seconds(self, failures: int) -> float:
        """Return the seconds to wait after `failures` failures in a row, 1 or more."""
        step = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
        return step * (1 + self.jitter()) / 2
