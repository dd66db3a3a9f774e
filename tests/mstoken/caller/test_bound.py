"""A bound token is renewed in time, so that no call waits for a sign-in, and it outlasts outages."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from mstoken.caller.bound import BoundToken
from mstoken.caller.process import SIGN_IN_SECONDS
from mstoken.errors import SignInRefused, SignInUnavailable
from mstoken.refresher import PAUSE_AFTER_DEFECT_SECONDS
from tests.clock import FakeClock, ManualSleep

AN_HOUR = 3600.0
RENEWAL = 53 * 60.0
SPREAD = 60.0
FIVE_MINUTES = 300.0


class NumberedSignIns:
    """Returns token-1, token-2 and so on. Raises `error` while that is set, and waits while it is held."""

    def __init__(self) -> None:
        self.started = 0
        self.error: Exception | None = None
        self.has_started = asyncio.Event()
        self._released = asyncio.Event()
        self._released.set()

    async def __call__(self) -> str:
        self.started += 1
        number = self.started
        self.has_started.set()
        await self._released.wait()
        if self.error is not None:
            raise self.error.with_traceback(None)  # otherwise its traceback grows each time
        return f"token-{number}"

    def hold(self) -> None:
        self._released.clear()
        self.has_started.clear()

    def release(self) -> None:
        self._released.set()


class SlowSignIns:
    """Sign-ins that take 10 s each. With `fails_first`, the first one of each renewal fails after that time."""

    def __init__(self, clock: FakeClock, *, fails_first: bool) -> None:
        self.signed_in = 0
        self.check_at_the_end: Callable[[], bool] | None = None
        self.were_in_time: list[bool] = []
        self._clock = clock
        self._fails_first = fails_first
        self._fails = False

    async def __call__(self) -> str:
        self._clock.advance(SIGN_IN_SECONDS)
        if self.check_at_the_end is not None:
            self.were_in_time.append(self.check_at_the_end())
        if self._fails:
            self._fails = False
            raise unavailable()
        self._fails = self._fails_first
        self.signed_in += 1
        return f"token-{self.signed_in}"


def is_valid_in(seconds: float, token: BoundToken, clock: FakeClock) -> bool:
    """Return whether calls will still get the present token after this time."""
    clock.advance(seconds - 1)
    is_valid = token.current() is not None
    clock.advance(1 - seconds)
    return is_valid


class Course:
    """A bound token, a fake clock, and a sleep of the renewal that lasts until the test ends it."""

    def __init__(self, jitter: Callable[[], float] = lambda: 1.0) -> None:
        self.clock = FakeClock()
        self.sleep = ManualSleep()
        self.sign_ins = NumberedSignIns()
        self.token = BoundToken("product", self.sign_ins, clock=self.clock, sleep=self.sleep, jitter=jitter)

    async def asleep(self) -> float:
        """Wait until the renewal sleeps, and return for how many seconds."""
        return await self.sleep.asked_seconds.get()

    async def sleep_through(self) -> float:
        """Do what `asleep` does, let that time pass, and wake the renewal."""
        seconds = await self.asleep()
        self.pass_and_wake(seconds)
        return seconds

    def pass_and_wake(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.sleep.wake()

    async def a_minute_after_sign_in(self) -> str:
        """Sign in, and return the token a minute later, while the renewal sleeps."""
        token = await self.token.get()
        await self.asleep()
        self.clock.advance(60)
        return token


def unavailable(retry_after_seconds: float = 0.0) -> SignInUnavailable:
    return SignInUnavailable("svc:billing", "Firebase is down", retry_after_seconds=retry_after_seconds)


@pytest.fixture
async def course() -> Course:
    return Course()


class TestSigningIn:
    """The first call signs in."""

    async def test_nothing_happens_before_the_first_call(self, course: Course) -> None:
        """Without a call there is no sign-in."""
        assert course.token.current() is None
        assert course.sign_ins.started == 0

    async def test_all_who_wait_share_one_sign_in(self, course: Course) -> None:
        """Calls at the same time cause one sign-in and get the same token."""
        course.sign_ins.hold()
        waiting = [asyncio.create_task(course.token.get()) for _ in range(100)]
        await course.sign_ins.has_started.wait()
        course.sign_ins.release()
        assert set(await asyncio.gather(*waiting)) == {"token-1"}
        assert course.sign_ins.started == 1

    async def test_later_calls_get_the_same_token(self, course: Course) -> None:
        """After the first sign-in, calls do not wait."""
        token = await course.token.get()
        assert course.token.current() == token
        assert await course.token.get() == token
        assert course.sign_ins.started == 1

    async def test_the_age_counts_from_before_the_sign_in(self, course: Course) -> None:
        """If a sign-in takes long, the token expires here no later than at the callee."""
        course.sign_ins.hold()
        waiting = asyncio.create_task(course.token.get())
        await course.sign_ins.has_started.wait()
        course.clock.advance(600)
        course.sign_ins.release()
        await waiting
        assert await course.asleep() == RENEWAL + SPREAD - 600
        course.clock.advance(AN_HOUR - 600)
        assert course.token.current() is None

    @pytest.mark.parametrize("error", [unavailable(), SignInRefused("svc:billing", "USER_DISABLED"), LookupError("x")])
    async def test_all_who_wait_get_the_error(self, course: Course, error: Exception) -> None:
        """When the sign-in fails, each waiting call raises the error, and the next call signs in again."""
        course.sign_ins.error = error
        waiting = [asyncio.create_task(course.token.get()) for _ in range(3)]
        assert await asyncio.gather(*waiting, return_exceptions=True) == [error] * 3
        assert course.sign_ins.started == 1
        course.sign_ins.error = None
        assert await course.token.get() == "token-2"

    async def test_a_cancelled_call_does_not_cancel_the_sign_in(self, course: Course) -> None:
        """The other calls that wait get the token."""
        course.sign_ins.hold()
        cancelled, patient = (asyncio.create_task(course.token.get()) for _ in range(2))
        await course.sign_ins.has_started.wait()
        cancelled.cancel()
        course.sign_ins.release()
        assert await patient == "token-1"
        assert cancelled.cancelled()

    async def test_the_token_of_a_cancelled_call_is_kept(self, course: Course) -> None:
        """If all waiting calls are cancelled, the next call gets the token of that sign-in."""
        course.sign_ins.hold()
        cancelled = asyncio.create_task(course.token.get())
        await course.sign_ins.has_started.wait()
        cancelled.cancel()
        course.sign_ins.release()
        assert await course.token.get() == "token-1"


class TestRenewal:
    """There is a new token before the old one expires."""

    async def test_a_token_is_renewed_after_53_minutes(self, course: Course) -> None:
        """The renewal comes up to a minute later than that, by the jitter."""
        await course.token.get()
        assert await course.sleep_through() == RENEWAL + SPREAD
        assert await course.asleep() == RENEWAL + SPREAD
        assert course.token.current() == "token-2"
        without_jitter = Course(jitter=lambda: 0.0)
        await without_jitter.token.get()
        assert await without_jitter.asleep() == RENEWAL

    async def test_processes_do_not_renew_at_the_same_time(self) -> None:
        """By default the jitter is random."""
        delays = set()
        for _ in range(10):
            sleep = ManualSleep()
            await BoundToken("product", NumberedSignIns(), clock=FakeClock(), sleep=sleep).get()
            delays.add(await sleep.asked_seconds.get())
        assert len(delays) > 1

    async def test_a_sleep_that_ends_too_early(self, course: Course) -> None:
        """The renewal looks at the clock, and sleeps for the rest of the time."""
        await course.token.get()
        seconds = await course.asleep()
        course.pass_and_wake(seconds - 1)
        assert await course.asleep() == pytest.approx(1)
        assert course.sign_ins.started == 1

    async def test_the_old_token_is_used_during_the_renewal(self, course: Course) -> None:
        """No call waits for a renewal."""
        await course.token.get()
        course.sign_ins.hold()
        await course.sleep_through()
        await course.sign_ins.has_started.wait()
        assert course.token.current() == "token-1"
        assert await course.token.get() == "token-1"
        course.sign_ins.release()
        await course.asleep()
        assert course.token.current() == "token-2"

    async def test_renewal_goes_on_for_a_day(self, course: Course) -> None:
        """There is one sign-in for each 54 minutes, and a token at any time."""
        await course.token.get()
        for number in range(1, 27):
            seconds = await course.asleep()
            assert course.token.current() == f"token-{number}"
            course.clock.advance(seconds)
            assert course.token.current() == f"token-{number}"
            course.sleep.wake()
        assert course.sign_ins.started == 26

    async def test_an_expired_token_is_not_returned(self, course: Course) -> None:
        """A token is returned until the second before it expires."""
        await course.token.get()
        course.clock.advance(AN_HOUR - 1)
        assert course.token.current() == "token-1"
        course.clock.advance(1)
        assert course.token.current() is None

    async def test_a_machine_that_was_asleep_for_hours(self, course: Course) -> None:
        """The first call signs in, and the renewal, which wakes late, does not sign in again."""
        await course.token.get()
        await course.asleep()
        course.clock.advance(8 * AN_HOUR)
        assert course.token.current() is None
        assert await course.token.get() == "token-2"
        course.sleep.wake()
        assert await course.sleep_through() == RENEWAL + SPREAD
        await course.asleep()
        assert course.sign_ins.started == 3

    async def test_a_call_and_the_renewal_share_a_sign_in(self, course: Course) -> None:
        """If a call signs in while the renewal does, there is one sign-in."""
        await course.token.get()
        await course.asleep()
        course.sign_ins.hold()
        course.pass_and_wake(8 * AN_HOUR)
        waiting = asyncio.create_task(course.token.get())
        await course.sign_ins.has_started.wait()
        course.sign_ins.release()
        assert await waiting == "token-2"
        assert await course.asleep() >= RENEWAL
        assert course.sign_ins.started == 2


class TestFailures:
    """A token is renewed six minutes before it expires, which is the time to get through an outage."""

    async def test_a_failed_renewal_is_tried_again_after_growing_pauses(self, course: Course) -> None:
        """The pauses double from 1 s to 30 s."""
        await course.token.get()
        course.sign_ins.error = unavailable()
        await course.sleep_through()
        assert [await course.sleep_through() for _ in range(7)] == pytest.approx([1, 2, 4, 8, 16, 30, 30])

    async def test_a_pause_is_at_least_as_long_as_firebase_asks(self, course: Course) -> None:
        """`Retry-After` is the pause if it is longer than that of the back-off."""
        await course.token.get()
        course.sign_ins.error = unavailable(retry_after_seconds=7)
        await course.sleep_through()
        assert [await course.sleep_through() for _ in range(5)] == pytest.approx([7, 7, 7, 8, 16])

    async def test_an_outage_is_harmless_until_the_token_expires(
        self, course: Course, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Calls get the old token, and the log says for how many seconds they still will."""
        await course.token.get()
        course.sign_ins.error = unavailable()
        await course.sleep_through()
        while course.clock() + (seconds := await course.asleep()) < FakeClock().now + AN_HOUR:
            assert await course.token.get() == "token-1"
            course.pass_and_wake(seconds)
        left = [record.__dict__["seconds_left"] for record in caplog.records]
        assert 360 >= left[0] > left[-1] >= 0
        assert {record.__dict__["audience"] for record in caplog.records} == {"product"}
        assert {record.__dict__["error"] for record in caplog.records} == {"Firebase is down"}
        assert caplog.messages[0] == (
            f"a service token could not be renewed: Firebase is down; the one for product is valid for {left[0]} s more"
        )
        assert {(record.name, record.levelno) for record in caplog.records} == {("mstoken.tokens", logging.WARNING)}

    @pytest.mark.parametrize("jitter", [0.0, 1.0])
    @pytest.mark.parametrize("fails_first", [False, True])
    async def test_an_outage_may_begin_at_any_moment(self, jitter: float, fails_first: bool) -> None:
        """Calls go on for five minutes from then, also if sign-ins take long, and the first renewal fails by chance.

        The worst moment is the end of a sign-in: until then, the old token has to do.
        """
        course = Course(jitter=lambda: jitter)
        sign_ins = SlowSignIns(course.clock, fails_first=fails_first)
        token = BoundToken("product", sign_ins, clock=course.clock, sleep=course.sleep, jitter=lambda: jitter)
        await token.get()
        sign_ins.check_at_the_end = lambda: is_valid_in(FIVE_MINUTES, token, course.clock)
        while sign_ins.signed_in < 4:
            await course.sleep_through()
        assert sign_ins.were_in_time == [True] * (6 if fails_first else 3)

    async def test_after_the_token_has_expired_calls_raise_the_error(self, course: Course) -> None:
        """A call does not get an expired token, and its error says why there is no other."""
        await course.token.get()
        course.sign_ins.error = unavailable()
        course.clock.advance(AN_HOUR)
        with pytest.raises(SignInUnavailable, match="svc:billing could not sign in to Firebase: Firebase is down"):
            await course.token.get()

    async def test_renewal_goes_on_after_the_token_has_expired(self, course: Course) -> None:
        """When Firebase is back, there is a new token before a call needs it."""
        await course.token.get()
        course.sign_ins.error = unavailable()
        await course.sleep_through()
        while course.token.current() is not None:
            await course.sleep_through()
        await course.asleep()
        course.sign_ins.error = None
        course.pass_and_wake(30)
        assert await course.asleep() >= RENEWAL
        assert course.token.current() == f"token-{course.sign_ins.started}"

    async def test_after_a_renewal_the_pauses_begin_anew(self, course: Course) -> None:
        """The first pause of the next outage is a second again."""
        await course.token.get()
        for _ in range(2):
            seconds = await course.asleep()
            assert seconds >= RENEWAL
            course.sign_ins.error = unavailable()
            course.pass_and_wake(seconds)
            assert [await course.sleep_through() for _ in range(3)] == pytest.approx([1, 2, 4])
            course.sign_ins.error = None

    async def test_after_the_sign_in_of_a_call_the_pauses_begin_anew(self, course: Course) -> None:
        """A call may sign in while the renewal pauses. The first pause of the next outage is a second again."""
        await course.token.get()
        course.sign_ins.error = unavailable()
        while course.token.current():
            await course.sleep_through()
        pause_seconds = await course.asleep()
        course.sign_ins.error = None
        await course.token.get()
        course.pass_and_wake(pause_seconds)
        course.sign_ins.error = unavailable()
        assert await course.sleep_through() > RENEWAL - 2 * pause_seconds
        assert await course.asleep() == 1.0

    async def test_a_refused_sign_in_is_tried_again_too(self, course: Course) -> None:
        """An identity may be enabled again."""
        await course.token.get()
        course.sign_ins.error = SignInRefused("svc:billing", "USER_DISABLED")
        await course.sleep_through()
        assert await course.sleep_through() == pytest.approx(1)
        assert await course.asleep() == pytest.approx(2)
        course.sign_ins.error = None
        course.pass_and_wake(2)
        assert await course.asleep() >= RENEWAL
        assert course.token.current() == "token-4"

    async def test_a_defect_does_not_end_the_renewal(self, course: Course, caplog: pytest.LogCaptureFixture) -> None:
        """An unexpected exception is logged with its traceback, and the renewal tries again."""
        await course.token.get()
        course.sign_ins.error = RuntimeError("a defect")
        await course.sleep_through()
        assert await course.asleep() == PAUSE_AFTER_DEFECT_SECONDS
        (record,) = caplog.records
        assert (record.levelno, record.getMessage()) == (logging.ERROR, "a service token could not be renewed")
        assert record.exc_info is not None
        assert record.exc_info[1] is course.sign_ins.error
        course.sign_ins.error = None
        course.pass_and_wake(PAUSE_AFTER_DEFECT_SECONDS)
        assert await course.asleep() >= RENEWAL
        assert course.token.current() == "token-3"

    async def test_an_outage_of_a_night_does_not_end_the_renewal(self, course: Course) -> None:
        """After a thousand failures, the next attempt still comes after half a minute."""
        await course.token.get()
        (renewal,) = (task for task in asyncio.all_tasks() if task.get_name() == "mstoken renewal for product")
        course.sign_ins.error = unavailable()
        for _ in range(1_100):
            sleeping = asyncio.create_task(course.sleep_through())
            await asyncio.wait({renewal, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            if renewal.done():
                renewal.result()
        assert await course.asleep() == pytest.approx(30)


class TestRefused:
    """A callee may refuse a token that has not expired: it was revoked, or the callee's clock is ahead."""

    async def test_after_a_refusal_the_next_call_signs_in(self, course: Course) -> None:
        """A token that the callee refused is not used again."""
        token = await course.a_minute_after_sign_in()
        course.token.refused(token, is_revoked=False)
        assert course.token.current() is None
        assert await course.token.get() == "token-2"

    async def test_a_new_token_is_kept(self, course: Course) -> None:
        """If a token is refused within a minute of its sign-in, another sign-in would not help."""
        token = await course.token.get()
        course.clock.advance(59.9)
        course.token.refused(token, is_revoked=False)
        assert course.token.current() == token

    @pytest.mark.parametrize(("age_seconds", "is_replaced"), [(9.9, False), (10, True)])
    async def test_a_token_of_a_revoked_identity_is_replaced_sooner(
        self, course: Course, age_seconds: float, is_replaced: bool
    ) -> None:
        """A callee knows after ten seconds that an identity is enabled again, and accepts a token from after that."""
        token = await course.token.get()
        course.clock.advance(age_seconds)
        assert course.token.refused(token, is_revoked=True) is is_replaced
        assert (course.token.current() is None) is is_replaced

    async def test_a_refusal_tells_whether_another_token_helps(self, course: Course) -> None:
        """It does if the token is replaced, now or already. It does not if the token is new."""
        token = await course.a_minute_after_sign_in()
        assert course.token.refused(token, is_revoked=False)
        newer = await course.token.get()
        assert course.token.refused(token, is_revoked=False)
        assert not course.token.refused(newer, is_revoked=False)

    async def test_after_the_clock_was_set_back_a_refused_token_is_replaced(self, course: Course) -> None:
        """The age of the token is unknown then, and its renewal may be more than an hour away."""
        token = await course.a_minute_after_sign_in()
        course.clock.advance(-3600)
        course.token.refused(token, is_revoked=False)
        assert await course.token.get() == "token-2"

    async def test_the_refusal_of_an_old_token_is_ignored(self, course: Course) -> None:
        """A hundred refusals of one token cause one sign-in, since the token is replaced after the first."""
        token = await course.a_minute_after_sign_in()
        course.token.refused(token, is_revoked=False)
        await course.token.get()
        course.clock.advance(60)
        for _ in range(99):
            course.token.refused(token, is_revoked=False)
        assert course.token.current() == "token-2"

    async def test_a_refusal_before_the_first_sign_in_is_ignored(self, course: Course) -> None:
        """Without a token there is nothing to forget."""
        course.token.refused("a token of another process", is_revoked=False)
        assert await course.token.get() == "token-1"

    async def test_renewal_goes_on_after_a_refusal(self, course: Course) -> None:
        """The token that replaced the refused one is renewed when it is due, once."""
        token = await course.a_minute_after_sign_in()
        course.token.refused(token, is_revoked=False)
        await course.token.get()
        course.pass_and_wake(RENEWAL)
        assert await course.sleep_through() == SPREAD
        await course.asleep()
        assert course.sign_ins.started == 3

    async def test_without_a_call_the_renewal_replaces_a_refused_token(self, course: Course) -> None:
        """When the renewal is due, it signs in even though there is no token to renew."""
        token = await course.a_minute_after_sign_in()
        course.token.refused(token, is_revoked=False)
        course.pass_and_wake(RENEWAL)
        await course.asleep()
        assert course.token.current() == "token-2"
