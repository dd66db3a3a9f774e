"""Orders: what a user asks for under an idempotency key, and the way from there to one bill, or to none.

    pending ──▶ stock is reserved ──▶ it is sold ──▶ issued       the bill is there
        │               │
        └── refused ────┴── the reservation is released ──▶ abandoned

The order is written first, under the id that its bill will have. Every step after that may be done again, by whoever
holds the order's lease: the request that brought it, the same request sent again, or, when a crash has left the order
pending and its lease has run out, `Orders.resume` in any process. To sell is the point of no return: what is sold gets
its bill; what is refused is released at Product before it is answered, and can never be sold after that.

Leases are compared with each machine's own clock: clocks may differ by some seconds, not by `LEASE`.
"""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol, TypeAlias

from mstoken import UserCaller
from mstoken.problem import Problem
from services.billing.bills import Bill, Bills, Item, Line
from services.billing.errors import (
    BillInProgress,
    CurrenciesMixed,
    IdempotencyKeyReused,
    NeighbourUnavailable,
    OrderGivenUp,
    OrderRefused,
    ProductRepeated,
    ProductUnavailable,
)
from services.billing.stock import ReservedLine
from services.common.errors import DatabaseUnavailable
from services.common.ids import new_id
from services.common.times import Clock, utc_now

LEASE = timedelta(seconds=30)
"""How long an order is one worker's: twice as long as one call to Product may take, and more."""
PATIENCE = timedelta(minutes=10)
"""For how long a bill is wanted that cannot be made."""
KEY_KEPT = timedelta(hours=24)
"""How long the same request gets the same answer."""

RESUME_SECONDS = 5.0
FORGET_SECONDS = 600.0
BATCH = 50
RESERVATIONS_TRIED = 3

Status: TypeAlias = Literal["pending", "issued", "abandoned"]


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


