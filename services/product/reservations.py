"""Reservations: items that are taken out of stock for a bill, until they are sold or put back.

              hold                      commit
    (none) ─────────▶ held ─────────────────────────▶ committed
       │              │  ▲ │
       │       expire │  │ │ hold
       │              ▼  │ │
       │            expired│
       │              │    │ release
       │ release      ▼    ▼
       └──────────▶ released

For each product, stock + held + committed changes only when an administrator sets the stock. `committed` and `released`
are final: a request to hold that arrives after the release of the same bill holds nothing. What became of a reservation
is forgotten after 30 days.

The functions `after_…` decide what follows from the present reservation and the time. The store locks, loads and saves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from services.common.background import BATCH, in_batches
from services.common.backlog import LATER, SOON, Backlog
from services.common.times import Clock, utc_now
from services.product.catalogue import Product
from services.product.errors import (
    OutOfStock,
    ProductUnknown,
    ReservationCommitted,
    ReservationDiffers,
    ReservationExpired,
    ReservationNotFound,
    ReservationReleased,
)

if TYPE_CHECKING:
    from services.product.store import ReservationStore

HOLD = timedelta(minutes=5)
"""How long items are held for a bill that is neither issued nor given up."""

MAX_HOLD = 2 * HOLD
"""A reservation that expires later than this is due: no clock that is right has written it. It is twice as long as a
hold, because the clocks of processes differ."""

SWEEP_SECONDS = 5.0
"""Seconds between two searches of a process for reservations that were held for too long."""

SWEEP_BATCH = 100
"""Maximum number of reservations that one search puts back."""

REMEMBER = timedelta(days=30)
"""How long Product knows what became of a reservation. Billing relies on it (its `PRODUCT_REMEMBERS`)."""

FORGET_SECONDS = 600.0
"""Seconds between two searches of a process for what it may forget."""

ReservationStatus: TypeAlias = Literal["held", "committed", "released", "expired"]


@dataclass(frozen=True, slots=True)
class ReservationItem:
    """A product to reserve, and how many units of it."""

    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class ReservationLine:
    """A reserved product. `name` and `amount`, the price of one in minor units, are those of the first reservation."""

    product_id: str
    name: str
    amount: int
    currency: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """The reservation of a bill. While it is held, it may expire at `expires_at` or later."""

    bill_id: str
    status: ReservationStatus
    expires_at: datetime
    lines: Sequence[ReservationLine] = ()

    @property
    def items(self) -> list[ReservationItem]:
        """The products and quantities that are reserved."""
        return [ReservationItem(line.product_id, line.quantity) for line in self.lines]

    @property
    def takes_stock(self) -> bool:
        """Whether its items are taken out of stock."""
        return self.status in ("held", "committed")


def after_hold(
    present: Reservation | None, bill_id: str, items: Sequence[ReservationItem], now: datetime
) -> Reservation:
    """Return the bill's reservation after a request to hold `items`. A new one has no lines yet.

    Raises `ReservationReleased` and `ReservationDiffers`.
    """
    if present is None:
        return Reservation(bill_id, "held", now + HOLD)
    if present.status == "released":
        raise ReservationReleased
    if present.items != list(items):
        raise ReservationDiffers
    if present.status == "expired":
        return replace(present, status="held", expires_at=now + HOLD)
    return present


def after_commit(present: Reservation | None) -> Reservation:
    """Return the reservation after a request to sell its items.

    Raises `ReservationNotFound`, `ReservationExpired` and `ReservationReleased`.
    """
    if present is None:
        raise ReservationNotFound
    if present.status == "expired":
        raise ReservationExpired
    if present.status == "released":
        raise ReservationReleased
    return replace(present, status="committed")


def after_release(present: Reservation | None, bill_id: str, now: datetime) -> Reservation:
    """Return the bill's reservation after a request to release it. Raises `ReservationCommitted`."""
    if present is None:
        return Reservation(bill_id, "released", now)
    if present.status == "committed":
        raise ReservationCommitted
    return replace(present, status="released")


def after_expiry(present: Reservation | None, now: datetime) -> Reservation:
    """Return the reservation after its expiry; unchanged if it is not held, or has not expired at `now`.

    Raises `ReservationNotFound`.
    """
    if present is None:
        raise ReservationNotFound
    is_due = present.status == "held" and not now < present.expires_at <= now + MAX_HOLD
    return replace(present, status="expired") if is_due else present


def lines_of(items: Sequence[ReservationItem], products: Mapping[str, Product]) -> list[ReservationLine]:
    """Return the lines for `items`, with the names and prices of `products`, which are by their ids.

    Raises `ProductUnknown`, and `OutOfStock` if there are not enough units of a product.
    """
    lines = []
    for item in items:
        product = products.get(item.product_id)
        if product is None:
            raise ProductUnknown(f"There is no product {item.product_id}.")
        if product.stock < item.quantity:
            raise OutOfStock(f"Product {product.id}: {product.stock} in stock, {item.quantity} requested.")
        lines.append(ReservationLine(product.id, product.name, product.amount, product.currency, item.quantity))
    return lines


class Reservations:
    """The reservations, at most one for each bill. Every call may be repeated, and raises `DatabaseUnavailable`."""

    def __init__(self, store: "ReservationStore", *, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def hold(self, bill_id: str, items: Sequence[ReservationItem]) -> tuple[Reservation, bool]:
        """Hold all the items or none, and return the reservation and whether it is new. `items` name no product twice.

        If the bill has a reservation, that one is returned. If it has expired, the items are held again if there are
        enough in stock, with the names and prices that they had. Raises `ProductUnknown`, `OutOfStock`,
        `ReservationDiffers` and `ReservationReleased`; then nothing changes.
        """
        decide = partial(after_hold, bill_id=bill_id, items=items, now=self._clock())
        before, after = await self._store.change(bill_id, decide, items)
        return after, before is None

    async def commit(self, bill_id: str) -> None:
        """Sell the items that are held for the bill. This is final.

        Raises `ReservationNotFound`, `ReservationExpired` and `ReservationReleased`.
        """
        # Nearly always it is held, and then one statement is enough.
        if not await self._store.sell(bill_id):
            await self._store.change(bill_id, after_commit)

    async def release(self, bill_id: str) -> None:
        """Put back what is held for the bill. Nothing can be held for it afterwards. Raises `ReservationCommitted`."""
        await self._store.change(bill_id, partial(after_release, bill_id=bill_id, now=self._clock()))

    async def release_expired(self) -> int:
        """Put back what has been held for too long, and return for how many bills.

        Several processes may do this at the same time.
        """
        expired = 0
        for bill_id in await self._store.expired(at=self._clock(), limit=SWEEP_BATCH):
            before, after = await self._store.change(bill_id, partial(after_expiry, now=self._clock()))
            expired += before != after
        return expired

    async def forget(self) -> None:
        """Delete what became of reservations, and the stock of deleted products, after the time to remember it."""
        before = self._clock() - REMEMBER
        await in_batches(lambda: self._store.forget(before=before, limit=BATCH))
        await in_batches(lambda: self._store.forget_products(before=before, limit=BATCH))

    async def overdue(self) -> Backlog:
        """Measure how many reservations should have been put back, and since when."""
        now = self._clock()
        return Backlog.of("expired reservations", await self._store.waiting(at=now), now, SOON)

    async def unforgotten(self) -> Backlog:
        """Measure how many reservations should have been forgotten, and since when."""
        before = self._clock() - REMEMBER
        return Backlog.of("old reservations", await self._store.forgettable(before=before), before, LATER)
