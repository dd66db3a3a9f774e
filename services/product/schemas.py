"""The Product service's shapes on the wire."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from services.common.shapes import WHOLE, Money, Name, Shape, Text
from services.product.catalogue import Product

Stock = Annotated[int, Field(ge=0, le=1_000_000, description="How many there are."), WHOLE]


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


def columns(changes: ProductChanges) -> dict[str, Any]:
    """The fields of `Product` that `changes` names."""
    named: dict[str, Any] = dict(changes)
    price = named.pop("price", None)
    return named if price is None else named | {"amount": price.amount, "currency": price.currency}
