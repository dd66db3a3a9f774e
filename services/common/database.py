"""The database of one service: connections, transactions, migrations. Only this module knows which database it is.

SQLite (`sqlite+aiosqlite://`) is for one machine, PostgreSQL (`postgresql+asyncpg://`) for many. PostgreSQL's time-outs
expire in this order, so that the error with the most information comes first:

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
from typing import Any, Protocol, Self
from urllib.parse import quote

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from typing_extensions import override

from mstoken.log_events import log_event
from mstoken.private_files import make_private_file
from services.common import telemetry
from services.common.errors import DatabaseUnavailable
from services.common.migrations import SchemaTooNew, check_compatible, knows

_alembic = threading.Lock()
_log = logging.getLogger("services.database")

BUSY_SECONDS = 10.0
"""SQLite: how long a writer waits for the writer before it, in seconds. There is one writer at a time."""

POOL_SIZE = 5
POOL_OVERFLOW = 5
"""PostgreSQL: the connections that a process keeps, and those that it adds under load. By default a server allows 100,
which is enough for nine processes. More would not help: a connection is busy for milliseconds at a time."""

POOL_SECONDS = 5.0
CONNECT_SECONDS = 5.0
LOCK_SECONDS = 4.0
STATEMENT_SECONDS = 6.0
COMMAND_SECONDS = 8.0
IDLE_SECONDS = 15.0
RECYCLE_SECONDS = 1800
"""PostgreSQL: how long to wait, in seconds, for a place in the pool, for a connection, for a row that another
transaction has locked, and for a statement (measured by the server, and by the client in case the server hangs); how
long the server waits for the client within a transaction; and the age at which a connection is replaced, before a load
balancer drops it."""

MIGRATION_TURN_SECONDS = 120.0
"""PostgreSQL: how long a starting process waits for another process that migrates, in seconds."""


class Database:
    """A service's database. `open` it first, use `read` and `write` for transactions, and `close` it at the end.

    `url` is a URL of SQLAlchemy for SQLite or PostgreSQL. `migrations` is the folder with the service's Alembic
    scripts. Raises sqlalchemy.exc.ArgumentError if the URL is for another database.
    """

    def __init__(self, url: str | URL, migrations: Path) -> None:
        self._url = make_url(url)
        self._migrations = migrations
        self._kind = _kind_of(self._url)
        self._engine = self._kind.engine(self._url)
        telemetry.trace_statements(self._engine)
        self._reading = self._engine.execution_options(**self._kind.reading)
        self._writing = self._engine.execution_options(**self._kind.writing)

    async def open(self) -> None:
        """Create the tables, or migrate them. SQLite's file is created too.

        Processes that start together take turns: the first one migrates, and the others find nothing to do. Tables of a
        newer version are left as they are, if this version can work with them.
        Raises `DatabaseUnavailable` and `SchemaTooNew`.
        """
        await asyncio.to_thread(self._kind.prepare, self._url)
        # Alembic keeps its state in module globals. So it runs one migration at a time, in its own thread and loop.
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
        """Close all connections."""
        await self._engine.dispose()

    async def ready(self) -> None:
        """Check that the database answers. Raises `DatabaseUnavailable` if not."""
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Enclose a transaction that only reads, and that sees one state of the data.

        Raises `DatabaseUnavailable`.
        """
        with _Outages(self._kind):
            self._kind.check_in_place()
            async with self._reading.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Enclose a transaction that may write. It is committed at the end, and rolled back on an exception.

        SQLite has one such transaction at a time. PostgreSQL has many, and each statement sees what was committed
        before it (READ COMMITTED). A transaction that decides by what it has read must therefore lock it with `SELECT …
        FOR UPDATE`, repeat the condition in its UPDATE, or use `take_turns`.

        Raises `DatabaseUnavailable`; then nothing was written, unless its `maybe_written` is True. A statement that
        violates a constraint raises `sqlalchemy.exc.IntegrityError`, which must leave the transaction.
        """
        with _Outages(self._kind) as outages:
            self._kind.check_in_place()
            async with self._writing.begin() as connection:
                yield connection
                outages.is_committing = True
            self._kind.check_in_place()

    async def take_turns(self, connection: AsyncConnection, *names: str) -> None:
        """Wait until no other transaction holds one of `names`, and hold them until this transaction ends.

        Use it to lock something that has no row, once in a transaction of `write`.
        """
        await connection.run_sync(self._kind.take_turns, sorted(set(names)))


class _Kind(Protocol):
    """A kind of database. `reading` and `writing` are the execution options of its transactions."""

    reading: dict[str, Any]
    writing: dict[str, Any]

    def engine(self, url: URL, *, patient: bool = False) -> AsyncEngine:
        """Return an engine. If `patient`, statements have no time limit."""
        ...

    def prepare(self, url: URL) -> None:
        """Create what must exist before the first connection."""
        ...

    def take_migration_turn(self, connection: Connection) -> None:
        """Wait until no other process migrates."""
        ...

    def take_turns(self, connection: Connection, names: list[str]) -> None:
        """Lock `names` until the transaction ends."""
        ...

    def check_in_place(self) -> None:
        """Check that connections reach the database that `prepare` found. Raises `FileLost`."""
        ...

    def is_outage(self, error: BaseException) -> bool:
        """Return whether the database is to blame for the error, and not a statement of ours."""
        ...


class FileLost(ConnectionError):
    """SQLite's file was deleted or replaced while connections have it open. What they write is lost."""


