"""services/common/sqlite.py: what runs in the event loop, and what is committed together"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Select, column, event, literal_column, select, table, text, update
from sqlalchemy import insert as insert_into
from sqlalchemy.exc import IntegrityError, OperationalError

from services.common import sqlite as module
from services.common.database import Database
from services.common.errors import DatabaseUnavailable
from services.common.transactions import Transaction
from services.product.app import MIGRATIONS

NAMES: Select[Any] = select(literal_column("name")).select_from(text("people")).order_by(text("name"))
SLOW: Select[Any] = select(literal_column("count(*)")).select_from(
    text("(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT i FROM n)")
)
ENDLESS: Select[Any] = select(literal_column("count(*)")).select_from(
    text("(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n)")
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is."""
    return tmp_path / "x.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    """A database with an empty table `people`."""
    database = Database(f"sqlite:///{path}", MIGRATIONS)
    await database.open()
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE people (name VARCHAR(10) PRIMARY KEY)"))
    yield database
    await database.close()


@pytest.fixture
def writer(database: Database) -> Engine:
    """The engine of the transactions that write."""
    assert isinstance(database._kind, module.SQLite)
    return database._kind._writer


@pytest.fixture
def commits(writer: Engine) -> list[object]:
    """Has an element for each commit."""
    commits: list[object] = []
    event.listen(writer, "commit", commits.append)
    return commits


@pytest.fixture
def another(database: Database, path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of another process."""
    another = sqlite3.connect(path, isolation_level=None, timeout=0)
    yield another
    another.close()


async def insert(connection: Transaction, name: str) -> None:
    await connection.execute(text("INSERT INTO people VALUES (:name)"), {"name": name})


async def add(database: Database, name: str, error: Exception | None = None) -> None:
    """Add a person, and raise `error`."""
    async with database.write() as connection:
        await insert(connection, name)
        if error is not None:
            raise error


def fail_next_commit(writer: Engine) -> None:
    def fail(_connection: object) -> None:
        event.remove(writer, "commit", fail)
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

    event.listen(writer, "commit", fail)


async def names(database: Database) -> list[str]:
    return [name for (name,) in await database.fetch(NAMES)]


async def test_writers_that_wait_are_committed_together(database: Database, commits: list[object]) -> None:
    """While a transaction writes, others wait. They join it, and the disk is waited for once."""
    everyone = [f"n{number}" for number in range(10)]
    await asyncio.gather(*(add(database, name) for name in everyone))
    assert await names(database) == everyone
    assert len(commits) == 1


async def test_writers_that_do_not_wait_are_committed_at_once(database: Database, commits: list[object]) -> None:
    """A transaction does not wait for others that could join it."""
    for number, name in enumerate(("a", "b", "c")):
        await add(database, name)
        assert len(commits) == number + 1


async def test_a_writer_that_fails_is_undone_alone(database: Database, commits: list[object]) -> None:
    """Transactions that are committed together fail on their own."""
    ends = await asyncio.gather(
        add(database, "a", ZeroDivisionError()),
        add(database, "b"),
        add(database, "c", ZeroDivisionError()),
        add(database, "d"),
        add(database, "b"),
        return_exceptions=True,
    )
    assert [type(end) for end in ends] == [ZeroDivisionError, type(None), ZeroDivisionError, type(None), IntegrityError]
    assert await names(database) == ["b", "d"]
    assert len(commits) == 1


async def test_a_writer_that_is_cancelled_is_undone_alone(database: Database) -> None:
    """The others are committed, without waiting for more than the one that is cancelled."""
    begun = asyncio.Event()

    async def add_and_wait() -> None:
        async with database.write() as connection:
            await insert(connection, "b")
            begun.set()
            await asyncio.Event().wait()

    adding = [asyncio.create_task(task) for task in (add(database, "a"), add_and_wait(), add(database, "c"))]
    await begun.wait()
    adding[1].cancel()
    async with asyncio.timeout(30):
        ends = await asyncio.gather(*adding, return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), asyncio.CancelledError, type(None)]
    assert await names(database) == ["a", "c"]


async def test_what_a_refusal_is_based_on_is_committed_before_it_is_known(database: Database) -> None:
    """A row that makes another transaction fail can be read when that one has failed."""

    async def add_or_read() -> list[str]:
        try:
            await add(database, "a")
        except IntegrityError:
            return await names(database)
        return ["a"]

    assert await asyncio.gather(*(add_or_read() for _ in range(5))) == [["a"]] * 5


async def test_if_the_commit_fails_it_fails_for_all(database: Database, writer: Engine) -> None:
    """None of the transactions that are committed together counts as written, and the next one is not affected."""
    fail_next_commit(writer)
    ends = await asyncio.gather(*(add(database, name) for name in "abc"), return_exceptions=True)
    assert [isinstance(end, DatabaseUnavailable) and end.maybe_written for end in ends] == [True] * 3
    await add(database, "d")
    assert await names(database) == ["d"]


async def write_one_statement(database: Database, *, is_update: bool) -> None:
    """Change or add a person without a transaction of several statements."""
    people = table("people", column("name"))
    if is_update:
        await database.update_then_insert(update(people).values(name="b"), {}, {})
    else:
        await database.execute(insert_into(people).values(name="b"))


@pytest.mark.parametrize("is_update", [False, True])
async def test_if_the_commit_of_one_statement_fails(database: Database, writer: Engine, is_update: bool) -> None:
    """It is not known whether the statement was written, as at the end of a transaction with several."""
    await add(database, "a")
    fail_next_commit(writer)
    with pytest.raises(DatabaseUnavailable) as raised:
        await write_one_statement(database, is_update=is_update)
    assert raised.value.maybe_written
    assert await names(database) == ["a"]


