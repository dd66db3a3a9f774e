"""The counts of the last minutes."""

import pytest

from emulator.lab.tally import CUSTOMERS, DELIVER, FIREBASE, KEPT_SECONDS, METADATA, TOKEN, UNKNOWN, Histogram
from tests.emulator.lab.logged_shop import LoggedShop


class TestHistogram:
    """Durations in steps of 5 percent."""

    @pytest.mark.parametrize("milliseconds", [0.05, 1, 37, 12_345])
    def test_a_quantile_is_near_the_true_one(self, milliseconds: float) -> None:
        """A duration is returned with an error of at most 2.5 percent."""
        histogram = Histogram()
        histogram.add(milliseconds)
        assert histogram.quantile(0.5) == pytest.approx(milliseconds, rel=0.025)

    def test_quantiles(self) -> None:
        """Half of the durations do not exceed the median."""
        histogram, other = Histogram(), Histogram()
        for milliseconds in range(1, 51):
            histogram.add(milliseconds)
            other.add(milliseconds + 50)
        histogram.merge(other)
        assert histogram.quantile(0.5) == pytest.approx(50, rel=0.05)
        assert histogram.quantile(0.95) == pytest.approx(95, rel=0.05)

    def test_without_durations_there_is_no_quantile(self) -> None:
        """The quantile of nothing is None. A duration of 0 counts as a very short one."""
        histogram = Histogram()
        assert histogram.quantile(0.5) is None
        histogram.add(0)
        assert histogram.quantile(0.5) == pytest.approx(0.01, rel=0.05)


def test_calls_are_counted_by_who_called_what(shop: LoggedShop) -> None:
    """Services, customers and unknown callers are told apart. Refusals are counted too."""
    shop.call()
    shop.call(verdict="token_replayed")
    shop.call(caller="user:maya", mode="user")
    shop.call(caller=None, verdict="token_untrusted")
    shop.call(caller="svc:delivery", process="billing")
    shop.read()
    moment = shop.lab.tally.last(60)
    assert moment.hops == {
        ("billing", "product"): 2,
        (CUSTOMERS, "product"): 1,
        (UNKNOWN, "product"): 1,
        (DELIVER, "billing"): 1,
    }
    assert moment.refused == {("billing", "product"): 1, (UNKNOWN, "product"): 1}
    assert moment.verdicts["product", "token_replayed"] == 1
    assert moment.verification["product"].quantile(0.5) == pytest.approx(2, rel=0.05)


def test_the_duration_of_a_call_is_that_of_its_request(shop: LoggedShop) -> None:
    """A request counts for the caller of its call. A request without a call is one of customers, but not a probe."""
    shop.call()
    shop.request(duration_ms=40)
    shop.request(path="/login", process="user", request_id="r2")
    shop.request(path="/readyz", process="user", request_id="r3")
    shop.read()
    moment = shop.lab.tally.last(60)
    assert moment.times["billing", "product"].quantile(0.5) == pytest.approx(40, rel=0.05)
    assert moment.hops == {("billing", "product"): 1, (CUSTOMERS, "user"): 1}


def test_sign_ins_are_counted_where_they_go(shop: LoggedShop) -> None:
    """A sign-in goes to the token service and to Firebase, an identity token to the metadata server."""
    shop.sign_in()
    shop.log("billing", "identity token", took_ms=5)
    shop.log("emulators", "token", service="billing", audience="product", mode="fresh", verdict="issued")
    shop.log("emulators", "token", service=None, audience=None, mode=None, verdict="credential_missing")
    shop.log("billing", "hand_over")
    shop.read()
    moment = shop.lab.tally.last(60)
    assert moment.hops == {
        ("billing", FIREBASE): 1,
        ("billing", METADATA): 1,
        ("billing", TOKEN): 1,
        (UNKNOWN, TOKEN): 1,
        ("billing", DELIVER): 1,
    }
    assert moment.refused == {(UNKNOWN, TOKEN): 1}
    assert moment.sign_ins == {("billing", "product"): 1}
    assert moment.stock == {("billing", "product"): 3}


def test_spans_are_in_the_order_of_time(shop: LoggedShop) -> None:
    """Each event counts in the span in which it happened. The last span is the one that is not over."""
    shop.clock.now -= shop.clock.now % 3  # A span begins now.
    for at in (-4, -3, -1, 0):
        shop.call(at=at)
    shop.read()
    steps = shop.lab.tally.steps(3, 3)
    assert [step.hops["billing", "product"] for step in steps] == [1, 2, 1]
    assert shop.lab.tally.first_second(3, 3) == shop.clock.now - 6


def test_old_events_are_forgotten(shop: LoggedShop) -> None:
    """What is older than five minutes takes no memory, and neither does what claims to be in the future."""
    shop.call(at=-KEPT_SECONDS - 5)
    shop.call(at=3600)
    shop.read()
    assert shop.lab.tally.seconds() == 0
    for _ in range(KEPT_SECONDS + 100):
        shop.clock.advance(1)
        shop.call()
        shop.read()
    assert shop.lab.tally.seconds() <= KEPT_SECONDS + 2
    assert shop.lab.tally.last(KEPT_SECONDS).hops["billing", "product"] == KEPT_SECONDS
