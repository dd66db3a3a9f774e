"""Deliveries: each bill has at most one, and its status only goes forward."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from services.billing.bills import Bill
from services.billing.errors import AddressFixed, AddressMissing, DeliveryNotFound
from services.billing.neighbours import Neighbours
from services.common.ids import new_id
from services.common.measures import DELIVERIES, DELIVERY_STATUS
from services.common.times import Clock, utc_now

if TYPE_CHECKING:
    from services.billing.store import DeliveryStore

DeliveryStatus: TypeAlias = Literal["requested", "dispatched", "delivered", "failed"]
ReportedStatus: TypeAlias = Literal["dispatched", "delivered", "failed"]
"""A status that the function `deliver` reports."""

EARLIER_STATUSES: Mapping[ReportedStatus, Sequence[DeliveryStatus]] = {
    "dispatched": ("requested",),
    "delivered": ("requested", "dispatched"),
    "failed": ("requested", "dispatched"),
}
"""The statuses that a reported one may follow. In any other status the report is repeated or late, and is ignored."""
FINAL_STATUSES: Collection[DeliveryStatus] = frozenset({"delivered", "failed"})


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of a bill. `address` has the fields of `services.common.shapes.Address`."""

    id: str
    bill_id: str
    status: DeliveryStatus
    address: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


class Deliveries:
    """The deliveries. Every call raises `DatabaseUnavailable`."""

    def __init__(self, store: "DeliveryStore", neighbours: Neighbours, *, clock: Clock = utc_now) -> None:
        self._store = store
        self._neighbours = neighbours
        self._clock = clock

    async def request(self, bill: Bill, address: Mapping[str, Any] | None) -> Delivery:
        """Request the delivery of `bill`, and return it. If it was requested before, return the existing delivery.

        Without `address` it goes to the address in the user's profile. Raises `AddressFixed` if the existing delivery
        goes to another address, `AddressMissing`, `UserUnavailable` and `UserFailed`.
        """
        existing = await self._store.of_bill(bill.id)
        if existing is None:
            now = self._clock()
            destination = address or await self._address_of(bill.uid)
            delivery = Delivery(new_id(), bill.id, "requested", destination, now, now)
            if await self._store.add(delivery):
                DELIVERIES.add(1, {DELIVERY_STATUS: delivery.status})
                return delivery
            existing = await self.of(bill)
        if address is not None and existing.address != address:
            raise AddressFixed
        return existing

    async def of(self, bill: Bill) -> Delivery:
        """Return the delivery of a bill. Raises `DeliveryNotFound` if none was requested."""
        delivery = await self.find(bill)
        if delivery is None:
            raise DeliveryNotFound
        return delivery

    async def find(self, bill: Bill) -> Delivery | None:
        """Return the delivery of a bill; None if none was requested."""
        return await self._store.of_bill(bill.id)

    async def report(self, delivery_id: str, status: ReportedStatus) -> Delivery:
        """Record a reported status, and return the delivery. A repeated or late report changes nothing.

        Raises `DeliveryNotFound`.
        """
        now = self._clock()
        delivery = await self._store.advance(delivery_id, to=status, from_any_of=EARLIER_STATUSES[status], at=now)
        if delivery is None:
            raise DeliveryNotFound
        if delivery.status == status and delivery.updated_at == now:
            DELIVERIES.add(1, {DELIVERY_STATUS: status})
        return delivery

    async def _address_of(self, uid: str) -> Mapping[str, Any]:
        customer = await self._neighbours.customer(uid)
        if customer is None or customer.address is None:
            raise AddressMissing
        return customer.address.model_dump()
