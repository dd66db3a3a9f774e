"""The steady load, and what its customers notice of a fault."""

import threading

import pytest
from typing_extensions import override

from emulator.lab.load import Customer, Load, LoadFailed, Sale, notices
from emulator.lab.outages import Span
from emulator.run.errors import Unexpected
from tests.waiting import WAIT_SECONDS


class FakeCustomer(Customer):
    """Gets these answers, one after another, and then bills. `bought` is set after `count` purchases."""

    def __init__(self, *answers: tuple[int | None, str], count: int = 3) -> None:
        self.answers = list(answers)
        self.count = count
        self.bought = threading.Event()
        self.is_closed = False
        self.prepared = 0
        self.failure: Unexpected | None = None

    @override
    def prepare(self) -> None:
        self.prepared += 1
        if self.failure:
            raise self.failure

    @override
    async def buy(self) -> tuple[int | None, str]:
        self.count -= 1
        if self.count == 0:
            self.bought.set()
        return self.answers.pop(0) if self.answers else (201, "")

    @override
    async def aclose(self) -> None:
        self.is_closed = True


def test_the_customer_buys_again_and_again_until_it_is_stopped() -> None:
    """A failed purchase does not end the load."""
    customer = FakeCustomer((503, "product_unavailable"), (None, "ReadTimeout"))
    load = Load(lambda: customer, every_seconds=0.001)
    load.start()
    assert load.is_running
    assert customer.bought.wait(WAIT_SECONDS)
    load.stop()
    assert (load.is_running, load.waiting, customer.is_closed) == (False, 0, True)
    assert [sale.words for sale in load.sales()[:3]] == [
        "503 product_unavailable",
        "no answer (ReadTimeout)",
        "bill issued",
    ]


def test_it_ends_by_itself() -> None:
    """Leaving the page does not leave a load behind for ever."""
    customer = FakeCustomer()
    load = Load(lambda: customer, every_seconds=0.001, limit_seconds=0.02)
    load.start()
    assert load._thread is not None
    load._thread.join(WAIT_SECONDS)
    assert (load.is_running, customer.is_closed) == (False, True)


def test_a_second_start_changes_nothing() -> None:
    """Two pages may be open."""
    customer = FakeCustomer()
    load = Load(lambda: customer, every_seconds=0.001)
    load.start()
    load.start()
    load.stop()
    assert customer.prepared == 1


def test_it_does_not_begin_if_the_customer_cannot_log_in() -> None:
    """The page says why."""
    customer = FakeCustomer()
    customer.failure = Unexpected("POST /login at user was answered with 503 instead of 200.")
    load = Load(lambda: customer)
    with pytest.raises(LoadFailed, match="The customer cannot begin: POST /login at user was answered with 503"):
        load.start()
    assert (load.is_running, customer.is_closed) == (False, True)


def good(began: float, seconds: float = 0.1) -> Sale:
    return Sale(began, seconds, 201, "")


def bad(began: float, seconds: float = 0.1) -> Sale:
    return Sale(began, seconds, 503, "product_unavailable")


FAULT = Span("f", "It breaks", 10.0, 20.0)


def test_a_fault_that_nobody_noticed() -> None:
    """All purchases were good: there is nothing to heal."""
    (notice,) = notices([FAULT], [good(5), good(12, 0.4), good(25)])
    assert (notice.sales, notice.failed, notice.slowest, notice.healed_after) == (2, 0, 0.4, 0.0)
    assert notice.answers == {"bill issued": 2}


def test_it_healed_with_the_first_bill_after_the_last_failure() -> None:
    """The time counts from the end of the fault."""
    (notice,) = notices([FAULT], [good(9), bad(11), good(12), bad(21), bad(23), good(24, 0.5), good(25)])
    assert (notice.failed, notice.healed_after) == (3, 4.5)
    assert notice.answers == {"503 product_unavailable": 3, "bill issued": 3}


def test_it_has_not_healed_while_purchases_fail() -> None:
    """Also if there was a bill between two failures."""
    (notice,) = notices([FAULT], [bad(11), good(21), bad(22)])
    assert notice.healed_after is None


def test_a_purchase_that_began_before_the_fault_counts() -> None:
    """It was under way when the fault began."""
    (notice,) = notices([FAULT], [bad(9.5, 3.0)])
    assert (notice.failed, notice.slowest) == (1, 3.0)


def test_a_fault_that_is_on_has_not_healed() -> None:
    """Nor is anything known without customers."""
    (running,) = notices([Span("f", "It breaks", 10.0, None)], [good(12)])
    assert running.healed_after is None
    (unseen,) = notices([FAULT], [])
    assert (unseen.sales, unseen.healed_after) == (0, None)


def test_each_fault_has_its_own_purchases() -> None:
    """What happens after the next fault began belongs to that one."""
    first, second = notices([FAULT, Span("g", "It breaks again", 30.0, 31.0)], [bad(11), good(21), bad(30.5), good(33)])
    assert (first.failed, second.failed) == (1, 1)
    assert first.healed_after == pytest.approx(1.1)
    assert second.healed_after == pytest.approx(2.1)
