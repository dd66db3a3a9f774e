"""Orders: what users order under idempotency keys. An order leads to exactly one bill, or to none.

    pending ──▶ items are reserved ──▶ items are sold ──▶ issued: the bill exists
        │               │
        └── refused ────┴── the reservation is released ──▶ abandoned: no bill

The order is written first, under the id that its bill will have. Each step after that may be repeated by the worker
that holds the order's lease. This is the request that placed the order, or the same request sent again. If a crash has
left the order pending and its lease has expired, it is `Orders.resume` in any process.

The sale is the point of no return: what is sold gets a bill. A refused order is released in Product before the refusal
is answered, so it is never sold.

A worker that fails frees its lease. If the database is away, it does so when the database is back.

Leases are compared with the clock of each machine. The clocks may differ by seconds, but not by `LEASE`. A lease that
ends later than a lease can was written by a clock that was wrong, and is over.
"""

import asyncio
import hashlib
import json
import logging
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

from mstoken import UserCaller
from mstoken.log_events import log_event
from mstoken.problem import Problem
from services.billing.bills import Bill, BillLine, Bills
from services.billing.errors import (
    BillInProgress,
    CurrenciesMixed,
    IdempotencyKeyReused,
    NeighbourUnavailable,
    OrderGivenUp,
    OrderRefused,
    ProductFailed,
    ProductRepeated,
    ProductUnavailable,
)
from services.common.background import BATCH, in_batches
from services.common.backlog import LATER, SOON, Backlog
from services.common.errors import DatabaseUnavailable
from services.common.ids import new_id
from services.common.late_writes import LateWrites
from services.common.measures import BILL_STATE, BILLS, span
from services.common.times import Clock, utc_now

if TYPE_CHECKING:
    from services.billing.order_store import OrderStore
    from services.billing.reservations import ReservationLine, Reservations

LEASE = timedelta(seconds=30)
"""How long one worker may work on an order. A call to Product takes a third of that at most."""
MAX_LEASE = 2 * LEASE
"""A lease that ends later than this is over: no clock that is right has written it. It is twice as long as a lease,
because the clocks of processes differ."""
USUAL_WORK = timedelta(seconds=5)
"""A worker that has not finished an order after this time has probably died."""
PATIENCE = timedelta(minutes=10)
"""How long to keep trying to issue a bill before the order is abandoned."""
KEY_LIFETIME = timedelta(hours=24)
"""How long a repeated request gets the same answer."""
KEEP_KEYS = KEY_LIFETIME + MAX_LEASE
"""How long a key is kept after the order was placed, and after it was settled: no clock forgets it too early."""
PRODUCT_REMEMBERS = timedelta(days=29)
"""How long Product surely knows what became of a reservation: it forgets after 30 days."""

RESUME_SECONDS = 5.0
"""Seconds between two searches of a process for orders that no worker is working on."""
RESUME_BATCH = 50
FORGET_SECONDS = 600.0
"""Seconds between two searches of a process for expired idempotency keys."""
MAX_HOLDS = 3
"""How often a worker reserves the items of an order if the reservation expires before the sale."""

_log = logging.getLogger("services.billing.orders")

OrderStatus: TypeAlias = Literal["pending", "issued", "abandoned"]


@dataclass(frozen=True, slots=True)
class OrderItem:
    """A product that is ordered, and how many of it."""

    product_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A user's key for one request, with a fingerprint of the items.

    Source: draft-ietf-httpapi-idempotency-key-header, sections 2.2 to 2.6.
    """

    value: str
    fingerprint: str

    @classmethod
    def of(cls, value: str, items: Sequence[OrderItem]) -> "IdempotencyKey":
        """Return the key `value` of a request for `items`."""
        canonical = json.dumps([[item.product_id, item.quantity] for item in items])
        return cls(value, hashlib.sha256(canonical.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Order:
    """An order of the user `uid`. Its bill has the same `id`. `problem` is the reason if it leads to no bill.

    `lease_until` is when the lease of its last worker ends; None if the order is not stored yet.
    """

    id: str
    uid: str
    key: IdempotencyKey
    items: Sequence[OrderItem]
    created_at: datetime
    status: OrderStatus = "pending"
    problem: OrderRefused | None = None
    lease_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one worker to work on an order. No other worker has it before `until`."""

    token: str
    until: datetime


