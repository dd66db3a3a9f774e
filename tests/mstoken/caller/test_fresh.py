"""The stock orders ahead what calls will need, and hands each token out once."""

import itertools
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mstoken.caller.fresh import MAX_ON_ORDER, MAX_STOCK, USABLE_SECONDS, FreshTokens
from tests.clock import FakeClock

WHOLE_SECONDS = 1_800_000_000.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(WHOLE_SECONDS)


@pytest.fixture
def stock(clock: FakeClock) -> FreshTokens:
    return FreshTokens(clock)


def call(stock: FreshTokens) -> tuple[str | None, int]:
    """What a call is given, and how many sign-ins it begins."""
    return stock.take(), stock.order()


def two_calls(stock: FreshTokens) -> int:
    """How many sign-ins are begun by two calls at the same time, a call a second to the stock."""
    stock.take()
    stock.take()
    return stock.order()


def steady_calls(stock: FreshTokens, clock: FakeClock, *, per_second: float, seconds: float) -> int:
    """How many sign-ins are begun by so many calls at even intervals."""
    begun = 0
    for _ in range(round(per_second * seconds)):
        begun += call(stock)[1]
        clock.advance(1 / per_second)
    return begun


def learn(stock: FreshTokens, clock: FakeClock, *, sign_in_seconds: float) -> None:
    """Has sign-ins take so long until that is what is expected of them; leaves the stock empty and unused."""
    for _ in range(50):
        for _ in range(two_calls(stock)):
            stock.put("learnt", signed_in_at=clock() - sign_in_seconds, took_seconds=sign_in_seconds)
        clock.advance(2 * USABLE_SECONDS)


