"""The one back-off: delays that double, stay below a limit, and are spread."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstoken.backoff import Backoff


def test_delays_double_up_to_the_longest() -> None:
    """Each failure doubles the delay, until it is the longest one."""
    backoff = Backoff(1.0, 10.0, jitter=lambda: 1.0)
    assert [backoff.delay_seconds(failures) for failures in range(1, 7)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_half_of_a_delay_is_random() -> None:
    """A delay is between half of its step and all of it: no process retries at once, and not all retry together."""
    assert Backoff(4.0, 60.0, jitter=lambda: 0.0).delay_seconds(1) == 2.0
    assert Backoff(4.0, 60.0, jitter=lambda: 0.5).delay_seconds(1) == 3.0


@pytest.mark.parametrize("failures", [1_025, 10**6, 10**12])
def test_an_outage_of_days_does_not_overflow(failures: int) -> None:
    """However many failures there were, the delay is the longest one: 2.0 ** 1024 would raise OverflowError."""
    assert Backoff(1.0, 60.0, jitter=lambda: 1.0).delay_seconds(failures) == 60.0


@given(failures=st.integers(1, 10**6), jitter=st.floats(0.0, 1.0, exclude_max=True))
def test_every_delay_is_within_its_limits(failures: int, jitter: float) -> None:
    """Whatever the failures and the jitter, a delay is at least half of the first and at most the longest."""
    assert 0.05 <= Backoff(0.1, 2.0, jitter=lambda: jitter).delay_seconds(failures) <= 2.0


def test_delays_are_spread_by_default() -> None:
    """Two processes that failed together do not wait the same time."""
    backoff = Backoff(1.0, 1.0)
    assert len({backoff.delay_seconds(1) for _ in range(10)}) > 1
