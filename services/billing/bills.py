"""Bills: what was bought, at which price, once."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from mstoken import UserCaller
from services.billing.faults import (
    BillNotFound,
    CurrenciesMixed,
    IdempotencyKeyReused,
    OutOfStock,
    ProductRepeated,
    ProductUnknown,
)
from services.billing.neighbours import Neighbours, ProductOffer
from services.common.ids import new_id
from services.common.pages import PageRequest, cut

ADMIN_ROLE = "admin"
MAX_ITEMS = 100
MAX_QUANTITY = 1000
"""With the highest price, 10^8 minor units, a total stays below 10^13: whole in SQL, and in JavaScript too."""


@dataclass(frozen=True, slots=True)
class Item:
    """What is asked for."""

    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a bill: name and `unit_amount` are the product's at the time of the bill."""

    product_id: str
    name: str
    unit_amount: int
    quantity: int

    @property
    def amount(self) -> int:
        """What the line comes to, in minor units."""
        return self.unit_amount * self.quantity


@dataclass(frozen=True, slots=True)
class Bill:
    """A bill of the user `uid`, all of it in `currency`."""

    id: str
    uid: str
    status: str
    created_at: datetime
    currency: str
    lines: Sequence[Line]

    @property
    def total(self) -> int:
        """What the bill comes to, in minor units."""
        return sum(line.amount for line in self.lines)


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A user's name for one request, with a fingerprint of what it asks for.

    Source: draft-ietf-httpapi-idempotency-key-header, sections 2.2 to 2.6.
    """

    value: str
    fingerprint: str

    @classmethod
    def of(cls, value: str, items: Sequence[Item]) -> "IdempotencyKey":
        """The key `value` on a request for `items`."""
        asked = json.dumps([[item.product_id, item.quantity] for item in items])
        return cls(value, hashlib.sha256(asked.encode()).hexdigest())


class Store(Protocol):
    """Where bills are kept; see `services.billing.store`."""

    async def add(self, bill: Bill, key: IdempotencyKey) -> bool: ...  # noqa: D102

    async def under_key(self, uid: str, key: str) -> tuple[Bill, str] | None: ...  # noqa: D102

    async def get(self, bill_id: str, uid: str | None) -> Bill | None: ...  # noqa: D102

    async def find(self, *, uid: str | None, before: str | None, limit: int) -> Sequence[Bill]: ...  # noqa: D102


class Bills:
    """The bills. A user sees their own, an administrator everyone's. Every call raises `DatabaseUnavailable`."""

    def __init__(self, store: Store, neighbours: Neighbours) -> None:
        self._store = store
        self._neighbours = neighbours

    async def make(self, buyer: UserCaller, items: Sequence[Item], key_value: str) -> Bill:
        """Makes the bill for `items`, or gives the one that the same request made before, under the buyer's key.

        Raises `IdempotencyKeyReused`, `ItemsRefused`, `OutOfStock`, `NeighbourUnavailable`, `NeighbourFailed`: then
        there is no bill.
        """
        key = IdempotencyKey.of(key_value, items)
        if (made := await self._made_before(buyer, key)) is not None:
            return made
        _check_each_product_once(items)
        offers = await self._neighbours.offers([item.product_id for item in items])
        bill = _priced(buyer.uid, items, offers)
        if await self._store.add(bill, key):
            return bill
        # The same request was quicker, in another task or process; what it has made is the bill.
        made = await self._made_before(buyer, key)
        assert made is not None  # noqa: S101 - bills are never deleted
        return made

    async def get(self, bill_id: str, viewer: UserCaller) -> Bill:
        """A bill that `viewer` may see. Raises `BillNotFound`, also for another's."""
        bill = await self._store.get(bill_id, _whose(viewer))
        if bill is None:
            raise BillNotFound
        return bill

    async def page(self, viewer: UserCaller, request: PageRequest) -> tuple[Sequence[Bill], str | None]:
        """A page of the bills that `viewer` may see, the latest first, and the cursor of the next."""
        found = await self._store.find(uid=_whose(viewer), before=request.after, limit=request.limit + 1)
        return cut(found, request.limit)

    async def _made_before(self, buyer: UserCaller, key: IdempotencyKey) -> Bill | None:
        found = await self._store.under_key(buyer.uid, key.value)
        if found is None:
            return None
        bill, fingerprint = found
        if fingerprint != key.fingerprint:
            raise IdempotencyKeyReused
        return bill


def _whose(viewer: UserCaller) -> str | None:
    """Whose bills are to be seen: None for everyone's."""
    return None if viewer.role == ADMIN_ROLE else viewer.uid


def _check_each_product_once(items: Sequence[Item]) -> None:
    seen: set[str] = set()
    for item in items:
        if item.product_id in seen:
            raise ProductRepeated(f"It is {item.product_id}.")
        seen.add(item.product_id)


def _priced(uid: str, items: Sequence[Item], offers: Mapping[str, ProductOffer]) -> Bill:
    """The bill for `items` at the prices of `offers`."""
    for item in items:
        if item.product_id not in offers:
            raise ProductUnknown(f"It is {item.product_id}.")
    currencies = {offers[item.product_id].price.currency for item in items}
    if len(currencies) > 1:
        raise CurrenciesMixed(f"These products are in {' and '.join(sorted(currencies))}.")
    for item in items:
        if (stock := offers[item.product_id].stock) < item.quantity:
            raise OutOfStock(f"There are {stock} of {item.product_id}.")
    lines = [_line(item, offers[item.product_id]) for item in items]
    return Bill(new_id(), uid, "issued", datetime.now(UTC), currencies.pop(), lines)


def _line(item: Item, offer: ProductOffer) -> Line:
    return Line(item.product_id, offer.name, offer.price.amount, item.quantity)
