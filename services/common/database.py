"""The database of one service: connections, transactions, migrations. What is peculiar to a database stands here alone.

SQLite (`sqlite+aiosqlite://`) for one machine, PostgreSQL (`postgresql+asyncpg://`) for many. The times of PostgreSQL
stand in the order in which they run out, so that whoever can tell the most about a delay speaks first:

    lock_timeout < statement_timeout < the driver's own < idle_in_transaction_session_timeout
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.common.errors import DatabaseUnavailable

_alembic = threading.Lock()
_log = logging.getLogger("services.database")

BUSY_SECONDS = 10.0
"""SQLite: how long a writer waits for the one before it; there is one at a time."""

POOL_SIZE = 5
POOL_OVERFLOW = 5
"""PostgreSQL: connections that a process keeps, and those that it adds under load. A server lets 100 in unless told
otherwise, which is enough for nine processes. More would not help: a connection is busy for milliseconds at a time."""

POOL_SECONDS = 5.0
CONNECT_SECONDS = 5.0
LOCK_SECONDS = 4.0
STATEMENT_SECONDS = 6.0
COMMAND_SECONDS = 8.0
IDLE_SECONDS = 15.0
RECYCLE_SECONDS = 1800
"""PostgreSQL: how long to wait for a place in the pool, for a connection, for a row that another transaction holds, for
a statement (as the server sees it, and as the client does, for a server that hangs); how long the server waits for the
client within a transaction; and the age at which a connection is made anew, before a load balancer forgets it."""

MIGRATION_TURN_SECONDS = 120.0
"""PostgreSQL: how long a process waits at its start for the one that migrates."""


class Database:
    """A service's database. Transactions come from `read` and `write`; `open` it first, and `close` it at the end.

    `url` is SQLAlchemy's, for one of the two databases; `migrations` is the folder with the service's Alembic scripts.
    Raises sqlalchemy.exc.ArgumentError for another URL.
    """

    def __init__(self, url: str | URL, migrations: Path) -> None:
        self._url = make_url(url)
        self._migrations = migrations
        self._kind = _kind_of(self._url)
        self._engine = self._kind.engine(self._url)
        self._reading = self._engine.execution_options(**self._kind.reading)
        self._writing = self._engine.execution_options(**self._kind.writing)

    async def open(self) -> None:
        """Makes the tables, for SQLite the file too, or brings them up to date.

        Processes that start together take turns: the first migrates, the others find nothing left to do.
        Raises `DatabaseUnavailable`.
        """
        await asyncio.to_thread(self._kind.prepare, self._url)
        # Alembic keeps the migration that it is at in module globals, so it runs undisturbed, in a thread and a loop
        # of its own.
        await asyncio.to_thread(self._migrate)

    def _migrate(self) -> None:
        with _alembic:
            asyncio.run(self._upgrade())

    async def _upgrade(self) -> None:
        engine = self._kind.engine(self._url, patient=True)
        try:
            with _Outages(self._kind):
                async with engine.execution_options(**self._kind.writing).begin() as connection:
                    await connection.run_sync(self._kind.take_migration_turn)
                    await connection.run_sync(_upgrade, self._migrations)
        finally:
            await engine.dispose()

    async def close(self) -> None:
        """Closes every connection."""
        await self._engine.dispose()

    async def ready(self) -> None:
        """Returns if the database answers. Raises `DatabaseUnavailable`."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads, and sees one state of the data throughout.

        Raises `DatabaseUnavailable`.
        """
        with _Outages(self._kind):
            async with self._reading.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write: committed at the end, rolled back on an exception.

        SQLite has one of them at a time. PostgreSQL has many, each of whose statements sees what was committed before
        it (READ COMMITTED): one that decides by what it has read must hold that, by `SELECT … FOR UPDATE`, by a
        condition in its UPDATE, or by `take_turns`.

        Raises `DatabaseUnavailable`, and then nothing is written, unless the connection broke at the very end; and
        `sqlalchemy.exc.IntegrityError` from the statement that breaks a rule, which must leave the transaction.
        """
        with _Outages(self._kind):
            async with self._writing.begin() as connection:
                yield connection

    async def take_turns(self, connection: AsyncConnection, *names: str) -> None:
        """Waits until no other transaction has taken its turn at any of `names`; keeps others waiting until this ends.

        For what no row stands for, in a transaction of `write`, once.
        """
        await connection.run_sync(self._kind.take_turns, sorted(set(names)))


class _Kind(Protocol):
    """What sets a database apart. `reading` and `writing` are the execution options of transactions; a `patient` engine
    waits for statements without end.
    """

    reading: dict[str, Any]
    writing: dict[str, Any]

    def engine(self, url: URL, *, patient: bool = False) -> AsyncEngine: ...

    def prepare(self, url: URL) -> None: ...

    def take_migration_turn(self, connection: Connection) -> None: ...

    def take_turns(self, connection: Connection, names: list[str]) -> None: ...

    def is_outage(self, error: BaseException) -> bool: ...