class _SQLite(_Kind):
    """A file. It has one writer at a time, so writers take turns without further locks.

    A file that is deleted or replaced lives on for the connections that have it open. So each transaction checks that
    the file is still in its place. Only `prepare` creates it.
    """

    reading: dict[str, Any] = {}  # noqa: RUF012 - never changed
    writing: dict[str, Any] = {"services_writes": True}  # noqa: RUF012

    def __init__(self) -> None:
        self._rolling_back: set[asyncio.Future[None]] = set()
        self._path = Path()
        self._file: tuple[int, int] | None = None
        """The device and inode of the file, when it has been prepared."""

    @override
    def engine(self, url: URL, *, patient: bool = False) -> AsyncEngine:
        self._path = Path(url.database or "").absolute()
        # Without hide_parameters, errors would write customers' data to the log.
        engine = create_async_engine(url, hide_parameters=True)
        event.listen(engine.sync_engine, "do_connect", self._connect)
        event.listen(engine.sync_engine, "connect", self._connected)
        event.listen(engine.sync_engine, "begin", self._begin)
        event.listen(engine.sync_engine, "invalidate", self._roll_back)
        return engine

    @override
    def prepare(self, url: URL) -> None:
        """Create the file and its folder for this user only, and switch the file to WAL.

        With WAL readers do not wait for the writer.

        SQLite does not wait for other connections when it switches. So processes that start together try again.
        """
        path = self._path
        make_private_file(path)
        self._file = _identity(path)
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

    @override
    def take_migration_turn(self, connection: Connection) -> None:
        """Do nothing: the transaction has SQLite's write lock."""

    @override
    def take_turns(self, connection: Connection, names: list[str]) -> None:
        """Do nothing: the transaction has SQLite's write lock."""

    @override
    def check_in_place(self) -> None:
        if self._file is not None and _identity(self._path) != self._file:
            raise FileLost(
                f"the file {self._path} was deleted or replaced while this process has it open, so nothing is written "
                "any more. Stop all processes of this service, put the right file in its place, and start them again."
            )

    @override
    def is_outage(self, error: BaseException) -> bool:
        return isinstance(error, OperationalError | InterfaceError | PoolTimeout | ConnectionError)

    def _connect(self, _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]) -> None:
        """Let SQLAlchemy open the file, and never create it (SQLite, "Uniform Resource Identifiers")."""
        arguments[0] = f"file:{quote(str(self._path))}?mode=rw"
        options["uri"] = True

    @staticmethod
    def _connected(connection: Any, _record: object) -> None:
        """Leave BEGIN to `_begin`, and switch on what SQLite switches off by default."""
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()

    def _roll_back(self, connection: Any, _record: object, _error: object) -> None:
        """Roll back before the connection is closed, which SQLAlchemy does after this if a statement was cancelled.

        SQLite closes a connection only when its last statement is gone, and keeps the write lock until then (SQLite,
        "sqlite3_close_v2"). The exception may keep the cursor and its statement for long. aiosqlite executes calls in
        the order in which they are made, in a thread.
        """
        rolling_back = asyncio.ensure_future(connection.driver_connection.rollback())
        self._rolling_back.add(rolling_back)
        rolling_back.add_done_callback(self._rolled_back)

    def _rolled_back(self, rolling_back: "asyncio.Future[None]") -> None:
        self._rolling_back.discard(rolling_back)
        if not rolling_back.cancelled() and (error := rolling_back.exception()):
            _log.info("a connection that is closed could not be rolled back: %s", error)

    @staticmethod
    def _begin(connection: Connection) -> None:
        """Take the write lock at the beginning of a transaction that writes.

        A transaction that reads first and writes later cannot wait for the lock (SQLite, "SQLITE_BUSY_SNAPSHOT").
        """
        writes = connection.get_execution_options().get("services_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class _PostgreSQL(_Kind):
    """A server with many writers at a time.

    Source: PostgreSQL, "Client Connection Defaults", "Transaction Isolation", "Advisory Locks", "Error Codes".
    """

    # A transaction that only reads cannot fail at this level, and sees one state of the data.
    reading: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}  # noqa: RUF012
    writing: dict[str, Any] = {"isolation_level": "READ COMMITTED"}  # noqa: RUF012

    _MIGRATIONS = 0x6D73746F6B656E
    """The advisory lock of the process that migrates. It counts within one database, so services do not share it."""

    _OUTAGES = ("08", "28", "3D", "53", "57", "58", "40001", "40P01", "55P03", "25P03")
    """Codes, and classes of codes by their first two letters, of errors for which the database is to blame: connection
    lost, authentication failed, no such database, out of resources, shutting down or cancelled, system errors; and
    serialization failure, deadlock, lock time-out, and idle-in-transaction time-out."""

    @override
    def engine(self, url: URL, *, patient: bool = False) -> AsyncEngine:
        engine = create_async_engine(
            url,
            hide_parameters=True,
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_SECONDS,
            pool_recycle=RECYCLE_SECONDS,
            # Notices connections that are broken before they are used.
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
                    # It slows short queries down (SQLAlchemy, "Disabling the PostgreSQL JIT").
                    "jit": "off",
                },
            },
        )
        event.listen(engine.sync_engine, "handle_error", self._hide_details)
        return engine

    @override
    def prepare(self, url: URL) -> None:
        """Do nothing: the operator of the server creates the database."""

    @override
    def take_migration_turn(self, connection: Connection) -> None:
        """Wait for the turn, for long. Waits for tables stay short, because their readers wait behind a migration."""
        connection.execute(text(f"SET LOCAL lock_timeout = {_milliseconds(MIGRATION_TURN_SECONDS)}"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": self._MIGRATIONS})
        connection.execute(text(f"SET LOCAL lock_timeout = {_milliseconds(LOCK_SECONDS)}"))

    @override
    def check_in_place(self) -> None:
        """Do nothing: a connection that the server has lost fails by itself."""

    @override
    def take_turns(self, connection: Connection, names: list[str]) -> None:
        for name in names:
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})

    @override
    def is_outage(self, error: BaseException) -> bool:
        if isinstance(error, InterfaceError):
            # A value that the driver refuses is a defect of ours.
            return not isinstance(error.orig and error.orig.__cause__, ValueError)
        if isinstance(error, DBAPIError):
            code = getattr(error.orig, "sqlstate", None) or ""
            return error.connection_invalidated or code.startswith(self._OUTAGES)
        return isinstance(error, PoolTimeout | OSError)

    @staticmethod
    def _hide_details(context: ExceptionContext) -> None:
        """Remove the part of an error that quotes a row, because the error may be logged."""
        cause = context.original_exception.__cause__
        if cause is not None and hasattr(cause, "detail"):
            cause.detail = None


