"""The database of one service: connections, transactions, migrations. What is peculiar to SQLite stands here alone."""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, event, make_url, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from services.common.faults import DatabaseUnavailable

_alembic = threading.Lock()
_log = logging.getLogger("services.database")

BUSY_SECONDS = 10.0
"""How long a writer waits for the one before it; SQLite has one at a time."""


class Database:
    """A service's database. Transactions come from `read` and `write`; `open` it first, and `close` it at the end.

    `url` is SQLAlchemy's, with an asyncio driver; `migrations` is the folder with the service's Alembic scripts.
    Raises sqlalchemy.exc.ArgumentError for a URL that is none.
    """

    def __init__(self, url: str | URL, migrations: Path) -> None:
        self._url = make_url(url)
        self._migrations = migrations
        # Without hide_parameters an error would carry customers' data into the log.
        self._engine = create_async_engine(self._url, hide_parameters=True, pool_pre_ping=not self._is_sqlite)
        self._writing = self._engine.execution_options(**{_WRITES: True})
        if self._is_sqlite:
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_sqlite)

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    async def open(self) -> None:
        """Makes the database if there is none, and brings its tables up to date.

        Processes that start together take turns: the first migrates, the others find nothing left to do.
        """
        if self._is_sqlite:
            await asyncio.to_thread(_make_sqlite_file, Path(self._url.database or ""))
        # Alembic keeps the migration that it is at in module globals, so it runs undisturbed, in a thread and a loop
        # of its own.
        await asyncio.to_thread(self._migrate)

    def _migrate(self) -> None:
        with _alembic:
            asyncio.run(Database(self._url, self._migrations)._upgrade_and_close())

    async def _upgrade_and_close(self) -> None:
        try:
            async with self.write() as connection:
                await connection.run_sync(_upgrade, self._migrations)
        finally:
            await self.close()

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
        with _Outages():
            async with self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write: committed at the end, rolled back on an exception.

        Raises `DatabaseUnavailable`; and `sqlalchemy.exc.IntegrityError` from the statement that breaks a rule.
        """
        with _Outages():
            async with self._writing.begin() as connection:
                yield connection


class _Outages:
    """Logs the driver's errors that are no fault of the caller's, and turns them into `DatabaseUnavailable`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OperationalError | InterfaceError | PoolTimeout | ConnectionError):
            _log.error("database_unavailable", exc_info=error)
            raise DatabaseUnavailable from error


_WRITES = "services_writes"


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Leaves the beginning of transactions to `_begin_sqlite`, and switches on what SQLite has off by default."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Takes the write lock at once where it will be needed: a reader that turns writer later cannot wait for it.

    Source: SQLite, "Write-Ahead Logging" and "SQLITE_BUSY_SNAPSHOT".
    """
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_sqlite_file(path: Path) -> None:
    """Makes the file and its folder, and lets readers and the writer work side by side (WAL, kept in the file).

    The switch to WAL needs the file alone and does not wait for it, so processes that start together try again.
    """
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


def _upgrade(connection: Connection, migrations: Path) -> None:
    """Runs the migrations that are missing, inside the connection's transaction.

    On SQLite that transaction already holds the write lock; elsewhere the service takes one of its own here.
    """
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
