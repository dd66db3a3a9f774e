"""A database in PostgreSQL: a server, for many machines, with many writers at a time.

Its time-outs expire in this order, so that the error with the most information comes first:

    lock_timeout < statement_timeout < the driver's own < idle_in_transaction_session_timeout

Source: PostgreSQL, "Client Connection Defaults", "Transaction Isolation", "Advisory Locks", "Error Codes".
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    URL,
    Connection,
    Engine,
    Executable,
    Row,
    Select,
    String,
    Table,
    Update,
    bindparam,
    create_engine,
    event,
    func,
    insert,
    literal_column,
    select,
    text,
    true,
)
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeEngine
from sqlalchemy.util import greenlet_spawn
from typing_extensions import TypeVarTuple

from services.common import telemetry
from services.common.transactions import NewRows, Rows, Transaction, Values, rows_of, to_the_end

Ts = TypeVarTuple("Ts")

POOL_SIZE = 10
"""The connections of a process. By default a server allows 100, which is enough for nine processes. More would not
help: a connection is busy for milliseconds at a time. The pool keeps all of them, because it takes longer to open a
connection than to use it."""

POOL_SECONDS = 5.0
CONNECT_SECONDS = 5.0
LOCK_SECONDS = 4.0
STATEMENT_SECONDS = 6.0
COMMAND_SECONDS = 8.0
IDLE_SECONDS = 15.0
KEEPALIVE_SECONDS, KEEPALIVE_PROBES = 5, 3
RECYCLE_SECONDS = 1800
"""How long to wait, in seconds, for a place in the pool, for a connection, for a row that another transaction has
locked, and for a statement (measured by the server, and by the client in case the server hangs); how long the server
waits for the client within a transaction; after how long without a packet it asks whether the client's machine is still
there, and how often; and the age at which a connection is replaced, before a load balancer drops it.