def _kind_of(url: URL) -> _Kind:
    kinds: dict[str, type[_Kind]] = {"sqlite+aiosqlite": _SQLite, "postgresql+asyncpg": _PostgreSQL}
    if url.drivername not in kinds:
        raise ArgumentError(f"A database URL must begin with one of {', '.join(kinds)}.")
    return kinds[url.drivername]()


class _Outages:
    """Logs errors for which the database is to blame, and turns them into `DatabaseUnavailable`."""

    def __init__(self, kind: _Kind) -> None:
        self._kind = kind
        self.is_committing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and self._kind.is_outage(error):
            message = f"the database is unavailable: {str(error).partition(chr(10))[0] or type(error).__name__}"
            level = logging.CRITICAL if isinstance(error, FileLost) else logging.ERROR
            log_event(_log, level, "database_unavailable", message, exc_info=error)
            raise DatabaseUnavailable(maybe_written=self.is_committing) from error


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file; None if there is no such file."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


def _upgrade(connection: Connection, migrations: Path) -> None:
    """Run the missing migrations in the transaction of the connection.

    A newer version of the service may have run migrations that this one does not know. Raises `SchemaTooNew` if this
    version cannot work with them.
    """
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    script = ScriptDirectory.from_config(config)
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None or knows(script, revision):
        command.upgrade(config, "head")
        return
    try:
        check_compatible(connection, script, revision)
    except SchemaTooNew as error:
        log_event(_log, logging.CRITICAL, "schema_too_new", str(error), revision=revision)
        raise
    message = f"the database is at revision {revision} of a newer version, which this version is compatible with"
    log_event(_log, logging.WARNING, "schema_newer", message, revision=revision)
