"""services/common/breaker.py"""

import asyncio

import pytest

from services.common.breaker import CircuitBreaker, CircuitOpen
from tests.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still."""
    return FakeClock()


@pytest.fixture
def breaker(clock: FakeClock) -> CircuitBreaker:
    """Opens after three failures, for ten seconds."""
    return CircuitBreaker("product", failures=3, open_seconds=10, clock=clock)


def call(breaker: CircuitBreaker, *outcomes: bool | None) -> None:
    """Make calls with these outcomes; None stands for a call that reports none."""
    for is_success in outcomes:
        with breaker.call() as outcome:
            if is_success is not None:
                (outcome.succeeded if is_success else outcome.failed)()


def is_open(breaker: CircuitBreaker) -> bool:
    try:
        call(breaker, None)
    except CircuitOpen:
        return True
    return False


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([False, False], False),
        ([False, False, False], True),
        ([False, False, True, False, False], False),
        ([False, False, None, False], True),
        ([None, None, None, None], False),
    ],
)
def test_failures_in_a_row_open_it(breaker: CircuitBreaker, outcomes: list[bool | None], expected: bool) -> None:
    """Three failures with no success between them; calls that were broken off count as neither."""
    call(breaker, *outcomes)
    assert is_open(breaker) is expected


def test_it_says_when_to_come_back(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """While it is open no call passes, and each hears how long that will last."""
    call(breaker, False, False, False)
    clock.advance(4)
    with pytest.raises(CircuitOpen) as caught:
        call(breaker, True)
    assert caught.value.retry_after_seconds == 6


def test_one_probe_at_a_time(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """When the while is over one call passes, and the others wait for how it ends."""
    call(breaker, False, False, False)
    clock.advance(10)
    with breaker.call() as outcome:
        assert is_open(breaker)
        outcome.succeeded()
    assert not is_open(breaker)


def test_a_probe_that_fails_keeps_it_open(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """The while begins again, and so on until it works; then as many failures are needed as at first."""
    call(breaker, False, False, False)
    for _ in range(3):
        clock.advance(10)
        call(breaker, False)
        assert is_open(breaker)
    clock.advance(10)
    call(breaker, True, False, False)
    assert not is_open(breaker)


async def test_a_probe_that_is_cancelled_makes_room_for_another(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """A customer who goes away does not leave the circuit open for ever."""
    call(breaker, False, False, False)
    clock.advance(10)
    with pytest.raises(asyncio.CancelledError), breaker.call():
        raise asyncio.CancelledError
    call(breaker, True)
    assert not is_open(breaker)


def test_late_news_change_nothing(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """Calls that began before it opened neither close it nor keep it open for longer."""
    with breaker.call() as one, breaker.call() as other:
        call(breaker, False, False, False)
        one.succeeded()
        clock.advance(5)
        other.failed()
    assert is_open(breaker)
    clock.advance(5)
    assert not is_open(breaker)
