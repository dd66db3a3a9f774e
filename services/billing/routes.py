"""The Billing service over HTTP."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import HTMLResponse

from mstoken.fastapi import REFUSALS, allow
from services.billing import invoice
from services.billing.bills import Bill, Bills, Item
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
from services.billing.orders import Orders
from services.billing.schemas import BillShape, DeliveryEvent, DeliveryRequest, DeliveryShape, Order
from services.common.callers import SignedInUser
from services.common.ids import ID_PATTERN
from services.common.pages import Page, PageQuery
from services.common.problems import documented

IDEMPOTENCY_HEADER = "Idempotency-Key"

_VISIBLE = re.compile(r"[\x21-\x7e]{1,255}")
_IDEMPOTENCY_PARAMETER = {
    "name": IDEMPOTENCY_HEADER,
    "in": "header",
    "required": True,
    "description": "A name of yours for this request. Sent again within 24 hours, it gives the same answer again.",
    "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,255}$"},
}

BillId = Annotated[str, Path(pattern=ID_PATTERN)]
DeliveryId = Annotated[str, Path(pattern=ID_PATTERN)]


def _idempotency_key(request: Request) -> str:
    """The one header of that name. FastAPI's own check would answer 422 where 400 is due."""
    keys = request.headers.getlist(IDEMPOTENCY_HEADER)
    if len(keys) != 1 or not _VISIBLE.fullmatch(keys[0]):
        raise IdempotencyKeyMissing
    return keys[0]


def router(orders: Orders, bills: Bills, deliveries: Deliveries, neighbours: Neighbours) -> APIRouter:
    """The routes over these orders, bills and deliveries; `neighbours` are asked whom an invoice is for."""

    async def visible_bill(bill_id: BillId, caller: SignedInUser) -> Bill:
        return await bills.get(bill_id, caller)

    routes = APIRouter()
    _add_bill_routes(routes, orders, bills)
    _add_routes_of_a_bill(routes, visible_bill, deliveries, neighbours)
    _add_delivery_routes(routes, deliveries)
    return routes


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
        caller: SignedInUser, key: Annotated[str, Depends(_idempotency_key)], order: Order
    ) -> BillShape:
        """Makes a bill, at the prices of this moment."""
        items = [Item(item.product_id, item.quantity) for item in order.items]
        return BillShape.of(await orders.place(caller, items, key))

    @routes.get("/bills", tags=["bills"], responses=REFUSALS | documented())
    async def list_bills(caller: SignedInUser, page: PageQuery) -> Page[BillShape]:
        """The caller's bills, the latest first; an administrator sees everyone's."""
        items, next_cursor = await bills.page(caller, page)
        return Page(items=[BillShape.of(item) for item in items], next_cursor=next_cursor)


def _add_routes_of_a_bill(
    routes: APIRouter, visible_bill: Callable[..., Awaitable[Bill]], deliveries: Deliveries, neighbours: Neighbours
) -> None:
    """The routes below one bill. `visible_bill` is the dependency that finds it, if the caller may see it."""

    @routes.get("/bills/{bill_id}", tags=["bills"], responses=REFUSALS | documented(BillNotFound))
    async def get_bill(bill: Annotated[Bill, Depends(visible_bill)]) -> BillShape:
        """One bill."""
        return BillShape.of(bill)

    @routes.get(
        "/bills/{bill_id}/invoice",
        tags=["bills"],
        response_class=HTMLResponse,
        responses=REFUSALS | documented(BillNotFound, UserUnavailable, UserFailed),
    )
    async def get_invoice(bill: Annotated[Bill, Depends(visible_bill)]) -> HTMLResponse:
        """The bill as a page to print."""
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
        """Asks for the bill's delivery; asked for again, answers with the one that there is."""
        address = None if body is None or body.address is None else body.address.model_dump()
        return DeliveryShape.model_validate(await deliveries.request(bill, address))

    @routes.get(
        "/bills/{bill_id}/delivery",
        tags=["deliveries"],
        responses=REFUSALS | documented(BillNotFound, DeliveryNotFound),
    )
    async def get_delivery(bill: Annotated[Bill, Depends(visible_bill)]) -> DeliveryShape:
        """How far the bill's delivery has come."""
        return DeliveryShape.model_validate(await deliveries.of(bill))


def _add_delivery_routes(routes: APIRouter, deliveries: Deliveries) -> None:
    @routes.post(
        "/deliveries/{delivery_id}/events",
        tags=["for services"],
        dependencies=[Depends(allow(services={"delivery"}))],
        responses=REFUSALS | documented(DeliveryNotFound, body=True),
    )
    async def report_event(delivery_id: DeliveryId, event: DeliveryEvent) -> DeliveryShape:
        """Records what happened to a delivery. What is repeated or late changes nothing."""
        return DeliveryShape.model_validate(await deliveries.report(delivery_id, event.status))
