"""Bound tokens are renewed in time, so that no call waits; and they survive what goes wrong in an hour."""

import asyncio
import logging

import pytest

from mstoken.caller.bound import BoundTokens
from mstoken.errors import SignInRefused, SignInUnavailable
from tests.clock import FakeClock, ManualSleep

AN_HOUR = 3600.0
RENEWAL = 55 * 60.0


class NumberedSignIns:
    """Gives product-1, product-2, and so on; fails with `error` while that is set, and waits while `gate` is shut."""

    def __init__(self) -> None:
        self.begun = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.was_begun = asyncio.Event()

    async def __call__(self, audience: str) -> str:
        self.begun += 1
        number = self.begun
        self.was_begun.set()
        await self.gate.wait()
        if self.error is not None:
            raise self.error.with_traceback(None)  # which else grows with every time
        return f"{audience}-{number}"

    def shut(self) -> None:
        self.gate.clear()
        self.was_begun.clear()


class Course:
    """Bound tokens over an hour or many: time stands still until the renewal sleeps, and is moved on by a test."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sleep = ManualSleep()
        self.firebase = NumberedSignIns()
        self.tokens = BoundTokens(self.firebase, clock=self.clock, sleep=self.sleep)

    async def asleep(self) -> float:
        """Waits until the renewal sleeps; gives for how many seconds."""
        return await self.sleep.asked_seconds.get()

    async def sleeps_through(self) -> float:
        """What `asleep` gives, and lets that time pass."""
        seconds = await self.asleep()
        self.clock.advance(seconds)
        self.sleep.wake()
        return seconds

    async def first(self) -> str:
        """The first token, a minute after its sign-in; the renewal sleeps."""
        token = await self.tokens.get("product")
        await self.asleep()
        self.clock.advance(60)
        return token


def unavailable(retry_after_seconds: float = 0.0) -> SignInUnavailable:
    return SignInUnavailable("svc:billing", "Firebase is away", retry_after_seconds=retry_after_seconds)


@pytest.fixture
async def course() -> Course:
    return Course()


class TestSigningIn:
    """The first call signs in."""

    async def test_before_the_first_call_there_is_nothing(self, course: Course) -> None:
        """Nobody signs in for an audience that nobody calls."""
        assert course.tokens.current("product") is None
        assert course.firebase.begun == 0

    async def test_those_who_wait_share_one_sign_in(self, course: Course) -> None:
        """However many call at once, Firebase is asked once, and all get the same token."""
        course.firebase.shut()
        waiting = [asyncio.create_task(course.tokens.get("product")) for _ in range(100)]
        await course.firebase.was_begun.wait()
        course.firebase.gate.set()
        assert set(await asyncio.gather(*waiting)) == {"product-1"}
        assert course.firebase.begun == 1

    async def test_later_calls_find_the_token(self, course: Course) -> None:
        """For an hour nobody waits."""
        token = await course.tokens.get("product")
        assert course.tokens.current("product") == token
        assert await course.tokens.get("product") == token
        assert course.firebase.begun == 1

    async def test_each_audience_has_its_own(self, course: Course) -> None:
        """A token for one service is worth nothing at another."""
        assert await course.tokens.get("product") == "product-1"
        assert await course.tokens.get("user") == "user-2"
        assert course.tokens.current("product") == "product-1"

    async def test_the_hour_counts_from_before_the_sign_in(self, course: Course) -> None:
        """A token that was long on its way is over here no later than at the callee."""
        course.firebase.shut()
        waiting = asyncio.create_task(course.tokens.get("product"))
        await course.firebase.was_begun.wait()
        course.clock.advance(600)
        course.firebase.gate.set()
        await waiting
        assert RENEWAL - 600 <= await course.asleep() <= RENEWAL - 540
        course.clock.advance(AN_HOUR - 600)
        assert course.tokens.current("product") is None

    @pytest.mark.parametrize("error", [unavailable(), SignInRefused("svc:billing", "USER_DISABLED"), LookupError("x")])
    async def test_a_failure_reaches_all_who_wait(self, course: Course, error: Exception) -> None:
        """Without a token nobody goes on, and the next call tries again."""
        course.firebase.error = error
        waiting = [asyncio.create_task(course.tokens.get("product")) for _ in range(3)]
        assert await asyncio.gather(*waiting, return_exceptions=True) == [error] * 3
        assert course.firebase.begun == 1
        course.firebase.error = None
        assert await course.tokens.get("product") == "product-2"

    async def test_a_waiter_that_gives_up_leaves_the_others_alone(self, course: Course) -> None:
        """A cancelled call does not cancel the sign-in that others wait for."""
        course.firebase.shut()
        impatient, patient = (asyncio.create_task(course.tokens.get("product")) for _ in range(2))
        await course.firebase.was_begun.wait()
        impatient.cancel()
        course.firebase.gate.set()
        assert await patient == "product-1"
        assert impatient.cancelled()

    async def test_a_sign_in_that_nobody_waits_for_any_more_is_kept(self, course: Course) -> None:
        """The next call has the token of it."""
        course.firebase.shut()
        impatient = asyncio.create_task(course.tokens.get("product"))
        await course.firebase.was_begun.wait()
        impatient.cancel()
        course.firebase.gate.set()
        assert await course.tokens.get("product") == "product-1"


class TestRenewing:
    """The next token is there before the last one is over."""

    async def test_a_token_is_renewed_after_55_minutes(self, course: Course) -> None:
        """Or up to a minute later, so that processes which started together do not sign in together."""
        await course.tokens.get("product")
        assert RENEWAL <= await course.sleeps_through() <= RENEWAL + 60
        assert RENEWAL <= await course.asleep() <= RENEWAL + 60
        assert course.tokens.current("product") == "product-2"

    async def test_processes_do_not_renew_together(self) -> None:
        """The moments differ from one process to the next."""
        courses = [Course() for _ in range(10)]
        for course in courses:
            await course.tokens.get("product")
        assert len({await course.asleep() for course in courses}) > 1

    async def test_a_token_is_not_renewed_before(self, course: Course) -> None:
        """A sleep that ends too early does not sign in."""
        await course.tokens.get("product")
        seconds = await course.asleep()
        course.clock.advance(seconds - 1)
        course.sleep.wake()
        assert await course.asleep() == pytest.approx(1)
        assert course.firebase.begun == 1

    async def test_the_old_token_serves_while_the_next_is_signed_in_for(self, course: Course) -> None:
        """No call waits for a renewal."""
        await course.tokens.get("product")
        course.firebase.shut()
        await course.sleeps_through()
        await course.firebase.was_begun.wait()
        assert course.tokens.current("product") == "product-1"
        assert await course.tokens.get("product") == "product-1"
        course.firebase.gate.set()
        await course.asleep()
        assert course.tokens.current("product") == "product-2"

    async def test_renewing_goes_on_for_a_day(self, course: Course) -> None:
        """One sign-in for each 55 minutes, and a token at any time."""
        await course.tokens.get("product")
        for number in range(1, 27):
            seconds = await course.asleep()
            assert course.tokens.current("product") == f"product-{number}"
            course.clock.advance(seconds)
            assert course.tokens.current("product") == f"product-{number}"
            course.sleep.wake()
        assert course.firebase.begun == 26

    async def test_after_the_hour_a_token_is_over(self, course: Course) -> None:
        """It is not handed out in the second in which it expires."""
        await course.tokens.get("product")
        course.clock.advance(AN_HOUR - 1)
        assert course.tokens.current("product") == "product-1"
        course.clock.advance(1)
        assert course.tokens.current("product") is None

    async def test_a_machine_that_slept_through_the_hour(self, course: Course) -> None:
        """The first call signs in, and the renewal, which wakes late, finds that it has nothing to do."""
        await course.tokens.get("product")
        await course.asleep()
        course.clock.advance(8 * AN_HOUR)
        assert course.tokens.current("product") is None
        assert await course.tokens.get("product") == "product-2"
        course.sleep.wake()
        assert RENEWAL <= await course.sleeps_through() <= RENEWAL + 60
        await course.asleep()
        assert course.firebase.begun == 3

    async def test_a_call_and_the_renewal_that_wake_together_share_a_sign_in(self, course: Course) -> None:
        """Whichever comes first, Firebase is asked once."""
        await course.tokens.get("product")
        await course.asleep()
        course.clock.advance(8 * AN_HOUR)
        course.firebase.shut()
        course.sleep.wake()
        waiting = asyncio.create_task(course.tokens.get("product"))
        await course.firebase.was_begun.wait()
        course.firebase.gate.set()
        assert await waiting == "product-2"
        assert await course.asleep() >= RENEWAL
        assert course.firebase.begun == 2


class TestFailing:
    """Five minutes and more are there to get through an outage."""

    async def test_a_renewal_that_fails_is_tried_again_after_growing_pauses(self, course: Course) -> None:
        """1, 2, 4 seconds and so on up to half a minute."""
        await course.tokens.get("product")
        course.firebase.error = unavailable()
        await course.sleeps_through()
        assert [await course.sleeps_through() for _ in range(7)] == pytest.approx([1, 2, 4, 8, 16, 30, 30])

    async def test_a_pause_is_as_long_as_firebase_asks(self, course: Course) -> None:
        """Its wish counts where it is longer than ours."""
        await course.tokens.get("product")
        course.firebase.error = unavailable(retry_after_seconds=7)
        await course.sleeps_through()
        assert [await course.sleeps_through() for _ in range(5)] == pytest.approx([7, 7, 7, 8, 16])

    async def test_an_outage_is_harmless_until_the_hour_is_over(
        self, course: Course, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Calls have the old token, and the log says for how long."""
        await course.tokens.get("product")
        course.firebase.error = unavailable()
        await course.sleeps_through()
        first = await course.sleeps_through()
        while course.clock() + (seconds := await course.asleep()) < FakeClock().now + AN_HOUR:
            assert await course.tokens.get("product") == "product-1"
            course.clock.advance(seconds)
            course.sleep.wake()
        left = [record.__dict__["seconds_left"] for record in caplog.records]
        assert 300 >= left[0] > left[-1] >= 0
        assert first == pytest.approx(1)
        assert {(record.name, record.levelno) for record in caplog.records} == {("mstoken.tokens", logging.WARNING)}

    async def test_after_the_hour_the_call_says_what_is_wrong(self, course: Course) -> None:
        """Not a token that the callee would refuse, and no error that explains nothing."""
        await course.tokens.get("product")
        course.firebase.error = unavailable()
        course.clock.advance(AN_HOUR)
        with pytest.raises(SignInUnavailable, match="svc:billing could not sign in to Firebase: Firebase is away"):
            await course.tokens.get("product")

    async def test_renewing_goes_on_after_the_hour(self, course: Course) -> None:
        """When Firebase is back, there is a token before anybody asks."""
        await course.tokens.get("product")
        course.firebase.error = unavailable()
        await course.sleeps_through()
        while course.tokens.current("product") is not None:
            await course.sleeps_through()
        await course.asleep()
        course.firebase.error = None
        course.clock.advance(30)
        course.sleep.wake()
        assert await course.asleep() >= RENEWAL
        assert course.tokens.current("product") == f"product-{course.firebase.begun}"

    async def test_after_a_success_the_pauses_are_short_again(self, course: Course) -> None:
        """The next outage begins with a second."""
        await course.tokens.get("product")
        for _ in range(2):
            seconds = await course.asleep()
            assert seconds >= RENEWAL
            course.firebase.error = unavailable()
            course.clock.advance(seconds)
            course.sleep.wake()
            assert [await course.sleeps_through() for _ in range(3)] == pytest.approx([1, 2, 4])
            course.firebase.error = None

    async def test_after_a_call_has_signed_in_the_pauses_are_short_again(self, course: Course) -> None:
        """Whoever it was that got through: the next outage is a new one."""
        await course.tokens.get("product")
        course.firebase.error = unavailable()
        while course.tokens.current("product"):
            await course.sleeps_through()
        pause_seconds = await course.asleep()
        course.firebase.error = None
        await course.tokens.get("product")
        course.clock.advance(pause_seconds)
        course.sleep.wake()
        course.firebase.error = unavailable()
        assert await course.sleeps_through() > RENEWAL - 2 * pause_seconds
        assert await course.asleep() == 1.0

    async def test_a_refusal_is_tried_again_too(self, course: Course) -> None:
        """An identity that was disabled by mistake is enabled again one day."""
        await course.tokens.get("product")
        course.firebase.error = SignInRefused("svc:billing", "USER_DISABLED")
        await course.sleeps_through()
        assert await course.sleeps_through() == pytest.approx(1)
        assert await course.asleep() == pytest.approx(2)
        course.firebase.error = None
        course.clock.advance(2)
        course.sleep.wake()
        assert await course.asleep() >= RENEWAL
        assert course.tokens.current("product") == "product-4"

    async def test_a_defect_does_not_end_renewing(self, course: Course, caplog: pytest.LogCaptureFixture) -> None:
        """It is in the log with its traceback, and half a minute later the next try comes."""
        await course.tokens.get("product")
        course.firebase.error = RuntimeError("a defect")
        await course.sleeps_through()
        assert await course.asleep() == pytest.approx(30)
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert record.exc_info is not None
        assert record.exc_info[1] is course.firebase.error
        course.firebase.error = None
        course.clock.advance(30)
        course.sleep.wake()
        assert await course.asleep() >= RENEWAL
        assert course.tokens.current("product") == "product-3"

    async def test_an_outage_of_a_night_does_not_end_renewing(self, course: Course) -> None:
        """However often it fails, the next try comes half a minute later."""
        await course.tokens.get("product")
        (renewal,) = (task for task in asyncio.all_tasks() if task.get_name() == "mstoken renewal for product")
        course.firebase.error = unavailable()
        for _ in range(1_100):
            sleeping = asyncio.create_task(course.sleeps_through())
            await asyncio.wait({renewal, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            if renewal.done():
                renewal.result()
        assert await course.asleep() == pytest.approx(30)


class TestRefused:
    """A callee may know more of a token than we do."""

    async def test_after_a_refusal_the_next_call_signs_in(self, course: Course) -> None:
        """The token was revoked, say, or the callee's clock is ahead."""
        token = await course.first()
        course.tokens.refused("product", token)
        assert course.tokens.current("product") is None
        assert await course.tokens.get("product") == "product-2"

    async def test_a_new_token_is_not_replaced(self, course: Course) -> None:
        """What does not count within a minute of its sign-in will not count after another one either."""
        token = await course.tokens.get("product")
        course.clock.advance(59.9)
        course.tokens.refused("product", token)
        assert course.tokens.current("product") == token

    async def test_after_the_clock_was_set_back_a_refused_token_is_replaced(self, course: Course) -> None:
        """Nobody can tell how old it is, and it might be an hour before it is renewed."""
        token = await course.first()
        course.clock.advance(-3600)
        course.tokens.refused("product", token)
        assert await course.tokens.get("product") == "product-2"

    async def test_the_refusal_of_a_token_that_was_replaced_meanwhile_is_late(self, course: Course) -> None:
        """A hundred refusals of one token cost one sign-in."""
        token = await course.first()
        course.tokens.refused("product", token)
        await course.tokens.get("product")
        course.clock.advance(60)
        for _ in range(99):
            course.tokens.refused("product", token)
        assert course.tokens.current("product") == "product-2"

    async def test_only_that_audience_is_concerned(self, course: Course) -> None:
        """Tokens for others stay, and so does what never was."""
        token = await course.first()
        other = await course.tokens.get("user")
        course.tokens.refused("product", token)
        course.tokens.refused("billing", token)
        assert course.tokens.current("user") == other

    async def test_renewing_goes_on_after_a_refusal(self, course: Course) -> None:
        """The token that came in its place is renewed in its own time, and once."""
        token = await course.first()
        course.tokens.refused("product", token)
        await course.tokens.get("product")
        course.clock.advance(RENEWAL - 60)
        course.sleep.wake()
        assert 60 <= await course.sleeps_through() <= 120
        await course.asleep()
        assert course.firebase.begun == 3

    async def test_a_refusal_without_a_call_is_made_good_by_the_renewal(self, course: Course) -> None:
        """When its time comes there is a token again."""
        token = await course.first()
        course.tokens.refused("product", token)
        course.clock.advance(RENEWAL)
        course.sleep.wake()
        await course.asleep()
        assert course.tokens.current("product") == "product-2"
