"""Transactions in an event loop: SQLAlchemy's synchronous engine, in a greenlet.

What calls the engine runs in `greenlet_spawn`, and the connection waits with `await_`. SQLAlchemy's asyncio extension
does the same with more objects and greenlets: on PostgreSQL, a transaction takes a quarter less time without it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection, CursorResult, Executable, Row, Table
from sqlalchemy.util import greenlet_spawn

T = TypeVar("T")
Values: TypeAlias = Mapping[str, Any] | None
"""The values of a statement's parameters, by their names."""
Rows: TypeAlias = Sequence[Row[*tuple[Any, ...]]]
NewRows: TypeAlias = Mapping[Table, Sequence[Mapping[str, Any]]]
"""Rows to insert, by their table. Those of one table have the same columns."""


class Transaction:
    """A transaction under way."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(
        self, statement: Executable, parameters: Values | Sequence[Mapping[str, Any]] = None, /
    ) -> CursorResult[*tuple[Any, ...]]:
        """Execute a statement, or the same one with several parameters. Return its result."""
        return await greenlet_spawn(self._connection.execute, statement, parameters)


def rows_of(result: CursorResult[*tuple[Any, ...]]) -> Rows:
    """Return the rows of a statement, or none if it is one that returns no rows."""
    return result.all() if result.returns_rows else ()


async def to_the_end(work: Awaitable[T], *, stop: Callable[[], None] | None = None) -> T:
    """Return the result of `work`, which goes on if the caller is cancelled. The caller is cancelled after it.

    If the caller is cancelled, this calls `stop`, which may make the work end sooner.
    """
    future = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError as error:
            cancelled = error
            if stop is not None:
                stop()
    if cancelled is not None:
        future.exception()
        raise cancelled
    return future.result()
