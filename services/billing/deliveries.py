"""Deliveries: asked for once a bill, and then they only go forward."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeAlias

from services.billing.bills import Bill
from services.billing.errors import AddressFixed, AddressMissing, DeliveryNotFound
from services.billing.neighbours import Neighbours
from services.common.ids import new_id

Status: TypeAlias = Literal["requested", "dispatched", "delivered", "failed"]
Event: TypeAlias = Literal["dispatched", "delivered", "failed"]

EARLIER: Mapping[Event, Sequence[Status]] = {
    "dispatched": ("requested",),
    "delivered": ("requested", "dispatched"),
    "failed": ("requested", "dispatched"),
}
"""From where an event leads on. From anywhere else it is repeated, or late, and changes nothing."""
ENDS: Collection[Status] = frozenset({"delivered", "failed"})
"""Where no event leads on from."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of a bill to an address, as it stands on the wire."""

    id: str
    bill_id: str
    status: Status
    address: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime


class Store(Protocol):
    """Where deliveries are kept; see `services.billing.store`."""

    async def add(self, delivery: Delivery) -> bool: ...  # noqa: D102

    async def of_bill(self, bill_id: str) -> Delivery | None: ...  # noqa: D102

    async def advance(  # noqa: D102
        self, delivery_id: str, *, to: Event, from_any_of: Sequence[Status], at: datetime
    ) -> Delivery | None: ...


class Deliveries:
    """The deliveries. Every call raises `DatabaseUnavailable`."""

    def __init__(self, store: Store, neighbours: Neighbours) -> None:
        self._store = store
        self._neighbours = neighbours

    async def request(self, bill: Bill, address: Mapping[str, Any] | None) -> Delivery:
        """Asks for the delivery of `bill` to `address`, or else to the one in its user's profile.

        Asked for again, it is the delivery that there is. Raises `AddressFixed` where that goes to another address
        than the one given now, `AddressMissing`, `NeighbourUnavailable` and `NeighbourFailed`.
        """
        there_is = await self._store.of_bill(bill.id)
        if there_is is None:
            now = datetime.now(UTC)
            where = address or await self._address_of(bill.uid)
            delivery = Delivery(new_id(), bill.id, "requested", where, now, now)
            if await self._store.add(delivery):
                return delivery
            there_is = await self.of(bill)
        if address is not None and there_is.address != address:
            raise AddressFixed
        return there_is

    async def of(self, bill: Bill) -> Delivery:
        """The delivery of a bill. Raises `DeliveryNotFound` where none was asked for."""
        delivery = await self.find(bill)
        if delivery is None:
            raise DeliveryNotFound
        return delivery

    async def find(self, bill: Bill) -> Delivery | None:
        """The delivery of a bill, or None where none was asked for."""
        return await self._store.of_bill(bill.id)

    async def report(self, delivery_id: str, event: Event) -> Delivery:
        """Records what happened to a delivery: requested, dispatched, then delivered or failed, never back.

        Raises `DeliveryNotFound`.
        """
        delivery = await self._store.advance(delivery_id, to=event, from_any_of=EARLIER[event], at=datetime.now(UTC))
        if delivery is None:
            raise DeliveryNotFound
        return delivery

    async def _address_of(self, uid: str) -> Mapping[str, Any]:
        customer = await self._neighbours.customer(uid)
        if customer is None or customer.address is None:
            raise AddressMissing
        return customer.address.model_dump()