@contextmanager
def switching_often() -> Iterator[None]:
    """Has threads take turns every few microseconds, so that they meet wherever they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class TestHowMany:
    """What is ordered follows the calls of the last half minute."""

    def test_one_call_orders_nothing(self, stock: FreshTokens) -> None:
        """Whoever calls once may never call again."""
        assert call(stock) == (None, 0)

    @pytest.mark.parametrize(("seconds", "ordered"), [(0, 3), (1, 3), (5, 2), (29, 1), (30, 1), (30.5, 0), (3600, 0)])
    def test_two_calls_order_if_a_token_lives_from_one_to_the_next(
        self, stock: FreshTokens, clock: FakeClock, seconds: float, ordered: int
    ) -> None:
        """What would be thrown away before the next call is not signed in for."""
        call(stock)
        clock.advance(seconds)
        assert call(stock) == (None, ordered)

    @pytest.mark.parametrize(
        ("per_second", "wanted"),
        # A sign-in takes 0.2 s. By Little's law rate * 0.2 calls come meanwhile; three times the root of that is in
        # reserve, and one is for the call that orders.
        [(0.1, 2), (1, 3), (10, 8), (50, 21), (100, 35)],
    )
    def test_steady_calls_order_for_as_long_as_a_sign_in_takes(
        self, stock: FreshTokens, clock: FakeClock, per_second: float, wanted: int
    ) -> None:
        """In hand and on order together are what is used while an order is on its way, and a reserve."""
        assert steady_calls(stock, clock, per_second=per_second, seconds=3 / per_second + 2) == wanted

    def test_each_token_that_is_taken_orders_another(self, stock: FreshTokens, clock: FakeClock) -> None:
        """At a steady rate with a full stock every call is served, and begins one sign-in."""
        for number in range(steady_calls(stock, clock, per_second=10, seconds=2)):
            stock.put(f"filled-{number}", signed_in_at=clock(), took_seconds=0.2)
        for number in range(100):
            token, begun = call(stock)
            assert token is not None
            assert begun == 1
            stock.put(f"ordered-{number}", signed_in_at=clock(), took_seconds=0.2)
            clock.advance(0.1)

    def test_how_long_a_sign_in_takes_is_learnt(self, stock: FreshTokens, clock: FakeClock) -> None:
        """Where Firebase takes a second, ten calls a second need 10 + 3 * sqrt(10) + 1 tokens."""
        learn(stock, clock, sign_in_seconds=1.0)
        assert steady_calls(stock, clock, per_second=10, seconds=2) == 21

    def test_one_slow_sign_in_changes_little(self, stock: FreshTokens, clock: FakeClock) -> None:
        """A fifth of the difference: 0.36 s are expected after one that took a second."""
        call(stock)
        clock.advance(USABLE_SECONDS)
        assert call(stock) == (None, 1)
        stock.put("slow", signed_in_at=clock(), took_seconds=1.0)
        clock.advance(2 * USABLE_SECONDS)
        assert steady_calls(stock, clock, per_second=10, seconds=2) == 11

    @pytest.mark.parametrize("seconds_apart", [5, 7, 10, 15])
    def test_no_more_than_is_used_while_it_is_fresh(
        self, stock: FreshTokens, clock: FakeClock, seconds_apart: float
    ) -> None:
        """However long a sign-in takes, there are at most the tokens of half a minute's calls."""
        learn(stock, clock, sign_in_seconds=60.0)
        begun = steady_calls(stock, clock, per_second=1 / seconds_apart, seconds=20 * seconds_apart)
        assert begun == USABLE_SECONDS // seconds_apart

    def test_not_all_is_ordered_at_once(self, stock: FreshTokens, clock: FakeClock) -> None:
        """Firebase is not asked by more than 64 sign-ins at a time, whatever is missing."""
        learn(stock, clock, sign_in_seconds=2.0)
        assert steady_calls(stock, clock, per_second=100, seconds=2) == MAX_ON_ORDER
        stock.put("one back", signed_in_at=clock(), took_seconds=2.0)
        assert stock.order() == 1

    def test_the_stock_has_an_end(self, stock: FreshTokens, clock: FakeClock) -> None:
        """Not even a very slow Firebase fills the memory with tokens."""
        learn(stock, clock, sign_in_seconds=20.0)
        in_hand, most = 0, 0
        for _ in range(500):
            token, begun = call(stock)
            in_hand -= token is not None
            for _ in range(begun):
                stock.put("token", signed_in_at=clock(), took_seconds=20.0)
            in_hand += begun
            most = max(most, in_hand)
            clock.advance(0.01)
        assert most == MAX_STOCK

    def test_who_stops_calling_stocks_nothing_more(self, stock: FreshTokens, clock: FakeClock) -> None:
        """After a silence of half a minute the first call is one call again."""
        steady_calls(stock, clock, per_second=10, seconds=2)
        clock.advance(USABLE_SECONDS + 1)
        assert call(stock) == (None, 0)

    def test_a_clock_that_was_set_back_does_no_harm(self, stock: FreshTokens, clock: FakeClock) -> None:
        """A sign-in that seems to have ended before it began is taken for a quick one."""
        for _ in range(two_calls(stock)):
            stock.put("token", signed_in_at=clock() + 10, took_seconds=-10.0)
        call(stock)