class Orders:
    """The orders. Every call raises `DatabaseUnavailable`.

    `late_writes` free the leases of workers that have failed.
    """

    def __init__(
        self,
        store: "OrderStore",
        bills: Bills,
        reservations: "Reservations",
        late_writes: LateWrites,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._store = store
        self._bills = bills
        self._reservations = reservations
        self._late_writes = late_writes
        self._clock = clock

    async def place(self, buyer: UserCaller, items: Sequence[OrderItem], key_value: str) -> Bill:
        """Issue the bill for `items`, or answer as before if the buyer has sent the same request under this key.

        Raises `ProductRepeated`, `IdempotencyKeyReused` and `OrderRefused`; then there is no bill. Raises
        `BillInProgress`, `ProductUnavailable` and `ProductFailed` if this is not decided yet: the same request may be
        sent again. If it is not, the order is finished without it.
        """
        _check_each_product_once(items)
        now = self._clock()
        order = Order(new_id(), buyer.uid, IdempotencyKey.of(key_value, items), items, now)
        lease = self._new_lease()
        if await self._add(order, lease):
            BILLS.add(1, {BILL_STATE: "pending"})
            return await self._finish(order, lease)
        placed = await self._store.under_key(buyer.uid, key_value)
        if placed is None:
            raise BillInProgress  # Another process has just forgotten it. The next request places a new order.
        if placed.key != order.key:
            raise IdempotencyKeyReused
        if placed.status == "issued":
            return await self._bills.get(placed.id, buyer)
        if placed.problem is not None and placed.status == "abandoned":
            raise placed.problem
        taken = await self._take(placed.id, lease)
        if taken is None:
            raise BillInProgress(retry_after_seconds=self._wait_seconds(placed))
        return await self._finish(taken, lease)

    async def resume(self) -> None:
        """Finish the orders that no worker is working on. Several processes may do this at the same time.

        Raises `NeighbourUnavailable` for the first order that has to wait, because the others would wait as well.
        """
        for order_id in await self._store.due(at=self._clock(), limit=RESUME_BATCH):
            lease = self._new_lease()
            order = await self._take(order_id, lease)
            if order is None:
                continue
            try:
                with span("finish order"):
                    await self._finish(order, lease)
            except (NeighbourUnavailable, DatabaseUnavailable):
                raise
            except Problem:
                continue  # The order was refused, or it failed and is now the last to be tried again.

    async def forget(self) -> None:
        """Forget idempotency keys after their lifetime, unless their order is pending. Bills are kept."""
        before = self._clock() - KEEP_KEYS
        await in_batches(lambda: self._store.forget(before=before, limit=BATCH))

    async def unfinished(self) -> Backlog:
        """Measure how many orders are pending, and for how long."""
        return Backlog.of("orders", await self._store.waiting(), self._clock(), SOON)

    async def unforgotten(self) -> Backlog:
        """Measure how many keys have expired, and since when."""
        before = self._clock() - KEEP_KEYS
        return Backlog.of("expired idempotency keys", await self._store.forgettable(before=before), before, LATER)

    def _new_lease(self) -> Lease:
        return Lease(secrets.token_hex(16), self._clock() + LEASE)

    async def _add(self, order: Order, lease: Lease) -> bool:
        try:
            return await self._store.add(order, lease, forget_before=order.created_at - KEEP_KEYS)
        except (DatabaseUnavailable, asyncio.CancelledError) as error:
            self._free_if_held(order.id, lease, error)
            raise

    async def _take(self, order_id: str, lease: Lease) -> Order | None:
        try:
            return await self._store.take(order_id, lease, at=self._clock())
        except (DatabaseUnavailable, asyncio.CancelledError) as error:
            self._free_if_held(order_id, lease, error)
            raise

    def _free_if_held(self, order_id: str, lease: Lease, error: BaseException) -> None:
        """Free a lease later, if the transaction that takes it may have been committed."""
        if not isinstance(error, DatabaseUnavailable) or error.maybe_written:
            self._late_writes.owe(lambda: self._free(order_id, lease), useful_seconds=LEASE.total_seconds())

    async def _free(self, order_id: str, lease: Lease) -> bool:
        return await self._store.free(order_id, lease, at=self._clock())

    def _wait_seconds(self, order: Order) -> int:
        """Return the seconds after which the same request may get an answer.

        A worker that lives is done in a moment. One that takes longer may have died: then its lease must end first.
        """
        left = timedelta() if order.lease_until is None else order.lease_until - self._clock()
        has_just_begun = left > LEASE - USUAL_WORK
        return 1 if has_just_begun else max(1, math.ceil(left.total_seconds()))

    async def _finish(self, order: Order, lease: Lease) -> Bill:
        """Return the order's bill. If the work fails, free the lease, so that another worker can continue at once."""
        try:
            return await self._issue_or_refuse(order, lease)
        except OrderRefused:
            raise
        except (Exception, asyncio.CancelledError):
            await self._late_writes.make(lambda: self._free(order.id, lease), useful_seconds=LEASE.total_seconds())
            raise

    async def _issue_or_refuse(self, order: Order, lease: Lease) -> Bill:
        """Return the order's bill. Raises `OrderRefused` after the order was abandoned."""
        self._check_product_remembers(order)
        problem = order.problem or self._too_late(order)
        if problem is None:
            try:
                return await self._issue(await self._sell(order, lease), lease)
            except OrderRefused as refusal:
                problem = refusal
        await self._abandon(order, lease, problem)
        # The items are sold: another worker, which has lost its lease since, had come further than this one.
        return await self._issue(await self._sell(order, lease), lease)

    def _too_late(self, order: Order) -> OrderGivenUp | None:
        return OrderGivenUp() if self._clock() - order.created_at > PATIENCE else None

    async def _sell(self, order: Order, lease: Lease) -> Bill:
        """Sell the order's items, and return its bill, which is not stored yet. Raises `OrderRefused`."""
        for _ in range(MAX_HOLDS):
            bill = _bill(order, await self._reservations.hold(order.id, order.items))
            await self._renew(order, lease)
            if await self._reservations.commit(order.id):
                return bill
        raise ProductUnavailable

    async def _renew(self, order: Order, lease: Lease) -> None:
        """Renew the lease if less than half of it is left, so that no other worker takes the order during a step."""
        now = self._clock()
        if lease.until - now < LEASE / 2 and not await self._store.renew(order.id, Lease(lease.token, now + LEASE)):
            raise BillInProgress

    async def _issue(self, bill: Bill, lease: Lease) -> Bill:
        if not await self._store.issue(bill, lease):
            raise BillInProgress
        BILLS.add(1, {BILL_STATE: "issued"})
        return bill

    async def _abandon(self, order: Order, lease: Lease, problem: OrderRefused) -> None:
        """Raise `problem` after the order was abandoned. Return if its items are sold already."""
        if not await self._store.refuse(order.id, lease, problem):
            raise BillInProgress
        if not await self._reservations.release(order.id):
            return
        if not await self._store.abandon(order.id, lease):
            raise BillInProgress
        BILLS.add(1, {BILL_STATE: "abandoned"})
        raise problem

    def _check_product_remembers(self, order: Order) -> None:
        """Raise `ProductFailed` if Product may have forgotten that it has sold the items of an order."""
        if self._clock() - order.created_at > PRODUCT_REMEMBERS:
            message = (
                f"order {order.id} is pending since {order.created_at:%Y-%m-%d}, and Product may have forgotten "
                "whether its items were sold: find out, and settle the order by hand"
            )
            log_event(_log, logging.ERROR, "order_too_old", message, order=order.id)
            raise ProductFailed


def _check_each_product_once(items: Sequence[OrderItem]) -> None:
    seen: set[str] = set()
    for item in items:
        if item.product_id in seen:
            raise ProductRepeated(f"Product {item.product_id} appears twice.")
        seen.add(item.product_id)


def _bill(order: Order, lines: Sequence["ReservationLine"]) -> Bill:
    """Return the order's bill, with the names and prices that were reserved. Raises `CurrenciesMixed`."""
    currencies = {line.price["currency"] for line in lines}
    if len(currencies) > 1:
        raise CurrenciesMixed(f"These products have prices in {' and '.join(sorted(currencies))}.")
    bill_lines = [BillLine(line.product_id, line.name, line.price["amount"], line.quantity) for line in lines]
    return Bill(order.id, order.uid, "issued", order.created_at, currencies.pop(), bill_lines)
