"""The shapes of Billing's requests and answers."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from services.billing.bills import MAX_LINES, MAX_QUANTITY, Bill, BillLine
from services.billing.deliveries import DeliveryStatus, ReportedStatus
from services.common.shapes import WHOLE, Address, StrictShape, Sum


class OrderItemShape(StrictShape):
    """A product to order, and how many of it."""

    model_config = ConfigDict(title="OrderItem")

    product_id: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9_-]{1,32}$")]
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY), WHOLE]


class NewBill(StrictShape):
    """The items to issue a bill for. Each product may appear only once."""

    items: Annotated[list[OrderItemShape], Field(min_length=1, max_length=MAX_LINES)]


class BillLineShape(BaseModel):
    """A line of a bill. Name and price are those of the product when the bill was issued."""

    model_config = ConfigDict(title="BillLine")

    product_id: str
    name: str
    quantity: int
    unit_price: Sum
    amount: Sum

    @classmethod
    def of(cls, line: BillLine, currency: str) -> Self:
        """Return the shape of a line."""
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
    lines: list[BillLineShape]
    total: Sum

    @classmethod
    def of(cls, bill: Bill) -> Self:
        """Return the shape of a bill."""
        return cls(
            id=bill.id,
            user_id=bill.uid,
            status=bill.status,
            created_at=bill.created_at,
            lines=[BillLineShape.of(line, bill.currency) for line in bill.lines],
            total=Sum(amount=bill.total, currency=bill.currency),
        )


class DeliveryRequest(StrictShape):
    """Where to deliver. Without an address, the one in the user's profile is used."""

    address: Address | None = None


class DeliveryEvent(StrictShape):
    """What happened to a delivery."""

    status: ReportedStatus


class DeliveryShape(BaseModel):
    """The delivery of a bill."""

    model_config = ConfigDict(from_attributes=True, title="Delivery")

    id: str
    bill_id: str
    status: DeliveryStatus
    address: Address
    created_at: datetime
    updated_at: datetime
