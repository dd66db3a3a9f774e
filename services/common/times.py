"""The time of day, in UTC, from a clock that believes in a jump only when it lasts.

A clock that jumps (a wrong answer of a time server, a restored virtual machine) ends every lease early or makes it very
long, and forgets what should be kept. Most jumps are corrected within seconds. So a process goes on with the time that
it had, and counts on from there, until the new time has stayed for a while.

What is stored must allow for a wrong clock as well, because a process can start with one. So code that reads a stored
deadline treats it as over if it is further away than any deadline of its kind can be.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from mstoken.log_events import log_event

Clock: TypeAlias = Callable[[], datetime]
"""Returns the present time in UTC. Tests hand in clocks of their own."""

MAX_STEP = timedelta(seconds=5)
"""A larger step of the clock, forwards or backwards, is a jump."""
DOUBT_SECONDS = 60.0
"""How long a jump must last before it is believed, in seconds."""

_log = logging.getLogger("services.times")


def _machine_time() -> datetime:
    return datetime.now(UTC)


def _seconds_since_boot() -> float:
    """Return seconds that no one can set. On Linux they also pass while the machine is suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class SteadyClock:
    """The machine's time of day, which believes in a jump when the jump has lasted for `DOUBT_SECONDS`.

    `machine_time` may jump. `seconds` may not: it counts seconds since any moment.
    """

    def __init__(self, machine_time: Clock = _machine_time, seconds: Callable[[], float] = _seconds_since_boot) -> None:
        self._machine_time = machine_time
        self._seconds = seconds
        self._zero = self._machine_zero(seconds())
        """The time of day at which `seconds` was 0."""
        self._doubted: tuple[datetime, float] | None = None
        """The value of `_zero` that the machine claims since a jump, and when it began to, by `seconds`."""

    def __call__(self) -> datetime:
        """Return the time of day."""
        passed = self._seconds()
        claimed = self._machine_zero(passed)
        if abs(claimed - self._zero) <= MAX_STEP:
            self._zero, self._doubted = claimed, None
        elif self._doubted is None or abs(claimed - self._doubted[0]) > MAX_STEP:
            self._doubted = claimed, passed
            self._report("jumped", claimed, f"Its old time counts on for {DOUBT_SECONDS:.0f} s.")
        elif passed - self._doubted[1] >= DOUBT_SECONDS:
            self._report("jumped and stayed", claimed, "Its new time counts from now on.")
            self._zero, self._doubted = claimed, None
        return self._zero + timedelta(seconds=passed)

    def _machine_zero(self, passed_seconds: float) -> datetime:
        return self._machine_time() - timedelta(seconds=passed_seconds)

    def _report(self, what: str, claimed: datetime, consequence: str) -> None:
        seconds = round((claimed - self._zero).total_seconds(), 1)
        message = f"the clock of this machine {what} by {seconds} s. {consequence}"
        log_event(_log, logging.WARNING, "clock_jumped", message, seconds=seconds)


utc_now = SteadyClock()
"""The clock of this process."""


def utc(time: datetime) -> datetime:
    """Return a time from the database with its time zone. SQLite stores none, and everything we store is UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
