"""services/common/times.py"""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from services.common.times import DOUBT_SECONDS, MAX_STEP, SteadyClock, utc_now

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Machine:
    """A machine whose time of day a test sets, and whose seconds pass."""

    def __init__(self) -> None:
        self.passed = 1000.0
        self.error = timedelta()
        self.clock = SteadyClock(self.time_of_day, lambda: self.passed)

    def time_of_day(self) -> datetime:
        return NOON + timedelta(seconds=self.passed - 1000) + self.error

    def error_after(self, seconds: float) -> timedelta:
        """Let time pass, and return by how much the steady clock is wrong then."""
        self.passed += seconds
        return self.clock() - (NOON + timedelta(seconds=self.passed - 1000))


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.mark.parametrize("jump", [timedelta(minutes=50), timedelta(days=-2), MAX_STEP * 1.1], ids=str)
def test_a_jump_that_is_corrected_has_no_effect(
    machine: Machine, jump: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    """A clock that jumps for 12 seconds, in either direction, changes nothing. The log says so once."""
    machine.error = jump
    with caplog.at_level(logging.WARNING):
        assert {machine.error_after(3) for _ in range(4)} == {timedelta()}
        machine.error = timedelta()
        assert machine.error_after(1) == timedelta()
    [record] = caplog.records
    assert record.getMessage() == (
        f"the clock of this machine jumped by {jump.total_seconds()} s. Its old time counts on for 60 s."
    )


def test_a_jump_that_stays_is_believed(machine: Machine) -> None:
    """A clock that was wrong and is corrected for good counts after a minute, from then on without a break."""
    machine.error = timedelta(hours=3)
    assert machine.error_after(1) == timedelta()
    assert machine.error_after(DOUBT_SECONDS - 1) == timedelta()
    assert machine.error_after(1) == machine.error
    machine.error += MAX_STEP / 2
    assert machine.error_after(1) == machine.error


def test_each_jump_is_doubted_anew(machine: Machine) -> None:
    """A clock that goes on jumping is not believed."""
    for minutes in range(10, 20):
        machine.error = timedelta(minutes=minutes)
        assert machine.error_after(DOUBT_SECONDS / 2) == timedelta()


def test_a_clock_that_is_corrected_slowly_is_followed(machine: Machine) -> None:
    """Small steps, as time servers make them, count at once, also if they add up to more than a jump."""
    for _ in range(10):
        machine.error += MAX_STEP
        assert machine.error_after(1) == machine.error


def test_the_clock_of_this_process() -> None:
    """The clock of a process shows the machine's time in UTC."""
    assert abs(utc_now() - datetime.now(UTC)) < MAX_STEP
