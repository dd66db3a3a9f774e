"""The stock of fresh tokens signs in for what calls will need, and hands each token out once."""

import heapq
import itertools
import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mstoken.caller.fresh import MAX_SIGN_INS, MAX_STOCK, RECENT_CALLS, USABLE_SECONDS, FreshTokens
from tests.clock import FakeClock

WHOLE_SECONDS = 1_800_000_000.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(WHOLE_SECONDS)


@pytest.fixture
def stock(clock: FakeClock) -> FreshTokens:
    return FreshTokens(clock, jitter=lambda: 1.0)


def call(stock: FreshTokens) -> tuple[str | None, int]:
    """Make a call. Return its token and the number of sign-ins that it starts."""
    return stock.take(), stock.start_sign_ins()


def two_calls(stock: FreshTokens) -> int:
    """Make two calls at the same time, and return how many sign-ins they start. The stock sees one call a second."""
    stock.take()
    stock.take()
    return stock.start_sign_ins()


def steady_calls(stock: FreshTokens, clock: FakeClock, *, per_second: float, seconds: float) -> int:
    """Make calls at even intervals, and return how many sign-ins they start."""
    started = 0
    for _ in range(round(per_second * seconds)):
        started += call(stock)[1]
        clock.advance(1 / per_second)
    return started


def learn(stock: FreshTokens, clock: FakeClock, *, sign_in_seconds: float) -> None:
    """Let sign-ins take so long until the stock expects that. Leave the stock empty, and without recent calls."""
    for _ in range(50):
        for _ in range(two_calls(stock)):
            stock.put("slow", signed_in_at=clock() - sign_in_seconds, took_seconds=sign_in_seconds)
        clock.advance(2 * USABLE_SECONDS)


