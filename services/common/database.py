"""The database of one service: transactions and migrations.

SQLite (`sqlite://`) is for one machine (`services.common.sqlite`), PostgreSQL (`postgresql+asyncpg://`) for many
(`services.common.postgresql`). Only these modules know which of them it is.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, Self

from sqlalchemy import URL, Connection, Executable, Row, Select, Update, literal_column, make_url, select
from sqlalchemy.exc import ArgumentError
from typing_extensions import TypeVarTuple

from mstoken.log_events import log_event
from services.common.errors import DatabaseUnavailable
from services.common.postgresql import PostgreSQL
from services.common.revisions import is_newest
from services.common.sqlite import FileLost, SQLite
from services.common.transactions import NewRows, Rows, Transaction, Values

Ts = TypeVarTuple("Ts")

_ANYTHING: Select[int] = select(literal_column("1"))
_alembic = threading.Lock()
_log = logging.getLogger("services.database")


class Database:
    """A service's database. `open` it first, use `fetch`, `read` and `write`, and `close` it at the end.

    `url` is a URL of SQLAlchemy for SQLite or PostgreSQL. `migrations` is the folder with the service's Alembic
    scripts. Raises sqlalchemy.exc.ArgumentError if the URL is for another database.
    """

    def __init__(self, url: str | URL, migrations: Path) -> None:
        parsed = make_url(url)
        if parsed.drivername not in _KINDS:
            raise ArgumentError(f"A database URL must begin with one of {', '.join(_KINDS)}.")
        self._migrations = migrations
        self._kind = _KINDS[parsed.drivername](parsed)

    async def open(self) -> None:
        """Create the tables, or migrate them. SQLite's file is created too.

        Processes that start together take turns: the first one migrates, and the others find nothing to do. Tables of a
        newer version are left as they are, if this version can work with them.
        Raises `DatabaseUnavailable` and `SchemaTooNew`.
        """
        await asyncio.to_thread(self._migrate)

    def _migrate(self) -> None:
        # Alembic keeps its state in module globals. So it runs one migration at a time.
        with _alembic, _Outages(self._kind):
            self._kind.migrate(lambda connection: _upgrade(connection, self._migrations))

    async def close(self) -> None:
        """Close all connections."""
        await self._kind.close()

    async def ready(self) -> None:
        """Check that the database answers. Raises `DatabaseUnavailable` if not."""
        await self.fetch(_ANYTHING)

    async def fetch(self, query: Select[*Ts], parameters: Values = None) -> Sequence[Row[*Ts]]:
        """Return the rows of one query. This takes less time than a transaction with one query.

        Raises `DatabaseUnavailable`.
        """
        with _Outages(self._kind):
            self._kind.check_in_place()
            return await self._kind.fetch(query, parameters)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """Enclose a transaction that only reads, and that sees one state of the data.

        Raises `DatabaseUnavailable`.
        """
        with _Outages(self._kind):
            self._kind.check_in_place()
            async with self._kind.read() as transaction:
                yield transaction

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Enclose a transaction that may write. It is committed at the end, and rolled back on an exception.

        SQLite has one such transaction at a time. PostgreSQL has many, and each statement sees what was committed
        before it (READ COMMITTED). A transaction that decides by what it has read must therefore lock it with `SELECT …
        FOR UPDATE`, repeat the condition in its UPDATE, or use `take_turns`.

        Raises `DatabaseUnavailable`; then nothing was written, unless its `maybe_written` is True. A statement that
        violates a constraint raises `sqlalchemy.exc.IntegrityError`, which must leave the transaction.
        """
        with _Outages(self._kind) as outages:
            self._kind.check_in_place()
            async with self._kind.write() as transaction:
                yield transaction
                outages.note_commit()
            self._kind.check_in_place()

    async def execute(self, statement: Executable, parameters: Values = None) -> Rows:
        """Execute one statement that writes, and return the rows of its RETURNING, if it has one.

        It takes less time than a transaction of `write` with one statement, and promises and raises the same. It is for
        one set of parameters, because several would be committed one by one.
        """
        with _Outages(self._kind) as outages:
            self._kind.check_in_place()
            rows = await self._kind.execute(statement, parameters, outages.note_commit)
            self._kind.check_in_place()
        return rows

    async def update_then_insert(self, update: Update, parameters: Mapping[str, Any], new_rows: NewRows) -> bool:
        """Execute `update`. If it changes a row, insert `new_rows`, and return True. Otherwise write nothing.

        It takes less time than a transaction of `write` that does the same, and promises and raises the same.
        """
        with _Outages(self._kind) as outages:
            self._kind.check_in_place()
            is_done = await self._kind.update_then_insert(update, parameters, new_rows, outages.note_commit)
            self._kind.check_in_place()
        return is_done

    async def take_turns(self, transaction: Transaction, *names: str) -> None:
        """Wait until no other transaction holds one of `names`, and hold them until this transaction ends.

        Use it to lock something that has no row, once in a transaction of `write`.
        """
        await self._kind.take_turns(transaction, sorted(set(names)))


