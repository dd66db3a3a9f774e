"""The routes of Billing."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import HTMLResponse

from mstoken.fastapi import REFUSALS, allow
from services.billing import invoice
from services.billing.bills import Bill, Bills
from services.billing.deliveries import Deliveries
from services.billing.errors import (
    AddressFixed,
    AddressMissing,
    BillInProgress,
    BillNotFound,
    CurrenciesMixed,
    DeliveryNotFound,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    OrderGivenUp,
    OutOfStock,
    ProductFailed,
    ProductRepeated,
    ProductUnavailable,
    ProductUnknown,
    UserFailed,
    UserUnavailable,
)
from services.billing.neighbours import Neighbours
from services.billing.orders import OrderItem, Orders
from services.billing.schemas import BillShape, DeliveryEvent, DeliveryRequest, DeliveryShape, NewBill, bill_shape
from services.common.callers import SignedInUser
from services.common.ids import ID_PATTERN
from services.common.pages import Cursor, Limit, Page, PageRequest
from services.common.problems import documented

IDEMPOTENCY_HEADER = "Idempotency-Key"

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")
_IDEMPOTENCY_PARAMETER = {
    "name": IDEMPOTENCY_HEADER,
    "in": "header",
    "required": True,
    "description": "A key of your choice. The same request with the same key gets the same answer for 24 hours. Use a "
    "new key for each new order.",
    "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"},
}

BillId = Annotated[str, Path(pattern=ID_PATTERN)]
DeliveryId = Annotated[str, Path(pattern=ID_PATTERN)]


async def _idempotency_key(request: Request) -> str:
    """Return the idempotency key. FastAPI's own check would answer 422, and a missing key is a 400."""
    keys = request.headers.getlist(IDEMPOTENCY_HEADER)
    if len(keys) != 1 or not _VISIBLE_ASCII.fullmatch(keys[0]):
        raise IdempotencyKeyMissing
    return keys[0]


def add_routes(
    routes: APIRouter, *, orders: Orders, bills: Bills, deliveries: Deliveries, neighbours: Neighbours
) -> None:
    """Add the routes for these orders, bills and deliveries. `neighbours` tell the name of an invoice's customer."""

    async def visible_bill(bill_id: BillId, caller: SignedInUser) -> Bill:
        return await bills.get(bill_id, caller)

    _add_bill_routes(routes, orders, bills)
    _add_routes_of_a_bill(routes, visible_bill, deliveries, neighbours)
    _add_delivery_routes(routes, deliveries)


def _add_bill_routes(routes: APIRouter, orders: Orders, bills: Bills) -> None:
    @routes.post(
        "/bills",
        status_code=201,
        tags=["bills"],
        openapi_extra={"parameters": [_IDEMPOTENCY_PARAMETER]},
        responses=REFUSALS
        | documented(
            IdempotencyKeyMissing,
            IdempotencyKeyReused,
            BillInProgress,
            ProductRepeated,
            ProductUnknown,
            CurrenciesMixed,
            OutOfStock,
            OrderGivenUp,
            ProductUnavailable,
            ProductFailed,
            body=True,
        ),
    )
    async def make_bill(
        caller: SignedInUser, key: Annotated[str, Depends(_idempotency_key)], body: NewBill
    ) -> BillShape:
        """Issue a bill at the present prices. The items are sold, or the request is refused and nothing is sold.

        After a 502 or 503, send the same request again with the same key.
        """
        items = [OrderItem(item.product_id, item.quantity) for item in body.items]
        return bill_shape(await orders.place(caller, items, key))

    @routes.get("/bills", tags=["bills"], responses=REFUSALS | documented())
    async def list_bills(caller: SignedInUser, limit: Limit = 20, cursor: Cursor = None) -> Page[BillShape]:
        """List the caller's bills, the latest first. Administrators get the bills of all users."""
        items, next_cursor = await bills.page(caller, PageRequest.parse(limit, cursor))
        return Page(items=[bill_shape(item) for item in items], next_cursor=next_cursor)


def _add_routes_of_a_bill(
    routes: APIRouter, visible_bill: Callable[..., Awaitable[Bill]], deliveries: Deliveries, neighbours: Neighbours
) -> None:
    """Add the routes below one bill. The dependency `visible_bill` finds the bill if the caller may see it."""

    @routes.get("/bills/{bill_id}", tags=["bills"], responses=REFUSALS | documented(BillNotFound))
    async def get_bill(bill: Annotated[Bill, Depends(visible_bill)]) -> BillShape:
        """Get one bill."""
        return bill_shape(bill)

    @routes.get(
        "/bills/{bill_id}/invoice",
        tags=["bills"],
        response_class=HTMLResponse,
        responses=REFUSALS | documented(BillNotFound, UserUnavailable, UserFailed),
    )
    async def get_invoice(bill: Annotated[Bill, Depends(visible_bill)]) -> HTMLResponse:
        """Get the invoice of a bill, an HTML page to print."""
        customer = await neighbours.customer(bill.uid)
        delivery = await deliveries.find(bill)
        return HTMLResponse(invoice.page(bill, customer, delivery), headers=invoice.HEADERS)

    @routes.post(
        "/bills/{bill_id}/delivery",
        status_code=202,
        tags=["deliveries"],
        responses=REFUSALS
        | documented(BillNotFound, AddressMissing, AddressFixed, UserUnavailable, UserFailed, body=True),
    )
    async def request_delivery(
        bill: Annotated[Bill, Depends(visible_bill)], body: DeliveryRequest | None = None
    ) -> DeliveryShape:
        """Request the delivery of a bill. A repeated request returns the same delivery."""
        address = None if body is None or body.address is None else body.address.model_dump()
        return DeliveryShape.model_validate(await deliveries.request(bill, address))

    @routes.get(
        "/bills/{bill_id}/delivery",
        tags=["deliveries"],
        responses=REFUSALS | documented(BillNotFound, DeliveryNotFound),
    )
    async def get_delivery(bill: Annotated[Bill, Depends(visible_bill)]) -> DeliveryShape:
        """Get the delivery of a bill."""
        return DeliveryShape.model_validate(await deliveries.of(bill))


def _add_delivery_routes(routes: APIRouter, deliveries: Deliveries) -> None:
    @routes.post(
        "/deliveries/{delivery_id}/events",
        tags=["for services"],
        dependencies=[Depends(allow(services={"delivery"}))],
        responses=REFUSALS | documented(DeliveryNotFound, body=True),
    )
    async def report_event(delivery_id: DeliveryId, event: DeliveryEvent) -> DeliveryShape:
        """Report what happened to a delivery. A repeated or late report changes nothing."""
        return DeliveryShape.model_validate(await deliveries.report(delivery_id, event.status))
