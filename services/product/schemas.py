"""The Product service's shapes on the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, with_config
from typing_extensions import TypedDict

from services.common.ids import Id
from services.common.shapes import WHOLE, Money, Name, Shape, Text
from services.product.catalogue import Product
from services.product.reservations import Line, Reservation, Status

Stock = Annotated[int, Field(ge=0, le=1_000_000, description="How many can still be bought."), WHOLE]


class NewProduct(Shape):
    """A product to add."""

    name: Name
    description: Text = ""
    price: Money
    stock: Stock


@with_config(ConfigDict(strict=True, extra="forbid"))
class ProductChanges(TypedDict, total=False):
    """What to change of a product; what is left out stays."""

    name: Name
    description: Text
    price: Money
    stock: Stock


class ProductShape(BaseModel):
    """A product."""

    model_config = ConfigDict(title="Product")

    id: str
    name: str
    description: str
    price: Money
    stock: int

    @classmethod
    def of(cls, product: Product) -> Self:
        """The product as it goes on the wire."""
        return cls(
            id=product.id,
            name=product.name,
            description=product.description,
            price=Money(amount=product.amount, currency=product.currency),
            stock=product.stock,
        )


class ItemShape(Shape):
    """So many of a product."""

    model_config = ConfigDict(title="Item")

    product_id: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,32}$")]
    quantity: Annotated[int, Field(ge=1, le=1_000_000), WHOLE]


def _each_product_once(items: Sequence[ItemShape]) -> Sequence[ItemShape]:
    if len({item.product_id for item in items}) < len(items):
        raise ValueError("a product stands in it twice")
    return items


class NewReservation(Shape):
    """What to hold for a bill. Each product stands in it once."""

    bill_id: Id
    items: Annotated[list[ItemShape], Field(min_length=1, max_length=100), AfterValidator(_each_product_once)]


class LineShape(BaseModel):
    """A line of a reservation: name and price as they were when the bill first reserved it."""

    model_config = ConfigDict(title="Line")

    product_id: str
    name: str
    price: Money
    quantity: int

    @classmethod
    def of(cls, line: Line) -> Self:
        """The line as it goes on the wire."""
        price = Money(amount=line.amount, currency=line.currency)
        return cls(product_id=line.product_id, name=line.name, price=price, quantity=line.quantity)


class ReservationShape(BaseModel):
    """What is reserved for a bill. A held one may be given back from `expires_at` on."""

    model_config = ConfigDict(title="Reservation")

    bill_id: str
    status: Status
    expires_at: datetime
    lines: list[LineShape]

    @classmethod
    def of(cls, reservation: Reservation) -> Self:
        """The reservation as it goes on the wire."""
        return cls(
            bill_id=reservation.bill_id,
            status=reservation.status,
            expires_at=reservation.expires_at,
            lines=[LineShape.of(line) for line in reservation.lines],
        )


def columns(changes: ProductChanges) -> dict[str, Any]:
    """The fields of `Product` that `changes` names."""
    named: dict[str, Any] = dict(changes)
    price = named.pop("price", None)
    return named if price is None else named | {"amount": price.amount, "currency": price.currency}
