"""The demo's purchase: it notices a wrong bill, and a delivery that does not arrive."""

from pathlib import Path

import httpx
import pytest

from emulator.demo.purchase import check_total, wait_for_delivery
from emulator.run.errors import Unexpected
from emulator.run.ports import Ports
from emulator.run.shop_client import ShopClient
from emulator.run.stack import Stack
from tests.waiting import WAIT_SECONDS


def test_a_correct_total_is_accepted() -> None:
    """A total that is the sum of the amounts is accepted."""
    check_total({"total": {"amount": 300}}, {"cup": 100, "pot": 200})


def test_a_wrong_total_is_named() -> None:
    """If the total is not the sum of the amounts, the error names both."""
    with pytest.raises(Unexpected, match="total is 301, but the catalogue's prices add up to 300"):
        check_total({"total": {"amount": 301}}, {"cup": 100, "pot": 200})


def shop_client(*statuses: str) -> ShopClient:
    """Return a client whose delivery has each of these statuses in turn, and keeps the last one."""
    left = list(statuses)

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"status": left.pop(0) if len(left) > 1 else left[0]})

    return ShopClient(Stack(Ports(), Path("/shop")), httpx.Client(transport=httpx.MockTransport(answer)))


def test_waiting_for_a_delivery() -> None:
    """The wait ends when the delivery is delivered, and returns the delivery."""
    assert wait_for_delivery(shop_client("requested", "dispatched", "delivered"), "b1") == {"status": "delivered"}


@pytest.mark.parametrize(
    ("statuses", "seconds"), [(["requested", "failed"], WAIT_SECONDS), (["dispatched"], 0)], ids=["failed", "too long"]
)
def test_a_delivery_that_does_not_arrive(statuses: list[str], seconds: float) -> None:
    """If a delivery fails or takes too long, the error names it and its status."""
    with pytest.raises(Unexpected, match=f"delivery of bill b1 is {statuses[-1]}; it should be delivered by now"):
        wait_for_delivery(shop_client(*statuses), "b1", seconds)
