"""A database in SQLite: a file, for one machine.

SQLite is a library. Most statements take some tens of microseconds, which is less than it takes to hand them to a
thread. So statements run in the thread of the event loop, with these exceptions:

- COMMIT returns when the disk has what was written, which takes milliseconds. It runs in another thread.
- A query that takes longer than `MAX_BLOCKING_SECONDS` is interrupted, and runs again in another thread.
- SQLite's own way to wait for a lock blocks the thread. Instead, the event loop sleeps and tries again.

Transactions that write are committed together if they wait for each other (group commit): the disk is the slowest part.

Source: SQLite, "Write-Ahead Logging", "Savepoints", "Result and Error Codes".
"""

import asyncio
import math
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, Executable, QueuePool, Row, Select, Update, create_engine, insert
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.util import await_, greenlet_spawn
from typing_extensions import TypeVarTuple, override

from mstoken.blocking import DaemonThreads
from mstoken.per_process import PerProcess
from mstoken.private_files import make_private_file
from services.common import telemetry
from services.common.transactions import NewRows, Rows, Transaction, Values, rows_of, to_the_end

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BUSY_SECONDS = 10.0
"""How long a writer waits for the writers before it, in seconds. There is one writer at a time, in all processes."""
RETRY_SECONDS = 0.001
"""How long a writer sleeps before it asks again whether another process has finished its transaction, in seconds."""
POOL_SIZE = 10
"""How many transactions of a process can read at the same time."""
MAX_BLOCKING_SECONDS = 0.005
"""How long a query may hold up the event loop, in seconds."""

_STEPS = 1000
"""After how many steps of SQLite's virtual machine the time of a query is checked: after about 50 µs."""

_threads = PerProcess(lambda: DaemonThreads(POOL_SIZE + 1, "SQLite"))


class FileLost(ConnectionError):
    """The file was deleted or replaced while connections have it open. What they write is lost."""


class WritersBusy(ConnectionError):
    """Other transactions of this process have written for too long."""


class TransactionLost(ConnectionError):
    """SQLite has undone a transaction that was not committed yet."""


