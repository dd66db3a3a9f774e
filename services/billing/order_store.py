"""Billing's table of orders."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Row, String, and_, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from services.billing.bills import Bill
from services.billing.errors import ORDER_REFUSALS, OrderRefused
from services.billing.orders import MAX_LEASE, IdempotencyKey, Lease, Order, OrderItem
from services.billing.store import MAX_DETAIL, orders, rows_of_bill
from services.common.backlog import Waiting
from services.common.database import Database
from services.common.queries import count_waiting
from services.common.times import utc


class OrderStore:
    """Orders. Every call raises `DatabaseUnavailable`.

    The calls that need a lease change nothing, and return False, if the order is not pending or has another lease.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, order: Order, lease: Lease, *, forget_before: datetime) -> bool:
        """Add a new order. Return False, and add nothing, if the user has an order under the same key.

        An order under that key is forgotten first if it was placed and settled before `forget_before`.
        """
        same_key = (orders.c.uid == order.uid) & (orders.c.idempotency_key == order.key.value)
        if await self._add(order, lease):
            return True
        forget = delete(orders).where(same_key, _settled_before(forget_before)).returning(orders.c.id)
        return bool(await self._database.execute(forget)) and await self._add(order, lease)

    async def _add(self, order: Order, lease: Lease) -> bool:
        try:
            await self._database.execute(_ADD, _columns(order, lease))
        except IntegrityError:
            return False
        return True

    async def under_key(self, uid: str, key: str) -> Order | None:
        """Return the user's order under that key, or None."""
        rows = await self._database.fetch(_UNDER_KEY, {"uid": uid, "key": key})
        return _order(rows[0]) if rows else None

    async def due(self, *, at: datetime, limit: int) -> Sequence[str]:
        """Return up to `limit` pending orders without a valid lease, those that have waited longest first."""
        query = select(orders.c.id).where(_is_free(at)).order_by(orders.c.lease_until).limit(limit)
        return [order_id for (order_id,) in await self._database.fetch(query)]

    async def take(self, order_id: str, lease: Lease, *, at: datetime) -> Order | None:
        """Give the order the lease, and return it. Return None if it is not pending or has a valid lease."""
        taken = update(orders).where(orders.c.id == order_id, _is_free(at))
        values = {"lease": lease.token, "lease_until": lease.until}
        rows = await self._database.execute(taken.values(values).returning(*orders.c))
        return _order(rows[0]) if rows else None

    async def renew(self, order_id: str, lease: Lease) -> bool:
        """Extend the lease until `lease.until`."""
        return await self._change(order_id, lease, lease_until=lease.until)

    async def free(self, order_id: str, lease: Lease, *, at: datetime) -> bool:
        """End the lease."""
        return await self._change(order_id, lease, lease_until=at)

    async def refuse(self, order_id: str, lease: Lease, problem: OrderRefused) -> bool:
        """Store the reason why the order leads to no bill."""
        detail = None if problem.detail is None else problem.detail[:MAX_DETAIL]
        return await self._change(order_id, lease, problem_code=problem.code, problem_detail=detail)

    async def abandon(self, order_id: str, lease: Lease) -> bool:
        """Settle the order without a bill."""
        return await self._change(order_id, lease, status="abandoned")

    async def issue(self, bill: Bill, lease: Lease) -> bool:
        """Store the order's bill, and settle the order."""
        held = {"bill": bill.id, "held_under": lease.token}
        return await self._database.update_then_insert(_ISSUE, held, rows_of_bill(bill))

    async def forget(self, *, before: datetime, limit: int) -> int:
        """Delete up to `limit` orders that were placed and settled before `before`. Return how many."""
        old = select(orders.c.id).where(_settled_before(before)).order_by(orders.c.created_at)
        if not await self._database.fetch(old.limit(1)):
            return 0  # Without the lock that writing takes.
        async with self._database.write() as connection:
            # PostgreSQL skips rows that another process is deleting.
            ids = (await connection.execute(old.limit(limit).with_for_update(skip_locked=True))).scalars().all()
            await connection.execute(delete(orders).where(orders.c.id.in_(ids)))
        return len(ids)

    async def waiting(self) -> Waiting:
        """Return how many orders are pending, and when the first of them was placed."""
        is_pending, order = orders.c.status == "pending", orders.c.lease_until
        return await count_waiting(self._database, orders.c.created_at, is_pending, order=order)

    async def forgettable(self, *, before: datetime) -> Waiting:
        """Return how many orders `forget` would delete, and when the first of them was placed."""
        return await count_waiting(self._database, orders.c.created_at, _settled_before(before))

    async def _change(self, order_id: str, lease: Lease, **values: Any) -> bool:
        change = update(orders).where(_is_held(order_id, lease.token)).values(values)
        return bool(await self._database.execute(change.returning(orders.c.id)))


def _is_free(at: datetime) -> ColumnElement[bool]:
    is_over = (orders.c.lease_until <= at) | (orders.c.lease_until > at + MAX_LEASE)
    return (orders.c.status == "pending") & is_over


def _is_held(order_id: str | BindParameter[str], lease: str | BindParameter[str]) -> ColumnElement[bool]:
    return and_(orders.c.id == order_id, orders.c.status == "pending", orders.c.lease == lease)


def _settled_before(time: datetime) -> ColumnElement[bool]:
    # An order is settled before its last lease ends.
    return (orders.c.status != "pending") & (orders.c.created_at < time) & (orders.c.lease_until < time)


_ADD = insert(orders)
_UNDER_KEY = select(orders).where(orders.c.uid == bindparam("uid"), orders.c.idempotency_key == bindparam("key"))
_ISSUE = (
    update(orders)
    .where(_is_held(bindparam("bill", type_=String), bindparam("held_under", type_=String)))
    .values(status="issued")
)


def _order(row: Row[*tuple[Any, ...]]) -> Order:
    problem = None if row.problem_code is None else ORDER_REFUSALS[row.problem_code](row.problem_detail)
    key = IdempotencyKey(row.idempotency_key, row.fingerprint)
    items = [OrderItem(product_id, quantity) for product_id, quantity in row.items]
    return Order(row.id, row.uid, key, items, utc(row.created_at), row.status, problem, utc(row.lease_until))


def _columns(order: Order, lease: Lease) -> dict[str, Any]:
    return {
        "id": order.id,
        "uid": order.uid,
        "idempotency_key": order.key.value,
        "fingerprint": order.key.fingerprint,
        "items": [[item.product_id, item.quantity] for item in order.items],
        "created_at": order.created_at,
        "status": order.status,
        "lease": lease.token,
        "lease_until": lease.until,
    }
