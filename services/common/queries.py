"""Queries that the stores of several services need."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, func, select

from services.common.backlog import MAX_COUNTED, Waiting
from services.common.database import Database
from services.common.times import utc


async def count_waiting(
    database: Database, since: Column[Any], is_due: ColumnElement[bool], *, order: Column[Any] | None = None
) -> Waiting:
    """Return how many rows are due, and since when the first of them, by the column `since`.

    The column has times, or seconds since the epoch. An index must lead to the rows that are due, in the order of
    `order`, by default `since`.
    """
    ordered = select(since.label("since")).where(is_due).order_by(since if order is None else order)
    due = ordered.limit(MAX_COUNTED).subquery()
    [(count, oldest)] = await database.fetch(select(func.count(), func.min(due.c.since)))
    if isinstance(oldest, int):
        oldest = datetime.fromtimestamp(oldest, UTC)
    return Waiting(count, None if oldest is None else utc(oldest))
