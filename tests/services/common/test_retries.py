"""services/common/retries.py"""

import pytest

from services.common.deadlines import within
from services.common.retries import ATTEMPTS, Retries, RetryBudget, TryAgain


class Work:
    """Fails so many times, and then does not."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.failures = failures
        self.error = error or TryAgain("made up")
        self.tries = 0

    async def __call__(self) -> str:
        self.tries += 1
        if self.tries <= self.failures:
            raise self.error
        return "done"


class Slept:
    """Sleeps no time, and knows for how long it was asked to."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def slept() -> Slept:
    """A sleep that takes no time."""
    return Slept()


@pytest.mark.parametrize("failures", range(ATTEMPTS))
async def test_a_call_is_made_again(slept: Slept, failures: int) -> None:
    """What fails now and then is done all the same, after pauses that grow and are of no certain length."""
    assert await Retries(sleep=slept).call(Work(failures)) == "done"
    assert len(slept.seconds) == failures
    assert all(0 <= pause <= 0.1 * 2**number for number, pause in enumerate(slept.seconds, 1))


async def test_there_is_an_end(slept: Slept) -> None:
    """What fails every time fails with the last error."""
    work = Work(100)
    with pytest.raises(TryAgain) as caught:
        await Retries(sleep=slept).call(work)
    assert (work.tries, caught.value) == (ATTEMPTS, work.error)


async def test_other_errors_come_out_at_once(slept: Slept) -> None:
    """Only what says so is worth another try."""
    work = Work(1, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await Retries(sleep=slept).call(work)
    assert work.tries == 1


async def test_a_pause_is_as_long_as_asked_for(slept: Slept) -> None:
    """Where it is known when another try may help, it does not come sooner."""
    await Retries(sleep=slept).call(Work(2, TryAgain("made up", after_seconds=7)))
    assert all(7 <= pause < 8 for pause in slept.seconds)


async def test_no_pause_beyond_the_deadline(slept: Slept) -> None:
    """Another try that would come too late is not waited for."""
    work = Work(1, TryAgain("made up", after_seconds=7))
    with pytest.raises(TryAgain):
        async with within(6):
            await Retries(sleep=slept).call(work)
    assert (work.tries, slept.seconds) == (1, [])


async def test_the_budget_ends_a_storm(slept: Slept) -> None:
    """Where everything fails, the calls are all but a few made once: the load stays what it was."""
    retries, tries = Retries(RetryBudget(ratio=0.1, most=10), sleep=slept), 0
    for _ in range(1000):
        work = Work(100)
        with pytest.raises(TryAgain):
            await retries.call(work)
        tries += work.tries
    assert 1000 + 10 < tries <= 1000 * 1.1 + 10


async def test_the_budget_allows_for_what_is_usual(slept: Slept) -> None:
    """Where one call in twenty fails, each is tried again."""
    retries = Retries(RetryBudget(ratio=0.1, most=10), sleep=slept)
    for number in range(1000):
        assert await retries.call(Work(1 if number % 20 == 0 else 0)) == "done"


def test_a_budget_does_not_grow_without_end() -> None:
    """A quiet year does not pay for a storm."""
    budget = RetryBudget(ratio=0.5, most=2)
    for _ in range(100):
        budget.deposit()
    assert [budget.withdraw() for _ in range(3)] == [True, True, False]
