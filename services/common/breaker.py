"""A circuit breaker: who does not answer is left alone for a while, and those who wait for an answer are told at once.

               failures in a row
    closed ─────────────────────────▶ open
      ▲                               │  ▲
      │ it works         a while later │  │ it does not
      └──────────────── probing ◀──────┘  │
                           └──────────────┘

Source: Michael Nygard, "Release It!", chapter 5; the failures that count are those of Envoy's "consecutive gateway
failure". It is a page of our own because what there is for asyncio does less: aiobreaker (last released in 2021) and
purgatory let everyone through at once when the while is over, have the clock of the wall, and take a call that its
caller has cancelled for a failure, so that impatient customers could cut a service off.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MOST_FAILURES = 5
OPEN_SECONDS = 2.0

_log = logging.getLogger("services.breaker")


class CircuitOpen(Exception):
    """The call was not made. `retry_after_seconds` is how long it is until one may be."""

    def __init__(self, name: str, retry_after_seconds: float) -> None:
        super().__init__(f"{name} is left alone for now.")
        self.retry_after_seconds = retry_after_seconds


class Passage:
    """One call on its way. It says how it went; one that says nothing, having been cancelled say, teaches nothing."""

    def __init__(self) -> None:
        self.verdict: bool | None = None

    def succeeded(self) -> None:
        """The other side works."""
        self.verdict = True

    def failed(self) -> None:
        """The other side does not."""
        self.verdict = False


class CircuitBreaker:
    """Lets calls to `name` pass until `failures` in a row have failed, then none for `open_seconds`, then one.

    If that one works all may pass again; otherwise none for as long again.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = MOST_FAILURES,
        open_seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._most_failures = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @contextmanager
    def passage(self) -> Iterator[Passage]:
        """For one call. Raises `CircuitOpen` where it may not be made."""
        probe = self._opened_at is not None
        if self._opened_at is not None:
            left = self._opened_at + self._open_seconds - self._clock()
            if left > 0 or self._probing:
                raise CircuitOpen(self._name, max(left, 0.0))
            self._probing = True
        passage = Passage()
        try:
            yield passage
        finally:
            if probe:
                self._probed(passage.verdict)
            elif self._opened_at is None:
                self._learned(passage.verdict)

    def _probed(self, verdict: bool | None) -> None:
        self._probing = False
        if verdict is True:
            self._failures = 0
            self._opened_at = None
            _log.info("circuit_closed", extra={"circuit": self._name})
        elif verdict is False:
            self._opened_at = self._clock()

    def _learned(self, verdict: bool | None) -> None:
        if verdict is True:
            self._failures = 0
        elif verdict is False:
            self._failures += 1
            if self._failures >= self._most_failures:
                self._opened_at = self._clock()
                _log.warning("circuit_opened", extra={"circuit": self._name})
