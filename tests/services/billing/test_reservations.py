"""services/billing/reservations.py: the answers of Product"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from mstoken.problem import Problem
from mstoken.testing import FakeFirebase
from services.billing.errors import BillInProgress, NeighbourFailed, OutOfStock, ProductUnknown
from services.billing.neighbours import Neighbours
from services.billing.orders import OrderItem
from services.billing.reservations import Reservations
from services.billing.settings import BillingSettings
from tests.services.shop import FixedTransport

LINE = {"product_id": "kettle", "name": "Kettle", "price": {"amount": 4990, "currency": "USD"}, "quantity": 2}


def problem(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": "It is so."})


class FakeProduct:
    """Billing's reservations in a Product that gives the answers of the test."""

    def __init__(self, firebase: FakeFirebase) -> None:
        self.product = FixedTransport(httpx.Response(500))
        self.neighbours = Neighbours(
            BillingSettings(), firebase.identity("billing"), transports={"product": self.product}
        )
        self._reservations = Reservations(self.neighbours)
        self.calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "hold": lambda: self._reservations.hold("b1", [OrderItem("kettle", 2)]),
            "commit": lambda: self._reservations.commit("b1"),
            "release": lambda: self._reservations.release("b1"),
        }

    async def call(self, call: str, answer: httpx.Response) -> Any:
        """Make a call of Billing, which Product answers with `answer`, and return its result."""
        self.product.outcome = answer
        return await self.calls[call]()


@pytest.fixture
async def product(firebase: FakeFirebase) -> AsyncIterator[FakeProduct]:
    """A Product with answers of the test."""
    product = FakeProduct(firebase)
    async with product.neighbours:
        yield product


async def test_what_is_reserved(product: FakeProduct) -> None:
    """A reservation returns its lines with the names and prices of Product."""
    for status in 201, 200:
        [line] = await product.call("hold", httpx.Response(status, json={"lines": [LINE]}))
        assert (line.name, line.price["amount"], line.quantity) == ("Kettle", 4990, 2)


async def test_sold_and_released(product: FakeProduct) -> None:
    """A sale of an expired reservation, and a release of a sold one, return False."""
    assert await product.call("commit", httpx.Response(200, json={"lines": [LINE]})) is True
    assert await product.call("commit", problem(409, "reservation_expired")) is False
    assert await product.call("release", httpx.Response(204)) is True
    assert await product.call("release", problem(409, "reservation_committed")) is False


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(409, "out_of_stock"), OutOfStock),
        (problem(422, "product_unknown"), ProductUnknown),
        (problem(409, "reservation_released"), BillInProgress),
        (problem(409, "reservation_differs"), NeighbourFailed),
        (problem(422, "request_invalid"), NeighbourFailed),
        (httpx.Response(409, text="no"), NeighbourFailed),
        (httpx.Response(201, json={"lines": []}), NeighbourFailed),
        (httpx.Response(201, json={"lines": [LINE | {"quantity": 1}]}), NeighbourFailed),
        (httpx.Response(201, json={"lines": [LINE | {"product_id": "cups"}]}), NeighbourFailed),
    ],
)
async def test_a_refused_reservation(product: FakeProduct, answer: httpx.Response, error: type[Problem]) -> None:
    """A refusal that concerns the order is distinguished from failures of Billing or Product, and from other lines."""
    with pytest.raises(error) as caught:
        await product.call("hold", answer)
    assert caught.value.detail == ("It is so." if error in (OutOfStock, ProductUnknown) else caught.value.detail)


@pytest.mark.parametrize("call", ["commit", "release"])
async def test_an_answer_that_does_not_fit_the_call(product: FakeProduct, call: str) -> None:
    """An answer that call not fit the call is a failure of Product, and decides nothing."""
    for answer in problem(409, "out_of_stock"), problem(404, "reservation_not_found"), httpx.Response(409):
        with pytest.raises(NeighbourFailed):
            await product.call(call, answer)