The server needs to ask because its time-outs do not count between two messages of one statement (`Parse` and `Bind`).
If a process is killed there, and the network loses the end of its connection, its rows would stay locked for two hours.
"""

TRUST_SECONDS = 0.5
"""How long a connection counts as alive after its last use, in seconds. HikariCP, a common pool, has the same value."""
_USED_AT = "used_at"

MIGRATION_TURN_SECONDS = 120.0
"""How long a starting process waits for another process that migrates, in seconds."""

MIGRATIONS = 0x6D73746F6B656E
"""The advisory lock of the process that migrates. It counts within one database, so services do not share it."""

_TAKE_TURN = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")

_OUTAGES = ("08", "28", "3D", "53", "57", "58", "40001", "40P01", "55P03", "25P03")
"""Codes, and classes of codes by their first two letters, of errors for which the database is to blame: connection
lost, authentication failed, no such database, out of resources, shutting down or cancelled, system errors; and
serialization failure, deadlock, lock time-out, and idle-in-transaction time-out."""


class PostgreSQL:
    """The database of a URL, which the operator of the server has created."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._engine = _engine(url)
        telemetry.trace_statements(self._engine)

    def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        """Call `upgrade` in a transaction that writes, one process at a time, in an event loop of its own."""
        asyncio.run(greenlet_spawn(self._migrate, upgrade))

    async def close(self) -> None:
        """Close all connections."""
        await greenlet_spawn(self._engine.dispose)

    async def fetch(self, query: Select[*Ts], parameters: Values) -> Sequence[Row[*Ts]]:
        """Return the rows of one query. It sees one state of the data without a transaction."""
        return await greenlet_spawn(self._fetch, query, parameters)

    def _fetch(self, query: Select[*Ts], parameters: Values) -> Sequence[Row[*Ts]]:
        with self._engine.connect() as connection:
            return connection.execute(query, parameters).all()

    async def execute(self, statement: Executable, parameters: Values, committing: Callable[[], None]) -> Rows:
        """Execute one statement, which the server commits before it answers: one message in place of three.

        Call `committing` before it is sent.
        """
        return await greenlet_spawn(self._execute, statement, parameters, committing)

    def _execute(self, statement: Executable, parameters: Values, committing: Callable[[], None]) -> Rows:
        with self._engine.connect() as connection:
            committing()
            return rows_of(connection.execute(statement, parameters))

    async def update_then_insert(
        self, update: Update, parameters: Mapping[str, Any], new_rows: NewRows, committing: Callable[[], None]
    ) -> bool:
        """Execute `update`, and if it changes a row, insert `new_rows`, as one statement of `execute`."""
        columns = {table: tuple(rows[0]) for table, rows in new_rows.items()}
        arrays = {
            _array_name(table, column): [row[column] for row in rows]
            for table, rows in new_rows.items()
            for column in columns[table]
        }
        statement = _update_then_insert(update, tuple(columns.items()))
        [(updated,)] = await self.execute(statement, {**parameters, **arrays}, committing)
        return bool(updated)

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Enclose a transaction that sees one state of the data. It cannot write."""
        # A transaction that only reads cannot fail at this level.
        return self._transaction(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def write(self) -> AbstractAsyncContextManager[Transaction]:
        """Enclose a transaction that may write."""
        return self._transaction(isolation_level="READ COMMITTED")

    @asynccontextmanager
    async def _transaction(self, **options: Any) -> AsyncIterator[Transaction]:
        """Enclose a transaction. Its first statement begins it."""
        connection = await greenlet_spawn(self._engine.connect)
        try:
            connection.execution_options(**options)
            yield Transaction(connection)
            await greenlet_spawn(_commit, connection)
        except BaseException:
            await to_the_end(greenlet_spawn(connection.close))
            raise

    async def take_turns(self, transaction: Transaction, names: Sequence[str]) -> None:
        """Lock `names` until the transaction ends."""
        for name in names:
            await transaction.execute(_TAKE_TURN, {"name": name})

    def check_in_place(self) -> None:
        """Do nothing: a connection that the server has lost fails by itself."""

    def is_outage(self, error: BaseException) -> bool:
        """Return whether the database is to blame for the error, and not a statement of ours."""
        if isinstance(error, InterfaceError):
            # A value that the driver refuses is a defect of ours.
            return not isinstance(error.orig and error.orig.__cause__, ValueError)
        if isinstance(error, DBAPIError):
            code = getattr(error.orig, "sqlstate", None) or ""
            return error.connection_invalidated or code.startswith(_OUTAGES)
        return isinstance(error, PoolTimeout | OSError)

    def _migrate(self, upgrade: Callable[[Connection], None]) -> None:
        engine = _engine(self._url, is_patient=True)
        try:
            with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
                # The turn may take long. Waits for tables stay short, because their readers wait behind a migration.
                connection.execute(text(f"SET LOCAL lock_timeout = {_milliseconds(MIGRATION_TURN_SECONDS)}"))
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATIONS})
                connection.execute(text(f"SET LOCAL lock_timeout = {_milliseconds(LOCK_SECONDS)}"))
                upgrade(connection)
                connection.commit()
        finally:
            engine.dispose()


@cache
def _update_then_insert(update: Update, tables: tuple[tuple[Table, tuple[str, ...]], ...]) -> Select[int]:
    """Return the statement that executes `update`, and inserts rows if that changes one. It returns the number changed.

    The rows come from arrays, one for each column, so that it is the same statement for any number of rows.

    Source: PostgreSQL, "Data-Modifying Statements in WITH".
    """
    updated = update.returning(literal_column("1")).cte("updated")
    inserts = []
    for table, names in tables:
        arrays = [bindparam(_array_name(table, name), type_=ARRAY(_in_array(table.c[name].type))) for name in names]
        rows = func.unnest(*arrays).table_valued(*names).render_derived(f"{table.name}_rows")
        new = select(*rows.c).join_from(updated, rows, true())
        inserts.append(insert(table).from_select(names, new).cte(table.name))
    return select(func.count()).select_from(updated).add_cte(*inserts)


def _in_array(column: TypeEngine[Any]) -> TypeEngine[Any]:
    """Return the type of a column in an array. A string that is too long must not be cut, but refused by the table."""
    return String() if isinstance(column, String) else column


def _array_name(table: Table, column: str) -> str:
    return f"{table.name}_{column}"


def _commit(connection: Connection) -> None:
    connection.commit()
    connection.close()


def _engine(url: URL, *, is_patient: bool = False) -> Engine:
    """Return an engine. If `is_patient`, statements have no time limit."""
    engine = create_engine(
        url,
        hide_parameters=True,
        # For each connection, not for an engine: that would be a listener, which slows down every statement.
        isolation_level="AUTOCOMMIT",
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        pool_recycle=RECYCLE_SECONDS,
        pool_use_lifo=True,
        connect_args={
            "timeout": CONNECT_SECONDS,
            "command_timeout": None if is_patient else COMMAND_SECONDS,
            "server_settings": {
                "application_name": "shop",
                "timezone": "UTC",
                # The level of a statement by itself, and of every transaction that sets no other one.
                "default_transaction_isolation": "read committed",
                "statement_timeout": "0" if is_patient else _milliseconds(STATEMENT_SECONDS),
                "lock_timeout": _milliseconds(LOCK_SECONDS),
                "idle_in_transaction_session_timeout": _milliseconds(IDLE_SECONDS),
                "tcp_keepalives_idle": str(KEEPALIVE_SECONDS),
                "tcp_keepalives_interval": str(KEEPALIVE_SECONDS),
                "tcp_keepalives_count": str(KEEPALIVE_PROBES),
                # It slows short queries down (SQLAlchemy, "Disabling the PostgreSQL JIT").
                "jit": "off",
            },
        },
    )
    event.listen(engine, "handle_error", _hide_details)
    event.listen(engine, "checkout", _check)
    event.listen(engine, "checkin", _note_use)
    return engine


def _check(connection: Any, record: ConnectionPoolEntry, _fairy: object) -> None:
    """Let the pool replace a connection that is broken, before it is used.

    The driver knows when the other side has closed a connection. It does not know when the server has vanished, or when
    a network device has forgotten the connection. To ask the server takes as long as a transaction, so a connection
    that has worked a moment ago is not asked.
    """
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError
    if time.monotonic() - record.info.get(_USED_AT, math.inf) > TRUST_SECONDS:
        try:
            connection.ping()
        except (connection.dbapi.Error, OSError):
            raise InvalidatePoolError from None


def _note_use(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_USED_AT] = time.monotonic()


def _hide_details(context: ExceptionContext) -> None:
    """Remove the part of an error that quotes a row, because the error may be logged."""
    cause = context.original_exception.__cause__
    if cause is not None and hasattr(cause, "detail"):
        cause.detail = None


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
