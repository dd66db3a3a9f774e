"""Billing's reservations in Product. `services/product/README.md` describes the API."""

from collections.abc import Sequence

import httpx
from pydantic import BaseModel, Field

from services.billing.errors import BillInProgress, OutOfStock, ProductFailed, ProductUnknown
from services.billing.neighbours import Neighbours, log_failure, parse
from services.billing.orders import OrderItem
from services.common.shapes import Money


class ReservationLine(BaseModel):
    """A reserved product. `name` and `price`, for one, are those of the first reservation for the bill."""

    product_id: str
    name: str
    price: Money
    quantity: int = Field(ge=1)


class _Reservation(BaseModel):
    lines: list[ReservationLine]


class _Problem(BaseModel):
    code: str
    detail: str | None = None


class Reservations:
    """The reservations of bills, by the id of the bill. Every call may be repeated.

    Every call raises `ProductUnavailable` and `ProductFailed`, and `BillInProgress` if the reservation was released:
    then another worker is abandoning the order.
    """

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours

    async def hold(self, bill_id: str, items: Sequence[OrderItem]) -> Sequence[ReservationLine]:
        """Hold all the items or none, and return their lines. A repeated call returns the same lines.

        Raises `ProductUnknown` and `OutOfStock`.
        """
        body = {
            "bill_id": bill_id,
            "items": [{"product_id": item.product_id, "quantity": item.quantity} for item in items],
        }
        response = await self._neighbours.call_product("POST", "/reservations", accepted=(409, 422), json=body)
        if response.is_success:
            lines = parse(response, _Reservation, ProductFailed).lines
            if [OrderItem(line.product_id, line.quantity) for line in lines] == list(items):
                return lines
            raise _failed("the answer has other lines than the request")
        problem = parse(response, _Problem, ProductFailed)
        for refusal in (ProductUnknown, OutOfStock):
            if problem.code == refusal.code:
                raise refusal(problem.detail)
        raise _error_for(problem)

    async def commit(self, bill_id: str) -> bool:
        """Sell what is held for the bill. Return False if the reservation has expired."""
        path = f"/reservations/{bill_id}/commit"
        response = await self._neighbours.call_product("POST", path, accepted=(409,))
        return _was_done(response, refusal="reservation_expired")

    async def release(self, bill_id: str) -> bool:
        """Put back what is held for the bill, so that nothing is held for it again. Return False if it was sold."""
        path = f"/reservations/{bill_id}"
        response = await self._neighbours.call_product("DELETE", path, accepted=(409,))
        return _was_done(response, refusal="reservation_committed")


def _was_done(response: httpx.Response, *, refusal: str) -> bool:
    """Return whether the call succeeded; False if it was refused with the code `refusal`. Other answers are errors."""
    if response.is_success:
        return True
    problem = parse(response, _Problem, ProductFailed)
    if problem.code != refusal:
        raise _error_for(problem)
    return False


def _error_for(problem: _Problem) -> BillInProgress | ProductFailed:
    return BillInProgress() if problem.code == "reservation_released" else _failed(problem.code)


def _failed(reason: str) -> ProductFailed:
    log_failure(ProductFailed.service, reason)
    return ProductFailed()