class _Kind(Protocol):
    """A kind of database."""

    def __init__(self, url: URL) -> None: ...

    def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        """Create what must exist before the first connection, and call `upgrade` in a transaction that writes.

        Processes that do this take turns. Call it in a thread, because it blocks.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...

    async def fetch(self, query: Select[*Ts], parameters: Values) -> Sequence[Row[*Ts]]:
        """Return the rows of one query."""
        ...

    async def execute(self, statement: Executable, parameters: Values, committing: Callable[[], None]) -> Rows:
        """Execute one statement that writes. Call `committing` when it may be committed from then on."""
        ...

    async def update_then_insert(
        self, update: Update, parameters: Mapping[str, Any], new_rows: NewRows, committing: Callable[[], None]
    ) -> bool:
        """Execute `update`, and if it changes a row, insert `new_rows`. Call `committing` as `execute` does."""
        ...

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Enclose a transaction that only reads."""
        ...

    def write(self) -> AbstractAsyncContextManager[Transaction]:
        """Enclose a transaction that may write."""
        ...

    async def take_turns(self, transaction: Transaction, names: Sequence[str]) -> None:
        """Lock `names` until the transaction ends."""
        ...

    def check_in_place(self) -> None:
        """Check that connections reach the database that `migrate` found. Raises `FileLost`."""
        ...

    def is_outage(self, error: BaseException) -> bool:
        """Return whether the database is to blame for the error, and not a statement of ours."""
        ...


_KINDS: Mapping[str, type[_Kind]] = {"sqlite": SQLite, "postgresql+asyncpg": PostgreSQL}


class _Outages:
    """Logs errors for which the database is to blame, and turns them into `DatabaseUnavailable`."""

    def __init__(self, kind: _Kind) -> None:
        self._kind = kind
        self._is_committing = False

    def note_commit(self) -> None:
        """Note that from now on the transaction may be committed."""
        self._is_committing = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: object, error: BaseException | None, traceback: object) -> None:
        if error is not None and self._kind.is_outage(error):
            message = f"the database is unavailable: {str(error).partition(chr(10))[0] or type(error).__name__}"
            level = logging.CRITICAL if isinstance(error, FileLost) else logging.ERROR
            log_event(_log, level, "database_unavailable", message, exc_info=error)
            raise DatabaseUnavailable(maybe_written=self._is_committing) from error


def _upgrade(connection: Connection, migrations: Path) -> None:
    """Run the missing migrations in the transaction of the connection. Raises `SchemaTooNew`."""
    if is_newest(connection, migrations):
        return
    # Imported here, because Alembic takes a tenth of the time in which a process starts, and it seldom has work to do.
    from services.common.migrations import upgrade

    upgrade(connection, migrations)