@contextmanager
def switching_often() -> Iterator[None]:
    """Make threads take turns every microsecond, so that they meet in every place where they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class TestHowMany:
    """The size of the stock follows the calls of the last half minute."""

    def test_one_call_starts_nothing(self, stock: FreshTokens) -> None:
        """After a single call there may be no other."""
        assert call(stock) == (None, 0)

    @pytest.mark.parametrize(("seconds", "started"), [(0, 3), (1, 3), (5, 2), (29, 1), (30, 1), (30.5, 0), (3600, 0)])
    def test_two_calls_start_sign_ins_if_a_token_lasts_from_one_to_the_next(
        self, stock: FreshTokens, clock: FakeClock, seconds: float, started: int
    ) -> None:
        """A token that would be too old at the next call is not signed in for."""
        call(stock)
        clock.advance(seconds)
        assert call(stock) == (None, started)

    @pytest.mark.parametrize(
        ("per_second", "tokens"),
        # A sign-in takes 0.2 s, so rate * 0.2 calls come during one (Little's law). Four times the square root of that
        # is the reserve, and one more token replaces the one that the call takes.
        [(0.1, 2), (1, 3), (10, 9), (50, 24), (100, 39)],
    )
    def test_steady_calls_fill_the_stock_for_the_time_of_a_sign_in(
        self, stock: FreshTokens, clock: FakeClock, per_second: float, tokens: int
    ) -> None:
        """There are as many tokens as calls need during a sign-in, and a reserve."""
        assert steady_calls(stock, clock, per_second=per_second, seconds=3 / per_second + 2) == tokens

    def test_each_call_starts_one_sign_in_once_the_stock_is_full(self, stock: FreshTokens, clock: FakeClock) -> None:
        """At a steady rate, each call gets a token and starts the sign-in for another."""
        for number in range(steady_calls(stock, clock, per_second=10, seconds=2)):
            stock.put(f"first-{number}", signed_in_at=clock(), took_seconds=0.2)
        for number in range(100):
            token, started = call(stock)
            assert token is not None
            assert started == 1
            stock.put(f"later-{number}", signed_in_at=clock(), took_seconds=0.2)
            clock.advance(0.1)

    def test_the_time_of_a_sign_in_is_learnt(self, stock: FreshTokens, clock: FakeClock) -> None:
        """If a sign-in takes a second, ten calls a second need 10 + 4 * sqrt(10) + 1 tokens."""
        learn(stock, clock, sign_in_seconds=1.0)
        assert steady_calls(stock, clock, per_second=10, seconds=2) == 24

    def test_one_slow_sign_in_changes_little(self, stock: FreshTokens, clock: FakeClock) -> None:
        """A fifth of the difference counts: after one sign-in of a second, the next is expected to take 0.36 s."""
        call(stock)
        clock.advance(USABLE_SECONDS)
        assert call(stock) == (None, 1)
        stock.put("slow", signed_in_at=clock(), took_seconds=1.0)
        clock.advance(2 * USABLE_SECONDS)
        assert steady_calls(stock, clock, per_second=10, seconds=2) == 13

    @pytest.mark.parametrize("seconds_apart", [5, 7, 10, 15])
    def test_no_more_tokens_than_calls_use_while_they_are_fresh(
        self, stock: FreshTokens, clock: FakeClock, seconds_apart: float
    ) -> None:
        """However long a sign-in takes, there are at most the tokens for the calls of half a minute."""
        learn(stock, clock, sign_in_seconds=60.0)
        started = steady_calls(stock, clock, per_second=1 / seconds_apart, seconds=20 * seconds_apart)
        assert started == USABLE_SECONDS // seconds_apart

    def test_at_most_128_sign_ins_at_a_time(self, stock: FreshTokens, clock: FakeClock) -> None:
        """However many tokens are missing, no more sign-ins than that are under way."""
        learn(stock, clock, sign_in_seconds=2.0)
        assert steady_calls(stock, clock, per_second=100, seconds=2) == MAX_SIGN_INS
        stock.put("token", signed_in_at=clock(), took_seconds=2.0)
        assert stock.start_sign_ins() == 1

    def test_at_most_1000_tokens_in_stock(self, stock: FreshTokens, clock: FakeClock) -> None:
        """However slow Firebase is, the stock does not grow beyond that."""
        learn(stock, clock, sign_in_seconds=20.0)
        in_stock, most = 0, 0
        for _ in range(500):
            token, started = call(stock)
            in_stock -= token is not None
            for _ in range(started):
                stock.put("token", signed_in_at=clock(), took_seconds=20.0)
            in_stock += started
            most = max(most, in_stock)
            clock.advance(0.01)
        assert most == MAX_STOCK

    def test_after_half_a_minute_without_calls_nothing_is_stocked(self, stock: FreshTokens, clock: FakeClock) -> None:
        """The next call counts as a single call again."""
        steady_calls(stock, clock, per_second=10, seconds=2)
        clock.advance(USABLE_SECONDS + 1)
        assert call(stock) == (None, 0)

    def test_calls_from_before_the_clock_was_set_back_do_not_count(self, stock: FreshTokens, clock: FakeClock) -> None:
        """How long ago they were is unknown. Otherwise they would look like a burst until the clock is there again."""
        steady_calls(stock, clock, per_second=10, seconds=2)
        clock.advance(-3600)
        assert call(stock) == (None, 0)
        assert steady_calls(stock, clock, per_second=0.1, seconds=600) == 0

    def test_a_clock_that_was_set_back_during_a_sign_in(self, stock: FreshTokens, clock: FakeClock) -> None:
        """A sign-in that seems to have taken less than no time counts as one that took none."""
        for _ in range(two_calls(stock)):
            stock.put("token", signed_in_at=clock() + 10, took_seconds=-10.0)
        call(stock)


class TestWhich:
    """Each token is young, and is handed out once."""

    def test_an_empty_stock_returns_none(self, stock: FreshTokens) -> None:
        """A call that gets None signs in itself."""
        assert stock.take() is None

    def test_a_token_is_handed_out_once(self, stock: FreshTokens, clock: FakeClock) -> None:
        """The call after it gets another token or None."""
        two_calls(stock)
        stock.put("only", signed_in_at=clock(), took_seconds=0.2)
        assert [stock.take(), stock.take()] == ["only", None]

    def test_the_oldest_goes_first(self, stock: FreshTokens, clock: FakeClock) -> None:
        """No token becomes too old because younger ones are handed out before it."""
        two_calls(stock)
        for name in ("first", "second", "third"):
            stock.put(name, signed_in_at=clock(), took_seconds=0.2)
            clock.advance(1)
        assert [stock.take() for _ in range(4)] == ["first", "second", "third", None]

    @pytest.mark.parametrize(("age_seconds", "given"), [(0, "token"), (29.9, "token"), (30, None), (60, None)])
    def test_a_token_older_than_half_a_minute_is_dropped(
        self, stock: FreshTokens, clock: FakeClock, age_seconds: float, given: str | None
    ) -> None:
        """The other half of the minute in which it is accepted is for the call."""
        two_calls(stock)
        stock.put("token", signed_in_at=clock(), took_seconds=0.2)
        clock.advance(age_seconds)
        assert stock.take() == given

    def test_age_counts_from_before_the_sign_in(self, stock: FreshTokens, clock: FakeClock) -> None:
        """A token whose sign-in took half a minute is too old when it arrives."""
        two_calls(stock)
        began_at = clock()
        clock.advance(USABLE_SECONDS)
        stock.put("slow", signed_in_at=began_at, took_seconds=USABLE_SECONDS)
        assert stock.take() is None

    def test_a_token_from_before_the_clock_was_set_back_is_dropped(self, stock: FreshTokens, clock: FakeClock) -> None:
        """Its age is unknown."""
        for _ in range(two_calls(stock)):
            stock.put("token", signed_in_at=clock(), took_seconds=0.1)
        clock.advance(-3600)
        assert stock.take() is None

    def test_an_old_token_behind_a_younger_one_is_dropped_too(self, stock: FreshTokens, clock: FakeClock) -> None:
        """Sign-ins do not end in the order in which they began, so a younger token may be first."""
        two_calls(stock)
        stock.put("quick", signed_in_at=clock(), took_seconds=0.1)
        stock.put("slow", signed_in_at=clock() - 10, took_seconds=10.0)
        clock.advance(USABLE_SECONDS - 5)
        assert [stock.take(), stock.take()] == ["quick", None]

    def test_dropped_tokens_are_replaced(self, stock: FreshTokens, clock: FakeClock) -> None:
        """Tokens that are too old do not count when the stock is filled."""
        for _ in range(two_calls(stock)):
            stock.put("old", signed_in_at=clock(), took_seconds=0.2)
        clock.advance(USABLE_SECONDS + 1)
        assert two_calls(stock) == 3
        for _ in range(3):
            stock.put("almost old", signed_in_at=clock() - 25, took_seconds=0.2)
        clock.advance(5)
        assert stock.start_sign_ins() == 2

    def test_no_two_threads_get_the_same_token(self, clock: FakeClock) -> None:
        """Eight threads that take and put tokens get each token once, and lose none."""
        stock = FreshTokens(clock)
        numbers = itertools.count()
        start = threading.Barrier(8)

        def takes(_: int) -> list[str]:
            taken = []
            start.wait()
            for _ in range(2_000):
                if (token := stock.take()) is not None:
                    taken.append(token)
                for _ in range(stock.start_sign_ins()):
                    stock.put(f"token-{next(numbers)}", signed_in_at=clock(), took_seconds=0.2)
            return taken

        with switching_often(), ThreadPoolExecutor(8) as threads:
            taken = [token for tokens in threads.map(takes, range(8)) for token in tokens]
        while (left := stock.take()) is not None:
            taken.append(left)
        assert len(taken) > 8_000
        assert len(set(taken)) == len(taken) == next(numbers)


class TestFailures:
    """While Firebase does not answer, it is asked less often."""

    def test_after_a_failure_sign_ins_pause_for_a_growing_time(self, stock: FreshTokens, clock: FakeClock) -> None:
        """The pauses double from a second to a minute. After each pause, one sign-in tries."""
        assert two_calls(stock) == 3
        stock.put("first", signed_in_at=clock(), took_seconds=0.2)
        stock.put("second", signed_in_at=clock(), took_seconds=0.2)
        for pause_seconds in (1, 2, 4, 8, 16, 32, 60, 60, 60):
            stock.fail(retry_after_seconds=0.0)
            clock.advance(pause_seconds - 0.25)
            assert two_calls(stock) == 0
            clock.advance(0.25)
            assert two_calls(stock) == 1
            assert two_calls(stock) == 0

    @pytest.mark.parametrize(("retry_after_seconds", "pause_seconds"), [(0.5, 1), (1, 1), (30, 30), (300, 300)])
    def test_a_pause_is_at_least_as_long_as_firebase_asks(
        self, stock: FreshTokens, clock: FakeClock, retry_after_seconds: float, pause_seconds: float
    ) -> None:
        """`Retry-After` is the pause if it is longer than that of the back-off."""
        for _ in range(two_calls(stock)):
            stock.fail(retry_after_seconds=retry_after_seconds)
        clock.advance(pause_seconds - 0.25)
        assert two_calls(stock) == 0
        clock.advance(0.25)
        assert two_calls(stock) == 1

    def test_failures_of_sign_ins_begun_before_the_pause_do_not_lengthen_it(
        self, stock: FreshTokens, clock: FakeClock
    ) -> None:
        """Three sign-ins that fail at the same time count as one failure."""
        assert two_calls(stock) == 3
        for _ in range(3):
            clock.advance(0.25)
            stock.fail(retry_after_seconds=0.0)
        clock.advance(0.5)
        assert two_calls(stock) == 1
        stock.fail(retry_after_seconds=0.0)
        clock.advance(2)
        assert two_calls(stock) == 1

    def test_a_success_ends_the_pause(self, stock: FreshTokens, clock: FakeClock) -> None:
        """After a sign-in that succeeds, all missing tokens are signed in for again."""
        assert two_calls(stock) == 3
        stock.fail(retry_after_seconds=60.0)
        stock.fail(retry_after_seconds=60.0)
        assert stock.start_sign_ins() == 0
        stock.put("token", signed_in_at=clock(), took_seconds=0.2)
        assert stock.start_sign_ins() == 2

    def test_a_clock_that_was_set_back_ends_the_pause(self, stock: FreshTokens, clock: FakeClock) -> None:
        """Otherwise a pause of a second would last until the clock is there again."""
        for _ in range(two_calls(stock)):
            stock.fail(retry_after_seconds=0.0)
        clock.advance(-3600)
        assert two_calls(stock) == 1
        stock.fail(retry_after_seconds=0.0)
        assert two_calls(stock) == 0

    def test_after_a_success_the_pauses_begin_anew(self, stock: FreshTokens, clock: FakeClock) -> None:
        """The pause after the next failure is a second again."""
        for seconds in (0, 1, 2, 4):
            clock.advance(seconds)
            for _ in range(two_calls(stock)):
                stock.fail(retry_after_seconds=0.0)
        clock.advance(8)
        assert two_calls(stock) == 1
        stock.put("token", signed_in_at=clock(), took_seconds=0.2)
        for _ in range(two_calls(stock)):
            stock.fail(retry_after_seconds=0.0)
        clock.advance(1)
        assert two_calls(stock) == 1

    def test_tokens_in_stock_are_handed_out_during_the_pause(self, stock: FreshTokens, clock: FakeClock) -> None:
        """A failed sign-in does not affect the tokens of others."""
        assert two_calls(stock) == 3
        stock.put("token", signed_in_at=clock(), took_seconds=0.2)
        stock.fail(retry_after_seconds=60.0)
        assert call(stock) == ("token", 0)

    def test_an_outage_of_a_day(self, stock: FreshTokens, clock: FakeClock) -> None:
        """After more than a thousand failures, one sign-in still tries after each pause of a minute."""
        started = two_calls(stock)
        for _ in range(24 * 60):
            for _ in range(started):
                stock.fail(retry_after_seconds=0.0)
            clock.advance(60)
            started = two_calls(stock)
            assert started == 1

    def test_pauses_are_spread_by_default(self, clock: FakeClock) -> None:
        """Processes whose sign-ins fail at the same time do not all try again at the same time."""
        stocks = [FreshTokens(clock) for _ in range(50)]
        for stock in stocks:
            for _ in range(two_calls(stock)):
                stock.fail(retry_after_seconds=0.0)
        clock.advance(0.75)
        assert {two_calls(stock) for stock in stocks} == {0, 1}


class Traffic:
    """Calls that come at random times, and sign-ins that take about 120 ms. No time passes but that of the clock."""

    def __init__(self, *, per_second: float) -> None:
        self.clock = FakeClock(WHOLE_SECONDS)
        self.stock = FreshTokens(self.clock)
        self.waited = 0
        self.sign_ins = 0
        self._per_second = per_second
        self._rng = random.Random(1)
        self._ends: list[tuple[float, float]] = []
        """When each sign-in under way ends, and when it began."""

    def calls(self, number: int) -> None:
        """Make so many calls, one after another."""
        for _ in range(number):
            self._pass(self._rng.expovariate(self._per_second))
            has_token = self.stock.take() is not None
            started = self.stock.start_sign_ins()
            self.waited += not has_token
            self.sign_ins += started + (not has_token)
            for _ in range(started):
                takes_seconds = 1.0 if self._rng.random() < 0.01 else 0.12 * self._rng.lognormvariate(0, 0.2)
                heapq.heappush(self._ends, (self.clock() + takes_seconds, self.clock()))

    def _pass(self, seconds: float) -> None:
        until = self.clock() + seconds
        while self._ends and self._ends[0][0] <= until:
            ends_at, began_at = heapq.heappop(self._ends)
            self.clock.advance(ends_at - self.clock())
            self.stock.put("token", signed_in_at=began_at, took_seconds=ends_at - began_at)
        self.clock.advance(until - self.clock())


@pytest.mark.parametrize("per_second", [1, 5, 50, 500])
def test_at_a_steady_rate_calls_do_not_wait(per_second: float) -> None:
    """A token is ready for 99.9 % of the calls, and there is about one sign-in for each call.

    So it is if Firebase is 120 ms away, and some sign-ins take much longer.
    """
    traffic = Traffic(per_second=per_second)
    traffic.calls(1_500)  # Until the rate and the time of a sign-in are known.
    traffic.waited = traffic.sign_ins = 0
    traffic.calls(8_000)
    assert traffic.waited <= 8
    assert traffic.sign_ins <= 1.01 * 8_000


class TestRevoked:
    """A callee refuses tokens that were minted before their identity was disabled, also after it is enabled again."""

    @staticmethod
    def filled(stock: FreshTokens, clock: FakeClock) -> None:
        for _ in range(two_calls(stock)):
            stock.put("old", signed_in_at=clock(), took_seconds=0.1)
        assert stock.in_stock() > 0

    def test_the_stock_is_thrown_away(self, stock: FreshTokens, clock: FakeClock) -> None:
        """One refusal is enough. The tokens that were minted at about the same time are not sent."""
        self.filled(stock, clock)
        assert stock.revoked(clock())
        assert stock.in_stock() == 0

    def test_new_tokens_take_its_place(self, stock: FreshTokens, clock: FakeClock) -> None:
        """The next call starts the sign-ins for them."""
        self.filled(stock, clock)
        stock.revoked(clock())
        assert call(stock)[0] is None
        number = two_calls(stock)
        stock.put("new", signed_in_at=clock(), took_seconds=0.1)
        assert (number > 0, stock.take()) == (True, "new")

    def test_a_sign_in_that_began_before_adds_nothing(self, stock: FreshTokens, clock: FakeClock) -> None:
        """Its token may have been minted before the revocation."""
        two_calls(stock)
        began_at = clock()
        clock.advance(0.1)
        stock.revoked(began_at)
        stock.put("old", signed_in_at=began_at, took_seconds=0.1)
        assert stock.in_stock() == 0

    def test_calls_that_were_under_way_may_be_sent_again(self, stock: FreshTokens, clock: FakeClock) -> None:
        """Their tokens are older than the revocation too. They do not throw the new stock away."""
        minted_at = clock()
        self.filled(stock, clock)
        clock.advance(1)
        assert stock.revoked(minted_at)
        self.filled(stock, clock)
        assert stock.revoked(minted_at)
        assert stock.in_stock() > 0

    @pytest.mark.parametrize(("after_seconds", "is_thrown_away"), [(0, False), (9.9, False), (10, True)])
    def test_newer_tokens_are_thrown_away_after_ten_seconds_only(
        self, stock: FreshTokens, clock: FakeClock, after_seconds: float, is_thrown_away: bool
    ) -> None:
        """A callee that does not know yet that the identity is enabled refuses all tokens, and costs few sign-ins."""
        stock.revoked(clock())
        clock.advance(after_seconds)
        self.filled(stock, clock)
        assert stock.revoked(clock()) is is_thrown_away
        assert (stock.in_stock() == 0) is is_thrown_away

    def test_a_clock_that_was_set_back(self, stock: FreshTokens, clock: FakeClock) -> None:
        """The time of the last revocation is unknown then, so it does not count."""
        stock.revoked(clock())
        clock.advance(-3600)
        self.filled(stock, clock)
        assert stock.revoked(clock())
        assert stock.in_stock() == 0


class StockMachine(RuleBasedStateMachine):
    """Calls, and sign-ins that succeed or fail in any order, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(WHOLE_SECONDS)
        self.stock = FreshTokens(self.clock, jitter=lambda: 1.0)
        self.calls: list[float] = []
        self.under_way: list[float] = []
        self.in_stock: dict[str, float] = {}
        self.failures, self.paused_until = 0, 0.0
        self.numbers = itertools.count()

    @rule(seconds=st.sampled_from([0.01, 0.2, 1.0, 7.0, 29.0, 31.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(times=st.integers(1, 40))
    def calls_come(self, times: int) -> None:
        for _ in range(times):
            self.calls.append(self.clock())
            token = self.stock.take()
            young = [
                name for name, signed_in_at in self.in_stock.items() if self.clock() - signed_in_at < USABLE_SECONDS
            ]
            if token is None:
                assert not young
            else:
                assert token in young
                del self.in_stock[token]
            self.sign_ins_start()

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def a_sign_in_succeeds(self, data: st.DataObject) -> None:
        began_at = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        name = f"token-{next(self.numbers)}"
        self.in_stock[name] = began_at
        self.stock.put(name, signed_in_at=began_at, took_seconds=self.clock() - began_at)
        self.failures, self.paused_until = 0, 0.0

    @precondition(lambda self: self.under_way)
    @rule(retry_after_seconds=st.sampled_from([0.0, 1.0, 20.0]))
    def a_sign_in_fails(self, retry_after_seconds: float) -> None:
        self.under_way.pop()
        self.stock.fail(retry_after_seconds=retry_after_seconds)
        if self.clock() >= self.paused_until:
            self.paused_until = self.clock() + max(min(2.0**self.failures, 60.0), retry_after_seconds)
            self.failures += 1

    def sign_ins_start(self) -> None:
        number = self.stock.start_sign_ins()
        now = self.clock()
        self.under_way += [now] * number
        if now < self.paused_until:
            assert number == 0
        if self.failures:
            assert number == 0 or len(self.under_way) == 1
        young = sum(now - signed_in_at < USABLE_SECONDS for signed_in_at in self.in_stock.values())
        recent = [at for at in self.calls if now - at <= USABLE_SECONDS][-RECENT_CALLS:]
        rate = (len(recent) - 1) / max(now - recent[0], 1.0)
        if number:
            assert young + len(self.under_way) <= rate * USABLE_SECONDS + 1e-6

    @invariant()
    def no_more_than_128_sign_ins_are_under_way(self) -> None:
        assert len(self.under_way) <= MAX_SIGN_INS


TestAnyCourseOfEvents = StockMachine.TestCase
TestAnyCourseOfEvents.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_the_stock_can_be_counted(stock: FreshTokens, clock: FakeClock) -> None:
    """The count is that of the tokens that can be taken now: those that are too old do not count."""
    assert stock.in_stock() == 0
    for number in range(two_calls(stock)):
        stock.put(f"token {number}", signed_in_at=clock(), took_seconds=0.1)
    before = stock.in_stock()
    assert before > 0
    stock.take()
    assert stock.in_stock() == before - 1
    clock.advance(USABLE_SECONDS)
    assert stock.in_stock() == 0
