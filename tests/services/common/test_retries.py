"""services/common/retries.py"""

import pytest

from mstoken.backoff import Backoff
from services.common.deadlines import within
from services.common.retries import MAX_ATTEMPTS, Retries, RetryBudget, TryAgain


class Work:
    """Fails `failures` times with `error`, and then succeeds."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or TryAgain("made up")
        self.attempts = 0

    async def __call__(self) -> str:
        self.attempts += 1
        if self.attempts <= self.failures:
            raise self.error
        return "done"


class RecordedSleep:
    """Returns at once, and records the seconds that it was asked to sleep."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def sleep() -> RecordedSleep:
    """A sleep that takes no time."""
    return RecordedSleep()


@pytest.mark.parametrize("failures", range(MAX_ATTEMPTS))
async def test_a_call_succeeds_if_one_attempt_does(sleep: RecordedSleep, failures: int) -> None:
    """A call returns the result of its first successful attempt. The pauses before it follow the back-off."""
    retries = Retries(backoff=Backoff(0.1, 1.0, jitter=lambda: 1.0), sleep=sleep)
    assert await retries.call(Work(failures)) == "done"
    assert sleep.seconds == [0.1, 0.2][:failures]


async def test_attempts_are_limited(sleep: RecordedSleep) -> None:
    """After the last attempt the call raises that attempt's error."""
    work = Work(100)
    with pytest.raises(TryAgain) as caught:
        await Retries(sleep=sleep).call(work)
    assert (work.attempts, caught.value) == (MAX_ATTEMPTS, work.error)


async def test_other_errors_are_raised_at_once(sleep: RecordedSleep) -> None:
    """Only `TryAgain` leads to another attempt."""
    work = Work(1, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await Retries(sleep=sleep).call(work)
    assert work.attempts == 1


async def test_a_pause_is_at_least_as_long_as_asked_for(sleep: RecordedSleep) -> None:
    """If the error says how long to wait, the next attempt does not come sooner."""
    await Retries(sleep=sleep).call(Work(2, TryAgain("made up", after_seconds=7)))
    assert all(7 < pause < 8 for pause in sleep.seconds)


async def test_there_is_no_pause_beyond_the_deadline(sleep: RecordedSleep) -> None:
    """If the next attempt would come after the deadline, the call fails at once."""
    work = Work(1, TryAgain("made up", after_seconds=7))
    with pytest.raises(TryAgain):
        async with within(6):
            await Retries(sleep=sleep).call(work)
    assert (work.attempts, sleep.seconds) == (1, [])


async def test_the_budget_limits_repetitions_when_all_calls_fail(sleep: RecordedSleep) -> None:
    """When every attempt fails, repetitions add no more than a tenth to the load, after a burst of ten."""
    retries, attempts = Retries(RetryBudget(ratio=0.1, burst=10), sleep=sleep), 0
    for _ in range(1000):
        work = Work(100)
        with pytest.raises(TryAgain):
            await retries.call(work)
        attempts += work.attempts
    assert 1000 + 10 < attempts <= 1000 * 1.1 + 10


async def test_the_budget_covers_occasional_failures(sleep: RecordedSleep) -> None:
    """When one call in twenty fails, every one of them gets another attempt."""
    retries = Retries(RetryBudget(ratio=0.1, burst=10), sleep=sleep)
    for number in range(1000):
        assert await retries.call(Work(1 if number % 20 == 0 else 0)) == "done"


def test_a_budget_does_not_grow_beyond_its_burst() -> None:
    """However many calls succeeded before, no more repetitions than `burst` are saved up."""
    budget = RetryBudget(ratio=0.5, burst=2)
    for _ in range(100):
        budget.deposit()
    assert [budget.withdraw() for _ in range(3)] == [True, True, False]