class TestWhich:
    """What is handed out is young, and nobody else's."""

    def test_an_empty_stock_gives_nothing(self, stock: FreshTokens) -> None:
        """Whoever finds none signs in himself."""
        assert stock.take() is None

    def test_a_token_is_handed_out_once(self, stock: FreshTokens, clock: FakeClock) -> None:
        """And never again."""
        two_calls(stock)
        stock.put("only", signed_in_at=clock(), took_seconds=0.2)
        assert [stock.take(), stock.take()] == ["only", None]

    def test_the_oldest_goes_first(self, stock: FreshTokens, clock: FakeClock) -> None:
        """So that none grows old behind younger ones."""
        two_calls(stock)
        for name in ("first", "second", "third"):
            stock.put(name, signed_in_at=clock(), took_seconds=0.2)
            clock.advance(1)
        assert [stock.take() for _ in range(4)] == ["first", "second", "third", None]

    @pytest.mark.parametrize(("age_seconds", "given"), [(0, "token"), (29.9, "token"), (30, None), (60, None)])
    def test_an_old_token_is_thrown_away(
        self, stock: FreshTokens, clock: FakeClock, age_seconds: float, given: str | None
    ) -> None:
        """Half of the minute that it is fresh for is the call's own."""
        two_calls(stock)
        stock.put("token", signed_in_at=clock(), took_seconds=0.2)
        clock.advance(age_seconds)
        assert stock.take() == given

    def test_age_counts_from_before_the_sign_in(self, stock: FreshTokens, clock: FakeClock) -> None:
        """What came after a long wait is old when it comes."""
        two_calls(stock)
        began_at = clock()
        clock.advance(USABLE_SECONDS)
        stock.put("slow", signed_in_at=began_at, took_seconds=USABLE_SECONDS)
        assert stock.take() is None

    def test_a_token_from_before_the_clock_was_set_back_is_thrown_away(
        self, stock: FreshTokens, clock: FakeClock
    ) -> None:
        """Nobody can tell how old it is."""
        for _ in range(two_calls(stock)):
            stock.put("token", signed_in_at=clock(), took_seconds=0.1)
        clock.advance(-3600)
        assert stock.take() is None

    def test_an_old_token_behind_a_younger_one_is_thrown_away_too(self, stock: FreshTokens, clock: FakeClock) -> None:
        """Sign-ins do not end in the order in which they began."""
        two_calls(stock)
        stock.put("quick", signed_in_at=clock(), took_seconds=0.1)
        stock.put("slow", signed_in_at=clock() - 10, took_seconds=10.0)
        clock.advance(USABLE_SECONDS - 5)
        assert [stock.take(), stock.take()] == ["quick", None]

    def test_what_is_thrown_away_is_ordered_anew(self, stock: FreshTokens, clock: FakeClock) -> None:
        """Old tokens in hand do not keep the stock from being filled."""
        for _ in range(two_calls(stock)):
            stock.put("old", signed_in_at=clock(), took_seconds=0.2)
        clock.advance(USABLE_SECONDS + 1)
        assert two_calls(stock) == 3
        for _ in range(3):
            stock.put("almost old", signed_in_at=clock() - 25, took_seconds=0.2)
        clock.advance(5)
        assert stock.order() == 2

    def test_no_two_threads_get_the_same(self, clock: FakeClock) -> None:
        """Eight threads that take, order and put get each token once, and lose none."""
        stock = FreshTokens(clock)
        numbers = itertools.count()
        start = threading.Barrier(8)

        def takes(_: int) -> list[str]:
            taken = []
            start.wait()
            for _ in range(2_000):
                if (token := stock.take()) is not None:
                    taken.append(token)
                for _ in range(stock.order()):
                    stock.put(f"token-{next(numbers)}", signed_in_at=clock(), took_seconds=0.2)
            return taken

        with switching_often(), ThreadPoolExecutor(8) as threads:
            taken = [token for tokens in threads.map(takes, range(8)) for token in tokens]
        while (left := stock.take()) is not None:
            taken.append(left)
        assert len(taken) > 8_000
        assert len(set(taken)) == len(taken) == next(numbers)


