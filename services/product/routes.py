"""The routes of Product."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from mstoken.fastapi import REFUSALS, allow
from services.common.ids import ID_PATTERN
from services.common.pages import Cursor, Limit, Page, PageRequest
from services.common.problems import documented
from services.common.shapes import PRINTABLE_LINE
from services.product.catalogue import Catalogue
from services.product.errors import (
    OutOfStock,
    ProductNotFound,
    ProductUnknown,
    ReservationCommitted,
    ReservationDiffers,
    ReservationExpired,
    ReservationNotFound,
    ReservationReleased,
)
from services.product.reservations import ReservationItem, Reservations
from services.product.schemas import (
    NewProduct,
    NewReservation,
    ProductChanges,
    ProductShape,
    ReservationShape,
    product_changes,
    product_shape,
    reservation_shape,
)

MAX_IDS = 100


_READERS = [Depends(allow(users=True, services={"billing"}))]
_ADMINS = [Depends(allow(users={"admin"}))]
_BILLING = [Depends(allow(services={"billing"}))]

ProductId = Annotated[str, Path(pattern=ID_PATTERN)]
BillId = Annotated[str, Path(pattern=ID_PATTERN)]
Ids = Annotated[
    str | None,
    Query(
        pattern=rf"^[A-Za-z0-9_-]{{1,64}}(,[A-Za-z0-9_-]{{1,64}}){{0,{MAX_IDS - 1}}}$",
        description=f"Only products with these ids: up to {MAX_IDS}, separated by commas. Unknown ids are ignored.",
    ),
]
Words = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=100,
        pattern=PRINTABLE_LINE,
        description="Only products that have all of these words in their name or description. Each may be the "
        "beginning of a word. Case, accents and punctuation do not matter.",
    ),
]


def add_routes(routes: APIRouter, *, catalogue: Catalogue, reservations: Reservations) -> None:
    """Add the routes for this catalogue and these reservations."""
    _add_product_routes(routes, catalogue)
    _add_reservation_routes(routes, reservations)


def _add_product_routes(routes: APIRouter, catalogue: Catalogue) -> None:
    @routes.get("/products", tags=["products"], dependencies=_READERS, responses=REFUSALS | documented())
    async def list_products(
        ids: Ids = None, q: Words = None, limit: Limit = 20, cursor: Cursor = None
    ) -> Page[ProductShape]:
        """List products, the oldest first."""
        id_set = None if ids is None else set(ids.split(","))
        items, next_cursor = await catalogue.page(PageRequest.parse(limit, cursor), ids=id_set, words=q)
        return Page(items=[product_shape(item) for item in items], next_cursor=next_cursor)

    @routes.get(
        "/products/{product_id}",
        tags=["products"],
        dependencies=_READERS,
        responses=REFUSALS | documented(ProductNotFound),
    )
    async def get_product(product_id: ProductId) -> ProductShape:
        """Get one product."""
        return product_shape(await catalogue.get(product_id))

    @routes.post(
        "/products",
        status_code=201,
        tags=["products"],
        dependencies=_ADMINS,
        responses=REFUSALS | documented(body=True),
    )
    async def add_product(body: NewProduct) -> ProductShape:
        """Add a product."""
        price = body.price
        return product_shape(
            await catalogue.add(body.name, body.description, price["amount"], price["currency"], body.stock)
        )

    @routes.patch(
        "/products/{product_id}",
        tags=["products"],
        dependencies=_ADMINS,
        responses=REFUSALS | documented(ProductNotFound, body=True),
    )
    async def change_product(product_id: ProductId, changes: ProductChanges) -> ProductShape:
        """Change the fields of a product that are sent. Existing bills keep their prices."""
        return product_shape(await catalogue.change(product_id, product_changes(changes)))

    @routes.delete(
        "/products/{product_id}",
        status_code=204,
        tags=["products"],
        dependencies=_ADMINS,
        responses=REFUSALS | documented(ProductNotFound),
    )
    async def delete_product(product_id: ProductId) -> None:
        """Delete a product. Existing bills keep its name and price."""
        await catalogue.remove(product_id)


def _add_reservation_routes(routes: APIRouter, reservations: Reservations) -> None:
    @routes.post(
        "/reservations",
        status_code=201,
        tags=["for services"],
        dependencies=_BILLING,
        responses=REFUSALS
        | {200: {"model": ReservationShape, "description": "The bill has this reservation already."}}
        | documented(ProductUnknown, OutOfStock, ReservationDiffers, ReservationReleased, body=True),
    )
    async def reserve(body: NewReservation, response: Response) -> ReservationShape:
        """Take items out of stock for a bill, all of them or none. A repeated request returns the same reservation."""
        items = [ReservationItem(item.product_id, item.quantity) for item in body.items]
        reservation, is_new = await reservations.hold(body.bill_id, items)
        response.status_code = 201 if is_new else 200
        return reservation_shape(reservation)

    @routes.post(
        "/reservations/{bill_id}/commit",
        status_code=204,
        tags=["for services"],
        dependencies=_BILLING,
        responses=REFUSALS | documented(ReservationNotFound, ReservationExpired, ReservationReleased),
    )
    async def commit_reservation(bill_id: BillId) -> None:
        """Sell the items that are reserved for a bill. This is final; a repeated request changes nothing."""
        await reservations.commit(bill_id)

    @routes.delete(
        "/reservations/{bill_id}",
        status_code=204,
        tags=["for services"],
        dependencies=_BILLING,
        responses=REFUSALS | documented(ReservationCommitted),
    )
    async def release_reservation(bill_id: BillId) -> None:
        """Put the items that are reserved for a bill back in stock. Nothing can be reserved for the bill afterwards.

        A repeated request changes nothing.
        """
        await reservations.release(bill_id)
