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
from tests.services.shop import StubbornTransport

LINE = {"product_id": "kettle", "name": "Kettle", "price": {"amount": 4990, "currency": "USD"}, "quantity": 2}


def problem(status: int, code: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": "It is so."})


class Counter:
    """Billing's way to reservations, in front of a Product that gives one answer."""

    def __init__(self, firebase: FakeFirebase) -> None:
        self.product = StubbornTransport(httpx.Response(500))
        self.neighbours = Neighbours(
            BillingSettings(), firebase.identity("billing"), transports={"product": self.product}
        )
        self._reservations = Reservations(self.neighbours)
        self.calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "hold": lambda: self._reservations.hold("b1", [OrderItem("kettle", 2)]),
            "commit": lambda: self._reservations.commit("b1"),
            "release": lambda: self._reservations.release("b1"),
        }

    async def does(self, call: str, answer: httpx.Response) -> Any:
        """What the call gives when Product answers so."""
        self.product.fate = answer
        return await self.calls[call]()


@pytest.fixture
async def counter(firebase: FakeFirebase) -> AsyncIterator[Counter]:
    """A counter that is closed in the end."""
    counter = Counter(firebase)
    async with counter.neighbours:
        yield counter


async def test_what_is_reserved(counter: Counter) -> None:
    """A reservation's lines come with the names and prices that Product holds them at."""
    for status in 201, 200:
        [line] = await counter.does("hold", httpx.Response(status, json={"lines": [LINE]}))
        assert (line.name, line.price.amount, line.quantity) == ("Kettle", 4990, 2)


async def test_sold_and_released(counter: Counter) -> None:
    """To sell what has expired, and to release what is sold, is to be told so."""
    assert await counter.does("commit", httpx.Response(200, json={"lines": [LINE]})) is True
    assert await counter.does("commit", problem(409, "reservation_expired")) is False
    assert await counter.does("release", httpx.Response(204)) is True
    assert await counter.does("release", problem(409, "reservation_committed")) is False


@pytest.mark.parametrize(
    ("answer", "fault"),
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
async def test_nothing_reserved(counter: Counter, answer: httpx.Response, fault: type[Problem]) -> None:
    """A refusal that is about the order is told from one that Billing must not meet, and from other lines."""
    with pytest.raises(fault) as caught:
        await counter.does("hold", answer)
    assert caught.value.detail == ("It is so." if fault in (OutOfStock, ProductUnknown) else caught.value.detail)


@pytest.mark.parametrize("call", ["commit", "release"])
async def test_what_product_cannot_have_said(counter: Counter, call: str) -> None:
    """An answer that does not belong to the call is Product's failure, and settles nothing."""
    for answer in problem(409, "out_of_stock"), problem(404, "reservation_not_found"), httpx.Response(409):
        with pytest.raises(NeighbourFailed):
            await counter.does(call, answer)
