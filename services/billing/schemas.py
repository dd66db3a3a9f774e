"""The Billing service's shapes on the wire."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.billing.bills import MAX_ITEMS, MAX_QUANTITY, Bill, Line
from services.billing.deliveries import Event, Status
from services.common.shapes import WHOLE, Address, StrictShape, Sum


class ItemShape(StrictShape):
    """So many of a product."""

    model_config = ConfigDict(title="Item")

    product_id: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,32}$")]
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY), WHOLE]


class Order(StrictShape):
    """What to make a bill for. Each product stands in it once."""

    items: Annotated[list[ItemShape], Field(min_length=1, max_length=MAX_ITEMS)]


class LineShape(BaseModel):
    """A line of a bill: name and price as they were when it was made."""

    model_config = ConfigDict(title="Line")

    product_id: str
    name: str
    quantity: int
    unit_price: Sum
    amount: Sum

    @classmethod
    def of(cls, line: Line, currency: str) -> Self:
        """The line as it goes on the wire."""
        return cls(
            product_id=line.product_id,
            name=line.name,
            quantity=line.quantity,
            unit_price=Sum(amount=line.unit_amount, currency=currency),
            amount=Sum(amount=line.amount, currency=currency),
        )


class BillShape(BaseModel):
    """A bill."""

    model_config = ConfigDict(title="Bill")

    id: str
    user_id: str
    status: str
    created_at: datetime
    lines: list[LineShape]
    total: Sum

    @classmethod
    def of(cls, bill: Bill) -> Self:
        """The bill as it goes on the wire."""
        return cls(
            id=bill.id,
            user_id=bill.uid,
            status=bill.status,
            created_at=bill.created_at,
            lines=[LineShape.of(line, bill.currency) for line in bill.lines],
            total=Sum(amount=bill.total, currency=bill.currency),
        )


class DeliveryRequest(StrictShape):
    """Where to; without an address, to the one in the profile."""

    address: Address | None = None


class DeliveryEvent(StrictShape):
    """What happened to a delivery."""

    status: Event


class DeliveryShape(BaseModel):
    """A delivery."""

    model_config = ConfigDict(from_attributes=True, title="Delivery")

    id: str
    bill_id: str
    status: Status
    address: Address
    created_at: datetime
    updated_at: datetime
