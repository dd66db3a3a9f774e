"""Reservations: what is taken out of stock for a bill, until it is sold or given back.

              POST                    commit
    (nothing) ────▶ held ──────────────────────────▶ committed
                    │  ▲                   DELETE, before anything else or
        too long    │  │ POST              from held or expired
                    ▼  │                             │
                   expired                           ▼
                                                  released

A product's `stock` is what can still be bought: for each product, stock + held + committed changes only where an
administrator sets the stock. `released` is final, so that a request that its own release has overtaken holds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypeAlias

from services.common.times import Clock, utc_now

HOLD = timedelta(minutes=5)
"""For how long stock is held for a bill that is neither issued nor given up."""

SWEEP_SECONDS = 5.0
"""How often a process looks for reservations that have been held for too long."""

BATCH = 100

Status: TypeAlias = Literal["held", "committed", "released", "expired"]


@dataclass(frozen=True, slots=True)
class Item:
    """What is to be held."""

    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Line:
    """What is held: name, and `amount` in minor units for one, are the product's when the bill first reserved it."""

    product_id: str
    name: str
    amount: int
    currency: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved for a bill. A held one may be given back from `expires_at` on."""

    bill_id: str
    status: Status
    expires_at: datetime
    lines: Sequence[Line]


class Store(Protocol):
    """Where reservations are kept; see `services.product.store`."""

    async def hold(  # noqa: D102
        self, bill_id: str, items: Sequence[Item], *, until: datetime
    ) -> tuple[Reservation, bool]: ...

    async def commit(self, bill_id: str) -> Reservation: ...  # noqa: D102

    async def release(self, bill_id: str, *, at: datetime) -> None: ...  # noqa: D102

    async def expired(self, *, at: datetime, limit: int) -> Sequence[str]: ...  # noqa: D102

    async def expire(self, bill_id: str, *, at: datetime) -> bool: ...  # noqa: D102


class Reservations:
    """The reservations, one for a bill. Every call may be repeated, and raises `DatabaseUnavailable`."""

    def __init__(self, store: Store, *, clock: Clock = utc_now) -> None:
        self._store = store
        self._clock = clock

    async def make(self, bill_id: str, items: Sequence[Item]) -> tuple[Reservation, bool]:
        """Holds all the items, or none; and whether that is new. Each product stands in `items` once.

        A bill that has a reservation gets that one. One that has expired is held again, if there still is stock, with
        the names and prices that it had. Raises `ProductUnknown`, `OutOfStock`, `ReservationDiffers`,
        `ReservationReleased`; then nothing more is held than before.
        """
        return await self._store.hold(bill_id, items, until=self._clock() + HOLD)

    async def commit(self, bill_id: str) -> Reservation:
        """Sells what is held, for good.

        Raises `ReservationNotFound`, `ReservationExpired`, `ReservationReleased`.
        """
        return await self._store.commit(bill_id)

    async def release(self, bill_id: str) -> None:
        """Gives back what is held; from then on nothing can be held for the bill. Raises `ReservationCommitted`."""
        await self._store.release(bill_id, at=self._clock())

    async def release_expired(self) -> int:
        """Gives back what has been held for too long, and says for how many bills. For many workers at once."""
        bill_ids = await self._store.expired(at=self._clock(), limit=BATCH)
        return sum([await self._store.expire(bill_id, at=self._clock()) for bill_id in bill_ids])
