"""The demo's purchase: a wrong bill is noticed, and so is a delivery that does not arrive."""

from pathlib import Path

import httpx
import pytest

from emulator.demo.purchase import arrived, check_total
from emulator.run.errors import Unexpected
from emulator.run.ports import Ports
from emulator.run.shop_client import ShopClient
from emulator.run.stack import Stack


def test_a_right_total_passes() -> None:
    """A total that is the sum of the amounts passes."""
    check_total({"total": {"amount": 300}}, {"cup": 100, "pot": 200})


def test_a_wrong_total_is_told() -> None:
    """A total that is not the sum of the amounts is named, with the sum."""
    with pytest.raises(Unexpected, match="total is 301 where the catalogue's prices come to 300"):
        check_total({"total": {"amount": 301}}, {"cup": 100, "pot": 200})


def shop_client(*statuses: str) -> ShopClient:
    """A customer whose delivery is at each of these one after the other, and stays at the last."""
    left = list(statuses)

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"status": left.pop(0) if len(left) > 1 else left[0]})

    return ShopClient(Stack(Ports(), Path("/shop")), httpx.Client(transport=httpx.MockTransport(answer)))


def test_a_delivery_is_waited_for() -> None:
    """A delivery that is delivered in the end is given as it is then."""
    assert arrived(shop_client("requested", "dispatched", "delivered"), "b1") == {"status": "delivered"}


@pytest.mark.parametrize("status", ["failed", "dispatched"])
def test_a_delivery_that_does_not_arrive_is_told(status: str) -> None:
    """A delivery that has failed, or is under way for too long, is named with where it is."""
    with pytest.raises(Unexpected, match=f"delivery of bill b1 is {status}, where it should be delivered"):
        arrived(shop_client("requested", status), "b1", seconds=0.3)