class TestFailures:
    """A Firebase that does not answer is left in peace."""

    def test_a_failure_pauses_ordering_for_a_growing_time(self, stock: FreshTokens, clock: FakeClock) -> None:
        """1, 2, 4 seconds and so on up to a minute; after each exactly one sign-in tries."""
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
    def test_a_pause_is_as_long_as_asked(
        self, stock: FreshTokens, clock: FakeClock, retry_after_seconds: float, pause_seconds: float
    ) -> None:
        """Firebase's own wish counts where it is longer than our pause."""
        for _ in range(two_calls(stock)):
            stock.fail(retry_after_seconds=retry_after_seconds)
        clock.advance(pause_seconds - 0.25)
        assert two_calls(stock) == 0
        clock.advance(0.25)
        assert two_calls(stock) == 1

    def test_failures_of_sign_ins_begun_before_the_pause_do_not_lengthen_it(
        self, stock: FreshTokens, clock: FakeClock
    ) -> None:
        """Three that fail together are one failure."""
        assert two_calls(stock) == 3
        for _ in range(3):
            clock.advance(0.25)
            stock.fail(retry_after_seconds=0.0)
        clock.advance(0.5)
        assert two_calls(stock) == 1
        stock.fail(retry_after_seconds=0.0)
        clock.advance(2)
        assert two_calls(stock) == 1

    def test_a_success_lifts_the_pause(self, stock: FreshTokens, clock: FakeClock) -> None:
        """Whoever got through proves that there is a way: all that is missing is ordered again."""
        assert two_calls(stock) == 3
        stock.fail(retry_after_seconds=60.0)
        stock.fail(retry_after_seconds=60.0)
        assert stock.order() == 0
        stock.put("through", signed_in_at=clock(), took_seconds=0.2)
        assert stock.order() == 2

    def test_after_a_success_the_pauses_are_short_again(self, stock: FreshTokens, clock: FakeClock) -> None:
        """The next failure is a first one."""
        for seconds in (0, 1, 2, 4):
            clock.advance(seconds)
            for _ in range(two_calls(stock)):
                stock.fail(retry_after_seconds=0.0)
        clock.advance(8)
        assert two_calls(stock) == 1
        stock.put("through", signed_in_at=clock(), took_seconds=0.2)
        for _ in range(two_calls(stock)):
            stock.fail(retry_after_seconds=0.0)
        clock.advance(1)
        assert two_calls(stock) == 1

    def test_tokens_in_hand_are_handed_out_in_the_pause(self, stock: FreshTokens, clock: FakeClock) -> None:
        """What is good does not become worse because others failed."""
        assert two_calls(stock) == 3
        stock.put("good", signed_in_at=clock(), took_seconds=0.2)
        stock.fail(retry_after_seconds=60.0)
        assert call(stock) == ("good", 0)

    def test_an_outage_of_a_day_is_waited_out(self, stock: FreshTokens, clock: FakeClock) -> None:
        """The pauses go on, a minute each, however many there were."""
        two_calls(stock)
        for _ in range(24 * 60):
            stock.fail(retry_after_seconds=0.0)
            clock.advance(60)
            two_calls(stock)


class StockMachine(RuleBasedStateMachine):
    """Calls, and sign-ins that end in any order, well or not, while time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(WHOLE_SECONDS)
        self.stock = FreshTokens(self.clock)
        self.calls: list[float] = []
        self.begun: list[float] = []
        self.in_hand: dict[str, float] = {}
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
                name for name, signed_in_at in self.in_hand.items() if self.clock() - signed_in_at < USABLE_SECONDS
            ]
            if token is None:
                assert not young
            else:
                assert token in young
                del self.in_hand[token]
            self.orders()

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def one_gets_through(self, data: st.DataObject) -> None:
        began_at = self.begun.pop(data.draw(st.integers(0, len(self.begun) - 1)))
        name = f"token-{next(self.numbers)}"
        self.in_hand[name] = began_at
        self.stock.put(name, signed_in_at=began_at, took_seconds=self.clock() - began_at)
        self.failures, self.paused_until = 0, 0.0

    @precondition(lambda self: self.begun)
    @rule(retry_after_seconds=st.sampled_from([0.0, 1.0, 20.0]))
    def one_fails(self, retry_after_seconds: float) -> None:
        self.begun.pop()
        self.stock.fail(retry_after_seconds=retry_after_seconds)
        if self.clock() >= self.paused_until:
            self.paused_until = self.clock() + max(min(2.0**self.failures, 60.0), retry_after_seconds)
            self.failures += 1

    def orders(self) -> None:
        number = self.stock.order()
        now = self.clock()
        self.begun += [now] * number
        if now < self.paused_until:
            assert number == 0
        if self.failures:
            assert number == 0 or len(self.begun) == 1
        young = sum(now - signed_in_at < USABLE_SECONDS for signed_in_at in self.in_hand.values())
        recent = [at for at in self.calls if now - at <= USABLE_SECONDS][-128:]
        rate = (len(recent) - 1) / max(now - recent[0], 1.0)
        if number:
            assert young + len(self.begun) <= rate * USABLE_SECONDS + 1e-6

    @invariant()
    def no_more_are_on_order_than_may_be(self) -> None:
        assert len(self.begun) <= MAX_ON_ORDER


TestAnyCourseOfEvents = StockMachine.TestCase
TestAnyCourseOfEvents.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
