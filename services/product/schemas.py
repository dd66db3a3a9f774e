"""The shapes of Product's requests and answers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, with_config
from typing_extensions import TypedDict

from services.common.ids import Id
from services.common.shapes import WHOLE, Money, Name, StrictShape, Text
from services.product.catalogue import Product
from services.product.reservations import Reservation, ReservationLine, ReservationStatus

Stock = Annotated[int, Field(ge=0, le=1_000_000, description="How many can still be bought."), WHOLE]


class NewProduct(StrictShape):
    """A product to add."""

    name: Name
    description: Text = ""
    price: Money
    stock: Stock


@with_config(ConfigDict(strict=True, extra="forbid"))
class ProductChanges(TypedDict, total=False):
    """The fields of a product to change. A field that is left out keeps its value; none can be null."""

    name: Name
    description: Text
    price: Money
    stock: Stock


@with_config(ConfigDict(title="Product"))
class ProductShape(TypedDict):
    """A product. `stock` is how many can still be bought."""

    id: str
    name: str
    description: str
    price: Money
    stock: int


def product_shape(product: Product) -> ProductShape:
    """Return the shape of a product."""
    return {
        "id": product.id,
        "name": product.name,
        "description": product.description,
        "price": {"amount": product.amount, "currency": product.currency},
        "stock": product.stock,
    }


class ReservationItemShape(StrictShape):
    """A product to reserve, and how many of it."""

    model_config = ConfigDict(title="ReservationItem")

    product_id: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,32}$")]
    quantity: Annotated[int, Field(ge=1, le=1_000_000), WHOLE]


def _each_product_once(items: Sequence[ReservationItemShape]) -> Sequence[ReservationItemShape]:
    if len({item.product_id for item in items}) < len(items):
        raise ValueError("each product may appear only once")
    return items


class NewReservation(StrictShape):
    """The items to reserve for a bill. Each product may appear only once."""

    bill_id: Id
    items: Annotated[
        list[ReservationItemShape], Field(min_length=1, max_length=100), AfterValidator(_each_product_once)
    ]


@with_config(ConfigDict(title="ReservationLine"))
class ReservationLineShape(TypedDict):
    """A reserved product. Name and price are those of the first reservation for the bill."""

    product_id: str
    name: str
    price: Money
    quantity: int


def _line_shape(line: ReservationLine) -> ReservationLineShape:
    return {
        "product_id": line.product_id,
        "name": line.name,
        "price": {"amount": line.amount, "currency": line.currency},
        "quantity": line.quantity,
    }


@with_config(ConfigDict(title="Reservation"))
class ReservationShape(TypedDict):
    """The reservation of a bill. While it is `held`, it may expire at `expires_at` or later."""

    bill_id: str
    status: ReservationStatus
    expires_at: datetime
    lines: list[ReservationLineShape]


def reservation_shape(reservation: Reservation) -> ReservationShape:
    """Return the shape of a reservation."""
    return {
        "bill_id": reservation.bill_id,
        "status": reservation.status,
        "expires_at": reservation.expires_at,
        "lines": [_line_shape(line) for line in reservation.lines],
    }


def product_changes(changes: ProductChanges) -> dict[str, Any]:
    """Return the fields of `Product` to change, by their names."""
    fields: dict[str, Any] = dict(changes)
    fields.update(fields.pop("price", {}))
    return fields
