"""Billing's tables, and the stores of bills and deliveries."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Row,
    Select,
    String,
    Table,
    UniqueConstraint,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from services.billing.bills import Bill, BillLine
from services.billing.deliveries import FINAL_STATUSES, Delivery, DeliveryStatus, ReportedStatus
from services.common.database import Database
from services.common.measures import TRACEPARENT_LENGTH, traceparent
from services.common.times import utc
from services.common.transactions import NewRows

MAX_DETAIL = 500

metadata = MetaData()

orders = Table(
    "orders",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("uid", String(128), nullable=False),
    Column("idempotency_key", String(255), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("items", JSON, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("status", String(10), nullable=False),
    Column("problem_code", String(40), nullable=True),
    Column("problem_detail", String(MAX_DETAIL), nullable=True),
    Column("lease", String(32), nullable=False),
    Column("lease_until", DateTime(timezone=True), nullable=False),
    UniqueConstraint("uid", "idempotency_key", name="one_order_for_a_key"),
    Index("orders_by_lease", "status", "lease_until"),
    Index("orders_by_age", "created_at"),
)
"""Orders of the last 24 hours, and orders that are not settled. `services.billing.order_store` uses it."""

bills = Table(
    "bills",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("uid", String(128), nullable=False),
    Column("status", String(10), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("currency", String(3), nullable=False),
    Index("bills_of_a_user", "uid", "id"),
)
"""Issued bills. A bill has the id of its order."""

bill_lines = Table(
    "bill_lines",
    metadata,
    Column("bill_id", String(32), ForeignKey("bills.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("product_id", String(32), nullable=False),
    Column("name", String(200), nullable=False),
    Column("unit_amount", BigInteger, nullable=False),
    Column("quantity", Integer, nullable=False),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("bill_id", String(32), ForeignKey("bills.id"), nullable=False, unique=True),
    Column("status", String(10), nullable=False),
    Column("address", JSON, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("delivery_id", String(32), ForeignKey("deliveries.id"), primary_key=True),
    Column("hand_overs", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("lease", String(32), nullable=True),
    Column("traceparent", String(TRACEPARENT_LENGTH), nullable=True),
    Index("outbox_by_due_time", "due_at"),
)
"""Deliveries that have not reached a final status. `services.billing.outbox` uses it."""


class BillStore:
    """Bills with their lines. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, bill_id: str, uid: str | None) -> Bill | None:
        """Return the bill if it belongs to the user `uid`, or to anyone if `uid` is None. Return None otherwise."""
        query = _bills_of(uid).where(bills.c.id == bill_id)
        rows = await self._database.fetch(_with_lines(query))
        return _bill(rows) if rows else None

    async def find(self, *, uid: str | None, before: str | None, limit: int) -> Sequence[Bill]:
        """Return up to `limit` bills of the user `uid`, or of all users if None, the latest first.

        They begin before the id `before`, if it is given.
        """
        query = _bills_of(uid).order_by(bills.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(bills.c.id < before)
        rows = await self._database.fetch(_with_lines(query))
        return [_bill(list(group)) for _, group in groupby(rows, key=lambda row: row.id)]


class DeliveryStore:
    """Deliveries. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, delivery: Delivery) -> bool:
        """Add a new delivery, and a row in the outbox. Return False, and add nothing, if its bill has one."""
        values = {
            "id": delivery.id,
            "bill_id": delivery.bill_id,
            "status": delivery.status,
            "address": dict(delivery.address),
            "created_at": delivery.created_at,
            "updated_at": delivery.updated_at,
        }
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(deliveries).values(values))
                due = {
                    "delivery_id": delivery.id,
                    "hand_overs": 0,
                    "failures": 0,
                    "due_at": delivery.created_at,
                    "traceparent": traceparent(),
                }
                await connection.execute(insert(outbox).values(due))
        except IntegrityError:
            return False
        return True

    async def of_bill(self, bill_id: str) -> Delivery | None:
        """Return the delivery of the bill, or None."""
        rows = await self._database.fetch(select(deliveries).where(deliveries.c.bill_id == bill_id))
        return _delivery(rows[0]) if rows else None

    async def advance(
        self, delivery_id: str, *, to: ReportedStatus, from_any_of: Sequence[DeliveryStatus], at: datetime
    ) -> Delivery | None:
        """Set the status if the present one is in `from_any_of`. Return the delivery afterwards, or None if unknown.

        A delivery in a final status is removed from the outbox.
        """
        has_id = deliveries.c.id == delivery_id
        async with self._database.write() as connection:
            may_advance = has_id & deliveries.c.status.in_(from_any_of)
            await connection.execute(update(deliveries).where(may_advance).values(status=to, updated_at=at))
            row = (await connection.execute(select(deliveries).where(has_id))).one_or_none()
            if row is not None and row.status in FINAL_STATUSES:
                await connection.execute(delete(outbox).where(outbox.c.delivery_id == delivery_id))
        return None if row is None else _delivery(row)


def rows_of_bill(bill: Bill) -> NewRows:
    """Return the rows of a new bill and of its lines."""
    return {bills: [_bill_columns(bill)], bill_lines: _line_columns(bill)}


def _bills_of(uid: str | None) -> Select[Any]:
    return select(bills) if uid is None else select(bills).where(bills.c.uid == uid)


def _with_lines(query: Select[Any]) -> Select[Any]:
    """Join the bills of `query`, latest first, with their lines in order: one row for each line."""
    selected = query.subquery()
    lines = [column for column in bill_lines.c if column.name != "bill_id"]
    joined = select(selected, *lines).join_from(selected, bill_lines, selected.c.id == bill_lines.c.bill_id)
    return joined.order_by(selected.c.id.desc(), bill_lines.c.position)


def _bill(rows: Sequence[Row[Any]]) -> Bill:
    first = rows[0]
    lines = [BillLine(row.product_id, row.name, row.unit_amount, row.quantity) for row in rows]
    return Bill(first.id, first.uid, first.status, utc(first.created_at), first.currency, lines)


def _delivery(row: Row[Any]) -> Delivery:
    times = {"created_at": utc(row.created_at), "updated_at": utc(row.updated_at)}
    return Delivery(**{**row._mapping, **times})


def _bill_columns(bill: Bill) -> dict[str, Any]:
    return {
        "id": bill.id,
        "uid": bill.uid,
        "status": bill.status,
        "created_at": bill.created_at,
        "currency": bill.currency,
    }


def _line_columns(bill: Bill) -> list[dict[str, Any]]:
    return [
        {
            "bill_id": bill.id,
            "position": position,
            "product_id": line.product_id,
            "name": line.name,
            "unit_amount": line.unit_amount,
            "quantity": line.quantity,
        }
        for position, line in enumerate(bill.lines)
    ]
