"""What Billing reserves in Product: see `services/product/README.md`."""

import logging
from collections.abc import Sequence

import httpx
from pydantic import BaseModel, Field

from services.billing.bills import Item
from services.billing.errors import BillInProgress, OutOfStock, ProductFailed, ProductUnknown
from services.billing.neighbours import Neighbours, parse
from services.common.shapes import Money

_log = logging.getLogger("services.billing.neighbours")


class ReservedLine(BaseModel):
    """A product that is held, with name and price of one as they were when it was first reserved."""

    product_id: str
    name: str
    price: Money
    quantity: int = Field(ge=1)


class _Reservation(BaseModel):
    lines: list[ReservedLine]


class _Problem(BaseModel):
    code: str
    detail: str | None = None


class ProductStock:
    """Reservations by the bill's id. Every call may be repeated.

    Every call raises `NeighbourUnavailable`, `NeighbourFailed`, and `BillInProgress` where the bill was given up:
    then another worker has this order in its hands.
    """

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours

    async def reserve(self, bill_id: str, items: Sequence[Item]) -> Sequence[ReservedLine]:
        """Holds the items, all of them or none. Asked again, the lines are the same.

        Raises `ProductUnknown`, `OutOfStock`.
        """
        wanted = [{"product_id": item.product_id, "quantity": item.quantity} for item in items]
        body = {"bill_id": bill_id, "items": wanted}
        response = await self._neighbours.call_product("POST", "/reservations", accepted=(409, 422), json=body)
        if response.is_success:
            lines = parse(response, _Reservation, ProductFailed).lines
            if [Item(line.product_id, line.quantity) for line in lines] == list(items):
                return lines
            raise _failed("other lines than were asked for")
        problem = parse(response, _Problem, ProductFailed)
        for refusal in (ProductUnknown, OutOfStock):
            if problem.code == refusal.code:
                raise refusal(problem.detail)
        raise _unexpected(problem)

    async def commit(self, bill_id: str) -> bool:
        """Sells what is held, for good. False where that was held for too long, and is given back."""
        path = f"/reservations/{bill_id}/commit"
        response = await self._neighbours.call_product("POST", path, accepted=(409,))
        return response.is_success or _refused_with(response, "reservation_expired")

    async def release(self, bill_id: str) -> bool:
        """Gives back what is held, and sees that nothing more will be. False where it is sold."""
        response = await self._neighbours.call_product("DELETE", f"/reservations/{bill_id}", accepted=(409,))
        return response.is_success or _refused_with(response, "reservation_committed")


def _refused_with(response: httpx.Response, code: str) -> bool:
    """False, if the refusal has that code."""
    problem = parse(response, _Problem, ProductFailed)
    if problem.code != code:
        raise _unexpected(problem)
    return False


def _unexpected(problem: _Problem) -> BillInProgress | ProductFailed:
    return BillInProgress() if problem.code == "reservation_released" else _failed(problem.code)


def _failed(reason: str) -> ProductFailed:
    _log.error("neighbour", extra={"neighbour": "product", "reason": reason})
    return ProductFailed()
