"""The shapes of Billing's requests and answers."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, with_config
from typing_extensions import TypedDict

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


@with_config(ConfigDict(title="BillLine"))
class BillLineShape(TypedDict):
    """A line of a bill. Name and price are those of the product when the bill was issued."""

    product_id: str
    name: str
    quantity: int
    unit_price: Sum
    amount: Sum


def _line_shape(line: BillLine, currency: str) -> BillLineShape:
    return {
        "product_id": line.product_id,
        "name": line.name,
        "quantity": line.quantity,
        "unit_price": {"amount": line.unit_amount, "currency": currency},
        "amount": {"amount": line.amount, "currency": currency},
    }


@with_config(ConfigDict(title="Bill"))
class BillShape(TypedDict):
    """A bill."""

    id: str
    user_id: str
    status: str
    created_at: datetime
    lines: list[BillLineShape]
    total: Sum


def bill_shape(bill: Bill) -> BillShape:
    """Return the shape of a bill."""
    return {
        "id": bill.id,
        "user_id": bill.uid,
        "status": bill.status,
        "created_at": bill.created_at,
        "lines": [_line_shape(line, bill.currency) for line in bill.lines],
        "total": {"amount": bill.total, "currency": bill.currency},
    }


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
