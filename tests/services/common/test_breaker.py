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
    """A breaker that opens after three failures, for ten seconds."""
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
    """Three failures without a success between them open the circuit. Calls without an outcome do not count."""
    call(breaker, *outcomes)
    assert is_open(breaker) is expected


def test_an_open_circuit_says_when_it_will_close(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """While the circuit is open no call is made, and the error says how many seconds are left."""
    call(breaker, False, False, False)
    clock.advance(4)
    with pytest.raises(CircuitOpen) as caught:
        call(breaker, True)
    assert caught.value.retry_after_seconds == 6


def test_after_the_pause_one_call_is_allowed(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """When the pause is over one call is allowed. Others are refused until it has an outcome."""
    call(breaker, False, False, False)
    clock.advance(10)
    with breaker.call() as outcome:
        assert is_open(breaker)
        outcome.succeeded()
    assert not is_open(breaker)


def test_a_failed_call_after_the_pause_opens_the_circuit_again(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """If that call fails the pause begins again. After it succeeds, three failures are needed again."""
    call(breaker, False, False, False)
    for _ in range(3):
        clock.advance(10)
        call(breaker, False)
        assert is_open(breaker)
    clock.advance(10)
    call(breaker, True, False, False)
    assert not is_open(breaker)


async def test_a_cancelled_call_after_the_pause_allows_another(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """If the caller of that one call goes away, another call is allowed."""
    call(breaker, False, False, False)
    clock.advance(10)
    with pytest.raises(asyncio.CancelledError), breaker.call():
        raise asyncio.CancelledError
    call(breaker, True)
    assert not is_open(breaker)


def test_outcomes_of_calls_from_before_change_nothing(breaker: CircuitBreaker, clock: FakeClock) -> None:
    """Calls that began before the circuit opened do not close it, and do not make the pause longer."""
    with breaker.call() as one, breaker.call() as other:
        call(breaker, False, False, False)
        one.succeeded()
        clock.advance(5)
        other.failed()
    assert is_open(breaker)
    clock.advance(5)
    assert not is_open(breaker)