@pytest.mark.parametrize("is_update", [False, True])
async def test_a_file_that_is_lost_when_one_statement_is_committed(
    database: Database, writer: Engine, path: Path, is_update: bool
) -> None:
    """What was written to a deleted file does not count as written."""
    event.listen(writer, "commit", lambda _connection: path.unlink())
    with pytest.raises(DatabaseUnavailable) as raised:
        await write_one_statement(database, is_update=is_update)
    assert raised.value.maybe_written


async def test_if_sqlite_undoes_everything_it_fails_for_all(database: Database) -> None:
    """On some errors, such as a full disk, SQLite rolls back by itself: what the others wrote is gone then."""

    async def lose() -> None:
        async with database.write() as connection:
            await insert(connection, "b")
            await connection.execute(text("ROLLBACK"))
            raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    ends = await asyncio.gather(add(database, "a"), lose(), add(database, "c"), return_exceptions=True)
    assert [type(end) for end in ends] == [DatabaseUnavailable, DatabaseUnavailable, type(None)]
    assert await names(database) == ["c"]


async def test_a_transaction_that_sqlite_has_undone_is_not_written(database: Database) -> None:
    """A transaction that does not notice that SQLite has rolled it back fails at its end."""
    with pytest.raises(DatabaseUnavailable):  # noqa: PT012 - the transaction has statements
        async with database.write() as connection:
            await insert(connection, "a")
            await connection.execute(text("ROLLBACK"))
    await add(database, "b")
    assert await names(database) == ["b"]


async def test_a_commit_waits_for_the_disk(database: Database) -> None:
    """What was committed survives a crash of the machine (SQLite, "PRAGMA synchronous": FULL is 2)."""
    async with database.write() as connection:
        assert (await connection.execute(text("PRAGMA synchronous"))).scalar_one() == 2


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_closing_waits_for_what_is_being_committed(database: Database, path: Path, is_cancelled: bool) -> None:
    """What was written is in the file, also if nothing waits for it any more, and no connection is left open."""
    adding = asyncio.create_task(add(database, "a"))
    await asyncio.sleep(0)
    if is_cancelled:
        adding.cancel()
    await database.close()
    # SQLite deletes the log with the last connection.
    assert not path.with_name("x.db-wal").exists()
    await asyncio.wait({adding})
    assert adding.cancelled() == is_cancelled
    with closing(sqlite3.connect(path)) as another:
        assert another.execute("SELECT name FROM people").fetchall() == [("a",)]


async def test_the_loop_goes_on_while_another_process_writes(database: Database, another: sqlite3.Connection) -> None:
    """A writer waits for the lock of another process, and readers do not."""
    another.execute("BEGIN IMMEDIATE")
    adding = asyncio.create_task(add(database, "a"))
    for _ in range(3):
        assert await names(database) == []
        await asyncio.sleep(2 * module.RETRY_SECONDS)
    assert not adding.done()
    another.execute("COMMIT")
    async with asyncio.timeout(30):
        await adding
    assert await names(database) == ["a"]


async def test_a_writer_does_not_wait_for_ever(
    database: Database, another: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If others write for too long, in this process or in another one, the database counts as unavailable."""
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.05)
    another.execute("BEGIN IMMEDIATE")
    for end in await asyncio.gather(add(database, "a"), add(database, "b"), return_exceptions=True):
        assert isinstance(end, DatabaseUnavailable)
        assert not end.maybe_written
    another.execute("COMMIT")
    async with database.write():
        with pytest.raises(DatabaseUnavailable):
            await add(database, "a")
    assert await names(database) == []


async def test_a_writer_that_is_cancelled_while_it_waits(database: Database, another: sqlite3.Connection) -> None:
    """It holds up no other writer."""
    another.execute("BEGIN IMMEDIATE")
    adding = [asyncio.create_task(add(database, name)) for name in "ab"]
    await asyncio.sleep(2 * module.RETRY_SECONDS)
    for task in adding:
        task.cancel()
    await asyncio.wait(adding)
    another.execute("COMMIT")
    async with asyncio.timeout(30):
        await add(database, "c")
    assert await names(database) == ["c"]


async def test_a_slow_query_does_not_hold_up_the_loop(database: Database) -> None:
    """A query that takes long goes on in a thread, while other tasks run."""
    counting = asyncio.create_task(database.fetch(SLOW))
    rounds = 0
    while not counting.done():
        await asyncio.sleep(0)
        rounds += 1
    assert counting.result() == [(300_000,)]
    assert rounds > 2


async def test_a_slow_query_in_a_transaction(database: Database) -> None:
    """A transaction that reads sees the same state before and after a query that went on in a thread."""
    async with database.read() as connection:
        assert (await connection.execute(NAMES)).all() == []
        await add(database, "a")
        assert (await connection.execute(SLOW)).scalar_one() == 300_000
        assert (await connection.execute(NAMES)).all() == []


async def test_a_query_that_is_cancelled_ends(database: Database) -> None:
    """A query in a thread ends with its request, and leaves its connection to others."""
    for _ in range(module.POOL_SIZE + 1):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await database.fetch(ENDLESS)
    assert await names(database) == []


async def test_a_reader_cannot_write(database: Database) -> None:
    """A transaction of `read` cannot write, as in PostgreSQL."""
    with pytest.raises(DatabaseUnavailable):
        async with database.read() as connection:
            await insert(connection, "a")
    assert await names(database) == []