@dataclass(frozen=True, slots=True)
class Order:
    """What `uid` asks for. `id` is its bill's too; `problem` is why there is no bill, and will be none."""

    id: str
    uid: str
    key: IdempotencyKey
    items: Sequence[Item]
    created_at: datetime
    status: Status = "pending"
    problem: OrderRefused | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on an order, which others do not have before `until`."""

    token: str
    until: datetime


class Store(Protocol):
    """Where orders are kept; see `services.billing.order_store`."""

    async def add(self, order: Order, lease: Lease, *, forget_before: datetime) -> bool: ...  # noqa: D102

    async def under_key(self, uid: str, key: str) -> Order | None: ...  # noqa: D102

    async def due(self, *, at: datetime, limit: int) -> Sequence[str]: ...  # noqa: D102

    async def take(self, order_id: str, lease: Lease, *, at: datetime) -> Order | None: ...  # noqa: D102

    async def keep(self, order_id: str, lease: Lease) -> bool: ...  # noqa: D102

    async def free(self, order_id: str, lease: Lease, *, at: datetime) -> None: ...  # noqa: D102

    async def refuse(self, order_id: str, lease: Lease, problem: OrderRefused) -> bool: ...  # noqa: D102

    async def abandon(self, order_id: str, lease: Lease) -> bool: ...  # noqa: D102

    async def issue(self, bill: Bill, lease: Lease) -> bool: ...  # noqa: D102

    async def forget(self, *, before: datetime) -> None: ...  # noqa: D102


class Stock(Protocol):
    """What is reserved for bills; see `services.billing.stock`."""

    async def reserve(self, bill_id: str, items: Sequence[Item]) -> Sequence[ReservedLine]: ...  # noqa: D102

    async def commit(self, bill_id: str) -> bool: ...  # noqa: D102

    async def release(self, bill_id: str) -> bool: ...  # noqa: D102


class Orders:
    """The orders. Every call raises `DatabaseUnavailable`."""

    def __init__(self, store: Store, bills: Bills, stock: Stock, *, clock: Clock = utc_now) -> None:
        self._store = store
        self._bills = bills
        self._stock = stock
        self._clock = clock

    async def place(self, buyer: UserCaller, items: Sequence[Item], key_value: str) -> Bill:
        """Makes the bill for `items`; or answers as the same request was answered before, under the buyer's key.

        Raises `ProductRepeated`, `IdempotencyKeyReused`, and any `OrderRefused`: then there is no bill. Raises
        `BillInProgress`, `NeighbourUnavailable`, `NeighbourFailed` where that is not settled: the same request may be
        sent again, and where it is not, the order comes to its end without it.
        """
        _check_each_product_once(items)
        now = self._clock()
        order = Order(new_id(), buyer.uid, IdempotencyKey.of(key_value, items), items, now)
        lease = self._lease()
        if await self._store.add(order, lease, forget_before=now - KEY_KEPT):
            return await self._finish(order, lease)
        placed = await self._store.under_key(buyer.uid, key_value)
        if placed is None:
            raise BillInProgress  # Forgotten just now: the next try makes a new one.
        if placed.key != order.key:
            raise IdempotencyKeyReused
        if placed.status == "issued":
            return await self._bills.get(placed.id, buyer)
        if placed.problem is not None and placed.status == "abandoned":
            raise placed.problem
        taken = await self._store.take(placed.id, lease, at=now)
        if taken is None:
            raise BillInProgress
        return await self._finish(taken, lease)

    async def resume(self) -> None:
        """Brings orders to their end that nobody works on. For many workers at once; each order has one of them.

        Raises `NeighbourUnavailable` for the first that has to wait, since the others would too.
        """
        for order_id in await self._store.due(at=self._clock(), limit=BATCH):
            lease = self._lease()
            order = await self._store.take(order_id, lease, at=self._clock())
            if order is None:
                continue
            try:
                await self._finish(order, lease)
            except (NeighbourUnavailable, DatabaseUnavailable):
                raise
            except Problem:
                continue  # It is refused, for good; or it failed, and is at the end of the queue.

    async def forget(self) -> None:
        """Forgets the keys of long ago, except for those whose request is not settled. Bills stay."""
        await self._store.forget(before=self._clock() - KEY_KEPT)

    def _lease(self) -> Lease:
        return Lease(secrets.token_hex(16), self._clock() + LEASE)

    async def _finish(self, order: Order, lease: Lease) -> Bill:
        """The order's bill. Where the work fails, whoever comes next may go on with it at once."""
        try:
            return await self._carry_out(order, lease)
        except OrderRefused:
            raise
        except (Exception, asyncio.CancelledError):
            with suppress(DatabaseUnavailable):
                await self._store.free(order.id, lease, at=self._clock())
            raise

    async def _carry_out(self, order: Order, lease: Lease) -> Bill:
        """The order's bill. Raises `OrderRefused` when the order is abandoned."""
        problem = order.problem or self._too_late(order)
        if problem is None:
            try:
                return await self._issued(await self._sold(order, lease), lease)
            except OrderRefused as refusal:
                problem = refusal
        await self._abandon(order, lease, problem)
        # It is sold, so another worker, who has lost the lease since, was further than this one.
        return await self._issued(await self._sold(order, lease), lease)

    def _too_late(self, order: Order) -> OrderGivenUp | None:
        return OrderGivenUp() if self._clock() - order.created_at > PATIENCE else None

    async def _sold(self, order: Order, lease: Lease) -> Bill:
        """The bill, not written yet, whose items are sold. Raises `OrderRefused`."""
        for _ in range(RESERVATIONS_TRIED):
            bill = _bill(order, await self._stock.reserve(order.id, order.items))
            await self._keep(order, lease)
            if await self._stock.commit(order.id):
                return bill
        raise ProductUnavailable

    async def _keep(self, order: Order, lease: Lease) -> None:
        """Makes sure that nobody else takes the order before the next step is done."""
        now = self._clock()
        if lease.until - now < LEASE / 2 and not await self._store.keep(order.id, Lease(lease.token, now + LEASE)):
            raise BillInProgress

    async def _issued(self, bill: Bill, lease: Lease) -> Bill:
        if not await self._store.issue(bill, lease):
            raise BillInProgress
        return bill

    async def _abandon(self, order: Order, lease: Lease, problem: OrderRefused) -> None:
        """Raises `problem` once that is settled; returns if the items are sold already."""
        if not await self._store.refuse(order.id, lease, problem):
            raise BillInProgress
        if not await self._stock.release(order.id):
            return
        if not await self._store.abandon(order.id, lease):
            raise BillInProgress
        raise problem


def _check_each_product_once(items: Sequence[Item]) -> None:
    seen: set[str] = set()
    for item in items:
        if item.product_id in seen:
            raise ProductRepeated(f"It is {item.product_id}.")
        seen.add(item.product_id)


def _bill(order: Order, reserved: Sequence[ReservedLine]) -> Bill:
    """The order's bill, with names and prices as they were reserved. Raises `CurrenciesMixed`."""
    currencies = {line.price.currency for line in reserved}
    if len(currencies) > 1:
        raise CurrenciesMixed(f"These products are in {' and '.join(sorted(currencies))}.")
    lines = [Line(line.product_id, line.name, line.price.amount, line.quantity) for line in reserved]
    return Bill(order.id, order.uid, "issued", order.created_at, currencies.pop(), lines)
