"""A circuit breaker: a service that does not answer gets no calls for a while, and its callers get an error at once.

               failures in a row
    closed ──────────────────────▶ open
      ▲                            │  ▲
      │               pause is over │  │ the call fails
      │ the call succeeds           ▼  │
      └──────────────────────── half-open: one call

Source: Michael Nygard, "Release It!", chapter 5; the failures that count are those of Envoy's "consecutive gateway
failure".

Kept by hand because the libraries for asyncio do worse: aiobreaker (last release in 2021) and purgatory let all calls
through at once when the pause is over, measure the pause by the wall clock, and count a call that its caller cancelled
as a failure, so that impatient customers could cut off a healthy service.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mstoken.log_events import log_event
from services.common.measures import CIRCUIT, CIRCUIT_OPEN

FAILURES_TO_OPEN = 5
OPEN_SECONDS = 2.0

_log = logging.getLogger("services.breaker")


class CircuitOpen(Exception):
    """The call was not made. The next call may be made in `retry_after_seconds`."""

    def __init__(self, name: str, retry_after_seconds: float) -> None:
        super().__init__(f"calls to {name} are paused, because the last ones failed")
        self.retry_after_seconds = retry_after_seconds


class CallOutcome:
    """The outcome of one call. A call that reports none, because it was cancelled for example, counts neither way."""

    def __init__(self) -> None:
        self.is_success: bool | None = None

    def succeeded(self) -> None:
        """Report that the other service works."""
        self.is_success = True

    def failed(self) -> None:
        """Report that the other service does not work."""
        self.is_success = False


class CircuitBreaker:
    """Stops calls to `name` for `open_seconds` after `failures` failures in a row, and then allows one call.

    If that call succeeds all calls are allowed again. If it fails, calls stop for another `open_seconds`.
    """

    def __init__(
        self,
        name: str,
        *,
        failures: int = FAILURES_TO_OPEN,
        open_seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._failures_to_open = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._is_probing = False
        CIRCUIT_OPEN.set(0, {CIRCUIT: name})

    @contextmanager
    def call(self) -> Iterator[CallOutcome]:
        """Enclose one call, which reports its outcome. Raise `CircuitOpen` if the call must not be made."""
        is_probe = self._opened_at is not None
        if self._opened_at is not None:
            remaining = self._opened_at + self._open_seconds - self._clock()
            if remaining > 0 or self._is_probing:
                raise CircuitOpen(self._name, max(remaining, 0.0))
            self._is_probing = True
        outcome = CallOutcome()
        try:
            yield outcome
        finally:
            if is_probe:
                self._record_probe(outcome.is_success)
            elif self._opened_at is None:
                self._record(outcome.is_success)

    def _record_probe(self, is_success: bool | None) -> None:
        self._is_probing = False
        if is_success is True:
            self._failures = 0
            self._opened_at = None
            CIRCUIT_OPEN.set(0, {CIRCUIT: self._name})
            message = f"the circuit to {self._name} closed: calls go through again"
            log_event(_log, logging.INFO, "circuit_closed", message, circuit=self._name)
        elif is_success is False:
            self._opened_at = self._clock()

    def _record(self, is_success: bool | None) -> None:
        if is_success is True:
            self._failures = 0
        elif is_success is False:
            self._failures += 1
            if self._failures >= self._failures_to_open:
                self._opened_at = self._clock()
                CIRCUIT_OPEN.set(1, {CIRCUIT: self._name})
                message = (
                    f"the circuit to {self._name} opened after {self._failures} failures in a row: no calls for "
                    f"{self._open_seconds:g} s"
                )
                log_event(_log, logging.WARNING, "circuit_opened", message, circuit=self._name)