class SQLite:
    """The SQLite file of a URL.

    A file that is deleted or replaced lives on for the connections that have it open. So each transaction checks that
    the file is still in its place. Only `prepare` creates it.
    """

    def __init__(self, url: URL) -> None:
        self._path = Path(url.database or "").absolute()
        self._name = str(self._path)
        self._file: tuple[int, int] | None = None
        """The device and inode of the file, when it has been prepared."""
        self._readers = _engine(self._open_reader, POOL_SIZE)
        self._places = asyncio.Semaphore(POOL_SIZE)
        self._writer = _engine(self._open_writer, 1)
        self._turn = asyncio.Lock()
        """The turn to write. Those who wait for it get it in their order."""
        self._group: _Group | None = None
        """What the next writer joins."""
        for engine in self._readers, self._writer:
            telemetry.trace_statements(engine)

    def migrate(self, upgrade: Callable[[Connection], None]) -> None:
        """Create the file, and call `upgrade` in a transaction that writes. This blocks."""
        self._prepare()
        engine = _engine(lambda: self._open(sqlite3.Connection, BUSY_SECONDS), 1)
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                upgrade(connection)
        finally:
            engine.dispose()

    async def close(self) -> None:
        """Close all connections, after the commit that those who have written wait for."""
        if self._group is not None and self._group.committing is not None:
            await asyncio.wait({self._group.committing})
        async with self._turn:
            for engine in self._readers, self._writer:
                await greenlet_spawn(engine.dispose)

    async def fetch(self, query: Select[*Ts], parameters: Values) -> Sequence[Row[*Ts]]:
        """Return the rows of a query. A single query needs no transaction."""
        async with self._places:
            return await greenlet_spawn(self._fetch, query, parameters)

    def _fetch(self, query: Select[*Ts], parameters: Values) -> Sequence[Row[*Ts]]:
        with self._readers.connect() as connection:
            return connection.execute(query, parameters).all()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """Enclose a transaction that sees one state of the file. It cannot write."""
        async with self._places:
            connection = await greenlet_spawn(_begun, self._readers, "BEGIN")
            try:
                yield Transaction(connection)
            finally:
                await greenlet_spawn(connection.close)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Enclose a transaction, which is committed at its end, together with others that wait for their turn by then.

        One that raises is undone alone. It may have seen what the others have written, so it returns like they do when
        all is committed. If that fails, all of them fail.
        """
        group: _Group | None = None
        try:
            async with self._take_turn():
                group = await self._join_group()
                try:
                    group.begin_member()
                    yield Transaction(group.connection)
                    group.end_member()
                except BaseException:
                    if not group.undo_member():
                        self._group = None
                        await greenlet_spawn(group.connection.close)
                    raise
                if group.committing is None:
                    group.committing = asyncio.create_task(self._commit(group))
        except Exception:
            if group is not None and group.committing is not None:
                await asyncio.shield(group.committing)
            raise
        await asyncio.shield(group.committing)

    async def execute(self, statement: Executable, parameters: Values, committing: Callable[[], None]) -> Rows:
        """Execute one statement in a transaction of `write`. Call `committing` before the commit."""
        async with self.write() as transaction:
            rows = rows_of(await transaction.execute(statement, parameters))
            committing()
        return rows

    async def update_then_insert(
        self, update: Update, parameters: Mapping[str, Any], new_rows: NewRows, committing: Callable[[], None]
    ) -> bool:
        """Execute `update`, and if it changes a row, insert `new_rows`, in a transaction of `write`."""
        async with self.write() as transaction:
            is_done = (await transaction.execute(update, parameters)).rowcount > 0
            for table, rows in new_rows.items() if is_done else ():
                await transaction.execute(insert(table), rows)
            committing()
        return is_done

    async def take_turns(self, transaction: object, names: Sequence[str]) -> None:
        """Do nothing: the transaction has SQLite's write lock."""

    def check_in_place(self) -> None:
        """Check that connections reach the file that was prepared. Raises `FileLost`."""
        if self._file is not None and _identity(self._name) != self._file:
            raise FileLost(
                f"the file {self._path} was deleted or replaced while this process has it open, so nothing is written "
                "any more. Stop all processes of this service, put the right file in its place, and start them again."
            )

    def is_outage(self, error: BaseException) -> bool:
        """Return whether the database is to blame for the error, and not a statement of ours."""
        return isinstance(
            error, OperationalError | InterfaceError | PoolTimeout | ConnectionError | sqlite3.OperationalError
        )

    def _prepare(self) -> None:
        """Create the file and its folder for this user only, and switch the file to WAL.

        With WAL readers do not wait for the writer.

        SQLite does not wait for other connections when it switches. So processes that start together try again.
        """
        make_private_file(self._path)
        self._file = _identity(self._name)
        give_up_at = time.monotonic() + BUSY_SECONDS
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS)
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

    @asynccontextmanager
    async def _take_turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(BUSY_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise WritersBusy(f"other transactions have written for {BUSY_SECONDS:.0f} s") from None
        try:
            yield
        finally:
            self._turn.release()

    async def _join_group(self) -> "_Group":
        if self._group is None:
            self._group = _Group(await greenlet_spawn(_begun, self._writer, "BEGIN IMMEDIATE"))
        return self._group

    async def _commit(self, group: "_Group") -> None:
        """Commit a group when those who wait for their turn now have joined it: the turn goes round."""
        async with self._turn:
            if self._group is group:
                self._group = None
            await greenlet_spawn(group.commit)

    def _open(self, factory: type[sqlite3.Connection], busy_seconds: float) -> sqlite3.Connection:
        """Open the file, and never create it (SQLite, "Uniform Resource Identifiers").

        Switch on what SQLite switches off by default.
        """
        connection = sqlite3.connect(
            f"file:{quote(self._name)}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=factory,
        )
        try:
            for pragma in ("foreign_keys = ON", "synchronous = FULL", f"busy_timeout = {int(busy_seconds * 1000)}"):
                sqlite3.Connection.execute(connection, f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_reader(self) -> sqlite3.Connection:
        connection = self._open(_Reader, 0)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _open_writer(self) -> sqlite3.Connection:
        return self._open(_Connection, 0)


class _Group:
    """Transactions that are committed together. Each is a savepoint, so that it can be undone alone.

    Only the first one is none: before it, there is nothing to keep.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.committing: asyncio.Task[None] | None = None
        """The task that commits the group, when it has a member that has ended well."""
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - `SQLite` has opened it
        self._driver = driver

    def begin_member(self) -> None:
        if self.committing is not None:
            self._driver.execute("SAVEPOINT member")

    def end_member(self) -> None:
        if self.committing is not None:
            self._driver.execute("RELEASE member")

    def undo_member(self) -> bool:
        """Undo what the present member has written. Return False if nothing is left that could be committed.

        After some errors, such as a full disk, SQLite has undone everything itself.
        """
        if self.committing is None or not self._driver.in_transaction:
            return False
        self._driver.execute("ROLLBACK TO member")
        self._driver.execute("RELEASE member")
        return True

    def commit(self) -> None:
        """Commit, in a thread."""
        if self.connection.closed:
            raise TransactionLost("SQLite has undone this transaction because of an error in another one")
        try:
            self.connection.commit()
        except BaseException:
            # The transaction may still be open. It ends with the connection.
            self.connection.invalidate()
            raise
        finally:
            self.connection.close()


class _Connection(sqlite3.Connection):
    """A connection for an event loop. It must be used in a greenlet, except to close it and to roll back."""

    @override
    def cursor(self, factory: object = None) -> sqlite3.Cursor:  # type: ignore[override] # SQLAlchemy gives none
        return super().cursor(_Cursor)

    @override
    def commit(self) -> None:
        """Commit, in a thread. This cannot be cancelled: it waits until the outcome is known.

        Raises `sqlite3.OperationalError` if there is no transaction any more.
        """
        await_(_in_thread(self.execute_here, "COMMIT"))

    def execute_here(self, sql: str) -> None:
        """Execute a statement in this thread."""
        super().cursor().execute(sql).close()


class _Reader(_Connection):
    """A connection that interrupts what holds up the event loop."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.interrupt_at = math.inf
        """When to interrupt a query, by `time.perf_counter`."""
        self.set_progress_handler(self._is_too_long, _STEPS)

    def stop(self) -> None:
        """Interrupt the query that is under way in a thread, or is about to begin there."""
        self.interrupt_at = -math.inf

    def _is_too_long(self) -> bool:
        return time.perf_counter() > self.interrupt_at


class _Cursor(sqlite3.Cursor):
    """A cursor that executes a statement to its end at once, and then keeps its rows."""

    _rows: Iterator[Any] = iter(())

    @override
    def execute(self, sql: str, parameters: Any = (), /) -> Self:
        give_up_at = time.monotonic() + BUSY_SECONDS
        connection = self.connection
        while True:
            if isinstance(connection, _Reader):
                connection.interrupt_at = time.perf_counter() + MAX_BLOCKING_SECONDS
            try:
                self._run(sql, parameters)
            except sqlite3.OperationalError as error:
                if _is_busy(error) and time.monotonic() < give_up_at:
                    await_(asyncio.sleep(RETRY_SECONDS))
                elif isinstance(connection, _Reader) and error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                    connection.interrupt_at = math.inf
                    await_(_in_thread(self._run, sql, parameters, stop=connection.stop))
                    return self
                else:
                    raise
            else:
                return self

    def _run(self, sql: str, parameters: Any) -> None:
        super().execute(sql, parameters)
        self._rows = iter(super().fetchall())

    @override
    def fetchone(self) -> Any:
        return next(self._rows, None)

    @override
    def fetchmany(self, size: int | None = 1) -> list[Any]:
        return list(islice(self._rows, size))

    @override
    def fetchall(self) -> list[Any]:
        return list(self._rows)


async def _in_thread(call: Callable[..., T], *arguments: Any, stop: Callable[[], None] | None = None) -> T:
    """Return `call(*arguments)`, which runs in a thread.

    If the task is cancelled, this calls `stop`, and waits until the call has ended: the connection is free then.
    """
    return await to_the_end(asyncio.wrap_future(_threads.get().submit(call, *arguments)), stop=stop)


def _engine(open_connection: Callable[[], sqlite3.Connection], size: int) -> Engine:
    # Without hide_parameters, errors would write customers' data to the log. The caches of the connection that was used
    # last are warm. No one waits at the pool, because that would block the event loop.
    return create_engine(
        "sqlite://",
        creator=open_connection,
        hide_parameters=True,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=0,
        pool_use_lifo=True,
    )


def _begun(engine: Engine, begin: str) -> Connection:
    connection = engine.connect()
    try:
        connection.exec_driver_sql(begin)
    except BaseException:
        connection.close()
        raise
    return connection


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _identity(name: str) -> tuple[int, int] | None:
    """Return the device and inode of a file; None if there is no such file."""
    try:
        found = os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