class _SQLite:
    """A file. Its one writer at a time is the turn that everyone takes."""

    reading: dict[str, Any] = {}  # noqa: RUF012 - nobody changes them
    writing: dict[str, Any] = {"services_writes": True}  # noqa: RUF012

    def engine(self, url: URL, *, patient: bool = False) -> AsyncEngine:
        # Without hide_parameters an error would carry customers' data into the log.
        engine = create_async_engine(url, hide_parameters=True)
        event.listen(engine.sync_engine, "connect", self._connected)
        event.listen(engine.sync_engine, "begin", self._begin)
        return engine

    def prepare(self, url: URL) -> None:
        """Makes the file and its folder, and lets readers and the writer work side by side (WAL, kept in the file).

        The switch to WAL needs the file alone and does not wait for it, so processes that start together try again.
        """
        path = Path(url.database or "")
        path.parent.mkdir(parents=True, exist_ok=True)
        give_up_at = time.monotonic() + BUSY_SECONDS
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
        try:
            while True:
                try:
                    connection.execute("PRAGMA journal_mode = WAL")
                except sqlite3.OperationalError:
                    if time.monotonic() > give_up_at:
                        raise
                    time.sleep(0.02)
                else:
                    return
        finally:
            connection.close()

    def take_migration_turn(self, connection: Connection) -> None:
        """The transaction has the write lock already."""

    def take_turns(self, connection: Connection, names: list[str]) -> None:
        """The transaction has the write lock already."""

    def is_outage(self, error: BaseException) -> bool:
        return isinstance(error, OperationalError | InterfaceError | PoolTimeout | ConnectionError)

    @staticmethod
    def _connected(connection: Any, _record: object) -> None:
        """Leaves the beginning of transactions to `_begin`, and switches on what SQLite has off by default."""
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    @staticmethod
    def _begin(connection: Connection) -> None:
        """Takes the write lock at once where it will be needed: a reader that turns writer later cannot wait for it.

        Source: SQLite, "Write-Ahead Logging" and "SQLITE_BUSY_SNAPSHOT".
        """
        writes = connection.get_execution_options().get("services_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class _PostgreSQL:
    """A server, with many writers at a time.

    Source: PostgreSQL, "Client Connection Defaults", "Transaction Isolation", "Advisory Locks", "Error Codes".
    """

    # A transaction that only reads cannot fail at this level, and sees one state of the data.
    reading: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}  # noqa: RUF012
    writing: dict[str, Any] = {"isolation_level": "READ COMMITTED"}  # noqa: RUF012

    _MIGRATIONS = 0x6D73746F6B656E
    """The advisory lock of whoever migrates; services with databases of their own do not meet there."""

    _OUTAGES = ("08", "28", "3D", "53", "57", "58", "40001", "40P01", "55P03", "25P03")
    """Error codes, or the two letters that a class of them begins with, that are no fault of the caller's: connection
    lost, no way in, no such database, out of resources, shutting down or cancelled, the system's errors; and then two
    transactions in each other's way, a lock waited for in vain, and a client that was away for too long."""

    def engine(self, url: URL, *, patient: bool = False) -> AsyncEngine:
        engine = create_async_engine(
            url,
            hide_parameters=True,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_SECONDS,
            pool_recycle=RECYCLE_SECONDS,
            # Connections that died with the server, or on the way, are noticed before they are used.
            pool_pre_ping=True,
            pool_use_lifo=True,
            connect_args={
                "timeout": CONNECT_SECONDS,
                "command_timeout": None if patient else COMMAND_SECONDS,
                "server_settings": {
                    "application_name": "shop",
                    "timezone": "UTC",
                    "statement_timeout": "0" if patient else _milliseconds(STATEMENT_SECONDS),
                    "lock_timeout": _milliseconds(LOCK_SECONDS),
                    "idle_in_transaction_session_timeout": _milliseconds(IDLE_SECONDS),
                    # It costs short queries more than it gives (SQLAlchemy, "Disabling the PostgreSQL JIT").
                    "jit": "off",
                },
            },
        )
        event.listen(engine.sync_engine, "handle_error", self._hide_details)
        return engine

    def prepare(self, url: URL) -> None:
        """The database is made by whoever runs the server."""

    def take_migration_turn(self, connection: Connection) -> None:
        """Waits for its turn for long, and then for a table as short as ever: all of its readers would wait behind."""
        connection.execute(text(f"SET LOCAL lock_timeout = {_milliseconds(MIGRATION_TURN_SECONDS)}"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": self._MIGRATIONS})
        connection.execute(text(f"SET LOCAL lock_timeout = {_milliseconds(LOCK_SECONDS)}"))

    def take_turns(self, connection: Connection, names: list[str]) -> None:
        for name in names:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})

    def is_outage(self, error: BaseException) -> bool:
        if isinstance(error, InterfaceError):
            # What the driver finds wrong with a value is a defect of ours.
            return not isinstance(error.orig and error.orig.__cause__, ValueError)
        if isinstance(error, DBAPIError):
            code = getattr(error.orig, "sqlstate", None) or ""
            return error.connection_invalidated or code.startswith(self._OUTAGES)
        return isinstance(error, PoolTimeout | OSError)

    @staticmethod
    def _hide_details(context: ExceptionContext) -> None:
        """Takes out of an error what quotes the row that it is about: it may reach the log."""
        cause = context.original_exception.__cause__
        if cause is not None and hasattr(cause, "detail"):
            cause.detail = None


def _kind_of(url: URL) -> _Kind:
    kinds: dict[str, type[_Kind]] = {"sqlite+aiosqlite": _SQLite, "postgresql+asyncpg": _PostgreSQL}
    if url.drivername not in kinds:
        raise ArgumentError(f"A database is one of {', '.join(kinds)}.")
    return kinds[url.drivername]()


class _Outages:
    """Logs the driver's errors that are no fault of the caller's, and turns them into `DatabaseUnavailable`."""

    def __init__(self, kind: _Kind) -> None:
        self._kind = kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and self._kind.is_outage(error):
            _log.error("database_unavailable", exc_info=error)
            raise DatabaseUnavailable from error


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


def _upgrade(connection: Connection, migrations: Path) -> None:
    """Runs the migrations that are missing, inside the connection's transaction."""
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
