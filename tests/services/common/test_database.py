"""services/common/database.py, on SQLite and on PostgreSQL"""

import asyncio
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, Integer, MetaData, Select, String, Table, bindparam, literal_column, select, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError

from services.billing import app as billing
from services.common import postgresql as postgresql_module
from services.common import sqlite as sqlite_module
from services.common.database import Database
from services.common.errors import DatabaseUnavailable
from services.product import app as product
from services.product.app import MIGRATIONS
from services.user import app as user
from tests.postgresql import START_SECONDS, PostgresServer
from tests.services.conftest import NewDatabase

pytestmark = pytest.mark.both_databases

OPEN = """
import asyncio, sys
from pathlib import Path
from services.common.database import Database

async def main() -> None:
    database = Database(sys.argv[1], Path(sys.argv[2]))
    print("opening", flush=True)
    await database.open()
    await database.close()

asyncio.run(main())
"""
END_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
"""Ends the other connections to this database, and waits until they have ended."""
COUNTER = Table("counter", MetaData(), Column("name", String(10)), Column("value", Integer))
SET_VALUE = COUNTER.update().where(COUNTER.c.name == bindparam("which")).values(value=bindparam("new"))
READ_VALUE = text("SELECT value FROM counter WHERE name = 'a'")


async def with_counter(url: str) -> Database:
    """Return an open database with the tables of Product and a table `counter`."""
    database = Database(url, MIGRATIONS)
    await database.open()
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE counter (name VARCHAR(10) PRIMARY KEY, value INTEGER)"))
        await connection.execute(text("INSERT INTO counter VALUES ('a', 0)"))
    return database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with a table `counter`."""
    database = await with_counter(database_url)
    yield database
    await database.close()


async def value(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(READ_VALUE)).scalar_one())


async def locked_out(database: Database, count: int) -> None:
    """Return when so many statements wait for a lock of PostgreSQL."""
    waiting: Select[Any] = select(literal_column("1")).select_from(text("pg_locks")).where(text("NOT granted"))
    while len(await database.fetch(waiting)) < count:
        pass


async def start_together(url: str, *, then: Callable[[], Awaitable[None]]) -> None:
    """Start processes that open the database, call `then` while all of them wait, and check that all succeed."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", OPEN, url, str(MIGRATIONS)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout
        assert await process.stdout.readline() == b"opening\n"
    await then()
    ends = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0] * 3, ends


async def test_databases_of_one_process_open_together(new_database: NewDatabase) -> None:
    """Several databases that one process opens at the same time do not mix up their migrations."""
    migrations = (product.MIGRATIONS, user.MIGRATIONS, billing.MIGRATIONS)
    databases = [Database(new_database(), folder) for folder in migrations]
    await asyncio.gather(*(database.open() for database in databases))
    for database, table in zip(databases, ("products", "profiles", "bills"), strict=True):
        async with database.read() as connection:
            assert (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0
        await database.close()


async def test_writers_take_turns(database: Database) -> None:
    """Transactions that take turns do not lose each other's writes, and none of them fails."""

    async def increment() -> None:
        async with database.write() as connection:
            await database.take_turns(connection, "counter", "another", "counter")
            read = (await connection.execute(READ_VALUE)).scalar_one()
            await connection.execute(text("UPDATE counter SET value = :value"), {"value": read + 1})

    await asyncio.gather(*(increment() for _ in range(10)))
    assert await value(database) == 10


async def test_a_reader_sees_one_state(database: Database) -> None:
    """A transaction that reads does not see what is committed after it began."""
    async with database.read() as reader:
        assert (await reader.execute(READ_VALUE)).scalar_one() == 0
        async with database.write() as writer:
            await writer.execute(text("UPDATE counter SET value = 7"))
        assert (await reader.execute(READ_VALUE)).scalar_one() == 0
    assert await value(database) == 7


async def test_a_query_by_itself(database: Database) -> None:
    """A query sees what was committed before it, and takes parameters."""
    found: Select[Any] = select(literal_column("value")).select_from(text("counter")).where(text("name = :name"))
    async with database.write() as writer:
        await writer.execute(text("UPDATE counter SET value = 7"))
        assert await database.fetch(found, {"name": "a"}) == [(0,)]
    assert await database.fetch(found, {"name": "a"}) == [(7,)]
    assert await database.fetch(found, {"name": "b"}) == []


async def test_a_statement_by_itself(database: Database) -> None:
    """A statement that writes takes parameters, is committed when it returns, and gives the rows of its RETURNING."""
    change = "UPDATE counter SET value = value + :more WHERE name = :name"
    assert await database.execute(text(change), {"more": 7, "name": "a"}) == ()
    assert await value(database) == 7
    assert await database.execute(text(f"{change} RETURNING value"), {"more": 1, "name": "a"}) == [(8,)]
    assert await database.execute(text(f"{change} RETURNING value"), {"more": 1, "name": "b"}) == []
    assert await value(database) == 8


async def test_a_statement_by_itself_that_is_refused(database: Database) -> None:
    """A statement that violates a constraint raises IntegrityError and writes nothing. The next one works."""
    with pytest.raises(IntegrityError):
        await database.execute(text("INSERT INTO counter VALUES ('b', 1), ('a', 1)"))
    assert await database.execute(text("INSERT INTO counter VALUES ('b', 1) RETURNING name")) == [("b",)]


@pytest.mark.parametrize("count", [1, 3])
async def test_an_update_with_new_rows(database: Database, count: int) -> None:
    """If the update changes a row, the rows are inserted too. Otherwise nothing is written."""
    rows = [{"name": f"n{number}", "value": number} for number in range(count)]
    assert not await database.update_then_insert(SET_VALUE, {"which": "b", "new": 7}, {COUNTER: rows})
    assert await database.fetch(select(COUNTER)) == [("a", 0)]
    assert await database.update_then_insert(SET_VALUE, {"which": "a", "new": 7}, {COUNTER: rows})
    found = await database.fetch(select(COUNTER).order_by(COUNTER.c.name))
    assert found == [("a", 7), *((row["name"], row["value"]) for row in rows)]


async def test_an_update_whose_new_rows_are_refused(database: Database) -> None:
    """If a row violates a constraint, nothing is written, and the error is an IntegrityError."""
    rows = [{"name": "b", "value": 1}, {"name": "a", "value": 1}]
    with pytest.raises(IntegrityError):
        await database.update_then_insert(SET_VALUE, {"which": "a", "new": 7}, {COUNTER: rows})
    assert await database.fetch(select(COUNTER)) == [("a", 0)]


async def test_an_exception_undoes_the_transaction(database: Database) -> None:
    """A transaction that ends with an exception leaves nothing behind."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the transaction has a statement
        async with database.write() as connection:
            await connection.execute(text("UPDATE counter SET value = 7"))
            raise ZeroDivisionError
    assert await value(database) == 0


async def test_a_cancelled_transaction_leaves_its_connection_clean(database: Database) -> None:
    """A cancelled transaction is undone, and does not block the transactions after it."""
    begun = asyncio.Event()

    async def write_and_wait() -> None:
        async with database.write() as connection:
            await connection.execute(text("UPDATE counter SET value = 7"))
            begun.set()
            await asyncio.Event().wait()

    writing = asyncio.create_task(write_and_wait())
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    async with asyncio.timeout(30), database.write() as connection:
        await connection.execute(text("UPDATE counter SET value = value + 1"))
    assert await value(database) == 1


@pytest.mark.parametrize("steps", range(10))
async def test_a_request_that_is_cancelled_at_the_pool_leaks_no_connection(
    database: Database, database_url: str, steps: int
) -> None:
    """A request is cancelled while it waits for a connection, or some steps of the loop after it could have one.

    Afterwards all connections of the pool can be had at once.
    """
    connections = sqlite_module.POOL_SIZE if database_url.startswith("sqlite") else postgresql_module.POOL_SIZE
    free, taken = asyncio.Event(), asyncio.Barrier(connections + 1)

    async def take() -> None:
        async with database.read() as connection:
            await connection.execute(READ_VALUE)
            await taken.wait()
            await free.wait()

    async with asyncio.timeout(30):
        holders = [asyncio.create_task(take()) for _ in range(connections)]
        await taken.wait()
        waiting = [asyncio.create_task(task()) for task in (*[lambda: value(database)] * 3, *[database.ready] * 3)]
        await asyncio.sleep(0)
        free.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*holders)
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(end in (0, None) or isinstance(end, asyncio.CancelledError) for end in ended)
        holders = [asyncio.create_task(take()) for _ in range(connections)]
        await taken.wait()
        await asyncio.gather(*holders)


async def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    """While one transaction writes, others can read what was there before."""
    async with database.write() as connection:
        await connection.execute(text("UPDATE counter SET value = 7"))
        assert await value(database) == 0


async def test_foreign_keys_are_enforced(database: Database) -> None:
    """A row that refers to a missing row is refused. SQLite does not do this by default."""
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE child (parent VARCHAR(10) REFERENCES counter (name))"))
    with pytest.raises(IntegrityError):
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO child VALUES ('nobody')"))


async def test_an_open_database_is_ready(database: Database) -> None:
    """An open database passes its readiness check."""
    await database.ready()


def test_other_databases_are_refused(tmp_path: Path) -> None:
    """A URL for another database raises an error that names the two that are supported."""
    with pytest.raises(ArgumentError, match="postgresql"):
        Database("mysql+aiomysql://127.0.0.1/shop", MIGRATIONS)


class TestSQLite:
    """Behaviour of SQLite only."""

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        """The URL of an empty database."""
        return f"sqlite:///{tmp_path / 'deep' / 'x.db'}"

    @pytest.fixture
    def blocker(self, tmp_path: Path) -> Iterator[sqlite3.Connection]:
        """Another connection to the file."""
        (tmp_path / "deep").mkdir()
        blocker = sqlite3.connect(tmp_path / "deep" / "x.db", isolation_level=None)
        yield blocker
        blocker.close()

    @pytest.mark.process
    async def test_processes_that_start_together_migrate_once(self, url: str, blocker: sqlite3.Connection) -> None:
        """Processes that open a new database at the same time all succeed, and the tables are there."""
        blocker.execute("PRAGMA journal_mode = WAL")
        blocker.execute("BEGIN IMMEDIATE")

        async def let_them_go() -> None:
            await asyncio.sleep(0.5)  # SQLite does not tell who waits. The test passes too if none of them does yet.
            blocker.execute("COMMIT")

        await start_together(url, then=let_them_go)
        assert len(blocker.execute("SELECT version_num FROM alembic_version").fetchall()) == 1
        blocker.execute("SELECT id FROM products")

    async def test_the_files_are_private(self, tmp_path: Path) -> None:
        """The file, the files that SQLite makes beside it, and new folders are for the user of the service only."""
        path = tmp_path / "made" / "when missing" / "x.db"
        database = await with_counter(f"sqlite:///{path}")
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["x.db", "x.db-shm", "x.db-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in list(path.parents)[:2]] == [0o700] * 2
        await database.close()

    async def test_switching_a_busy_file_to_wal_is_retried(self, url: str, blocker: sqlite3.Connection) -> None:
        """SQLite does not wait for a writer when it switches to WAL, so the switch is tried again."""
        blocker.execute("BEGIN IMMEDIATE")
        database = Database(url, MIGRATIONS)
        opening = asyncio.create_task(database.open())
        await asyncio.sleep(0.1)
        assert not opening.done()
        blocker.execute("COMMIT")
        await opening
        assert blocker.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
        await database.close()

    async def test_sqlite_has_one_writer_at_a_time(self, url: str) -> None:
        """SQLite's writing transactions take turns without a further lock."""
        database = await with_counter(url)

        async def increment() -> None:
            async with database.write() as connection:
                read = (await connection.execute(READ_VALUE)).scalar_one()
                await connection.execute(text("UPDATE counter SET value = :value"), {"value": read + 1})

        await asyncio.gather(*(increment() for _ in range(10)))
        assert await value(database) == 10
        await database.close()

    async def test_an_operational_error_is_an_outage_and_hides_its_parameters(
        self, url: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An operational error becomes DatabaseUnavailable, and the values in the statement are not logged."""
        secret = token_hex(8)
        database = await with_counter(url)
        with pytest.raises(DatabaseUnavailable):
            async with database.read() as connection:
                await connection.execute(text("SELECT :secret FROM nowhere"), {"secret": secret})
        await database.close()
        assert "nowhere" in caplog.text
        assert secret not in caplog.text

    @pytest.mark.parametrize("is_replaced", [False, True], ids=["deleted", "replaced"])
    async def test_a_file_that_is_deleted_or_replaced(
        self, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, is_replaced: bool
    ) -> None:
        """Nothing is written to a file that is not in its place any more, and the log says loudly what to do.

        When the file is back, the process goes on with it.
        """
        database, path, kept = await with_counter(url), tmp_path / "deep" / "x.db", tmp_path / "kept.db"
        path.rename(kept)
        if is_replaced:
            path.touch()
        for transaction in (database.read, database.write):
            with pytest.raises(DatabaseUnavailable):
                async with transaction():
                    pytest.fail("the transaction began")
        with pytest.raises(DatabaseUnavailable):
            await database.ready()
        assert path.exists() == is_replaced
        assert {record.levelname for record in caplog.records} == {"CRITICAL"}
        assert f"the file {path} was deleted or replaced while this process has it open" in caplog.text
        kept.rename(path)
        assert await value(database) == 0
        await database.close()

    async def test_a_file_that_is_deleted_during_a_transaction(self, url: str, tmp_path: Path) -> None:
        """A transaction whose file is gone at its end does not count as written."""
        database = await with_counter(url)
        with pytest.raises(DatabaseUnavailable) as refused:  # noqa: PT012 - the transaction has statements
            async with database.write() as connection:
                await connection.execute(text("UPDATE counter SET value = 7"))
                (tmp_path / "deep" / "x.db").unlink()
        assert refused.value.maybe_written
        await database.close()

    async def test_a_database_that_another_process_has_made(self, url: str) -> None:
        """A program that only looks, such as a check of the books, reads the file without migrating it."""
        database = await with_counter(url)
        another = Database(url, MIGRATIONS)
        assert await value(another) == 0
        await another.close()
        await database.close()

    async def test_no_connection_creates_the_file(self, url: str, tmp_path: Path) -> None:
        """A file that is deleted at the last moment is not made again without its tables."""
        database = await with_counter(url)
        await database.close()
        for file in (tmp_path / "deep").iterdir():
            file.unlink()
        for find_gone in (database._kind.read, database._kind.write):
            with pytest.raises(OperationalError, match="unable to open database file"):
                async with find_gone():
                    pytest.fail("the transaction began")
        assert list((tmp_path / "deep").iterdir()) == []

    async def test_a_file_that_cannot_be_opened(self, url: str, tmp_path: Path) -> None:
        """If a folder has the name of the database file, opening the database fails."""
        (tmp_path / "deep" / "x.db").mkdir(parents=True)
        with pytest.raises(DatabaseUnavailable):
            await Database(url, MIGRATIONS).open()


class TestPostgreSQL:
    """Behaviour of PostgreSQL only."""

    @pytest.fixture
    def url(self, postgresql: PostgresServer) -> Iterator[str]:
        """The URL of an empty database."""
        name = postgresql.make_database()
        yield postgresql.url(name)
        postgresql.drop_database(name)

    @pytest.fixture
    async def database(self, url: str) -> AsyncIterator[Database]:
        """A database with a table `counter`."""
        database = await with_counter(url)
        yield database
        await database.close()

    @pytest.fixture
    def server(self, own_postgresql: PostgresServer) -> PostgresServer:
        """A server that the test may break."""
        return own_postgresql

    @pytest.fixture
    async def fragile(self, server: PostgresServer) -> AsyncIterator[Database]:
        """A database with a table `counter` on that server."""
        database = await with_counter(server.url())
        yield database
        await database.close()

    @pytest.mark.process
    async def test_processes_that_start_together_migrate_once(self, url: str) -> None:
        """Processes that open a new database at the same moment all succeed, and the tables are there."""
        blocker = await asyncpg.connect(url.replace("+asyncpg", ""))
        await blocker.execute(f"SELECT pg_advisory_lock({postgresql_module.MIGRATIONS})")

        async def let_them_go() -> None:
            waiting = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
            )
            async with asyncio.timeout(START_SECONDS):
                while await blocker.fetchval(waiting) < 3:  # noqa: ASYNC110 - other processes wait
                    await asyncio.sleep(0.02)
            await blocker.execute("SELECT pg_advisory_unlock_all()")

        await start_together(url, then=let_them_go)
        assert len(await blocker.fetch("SELECT version_num FROM alembic_version")) == 1
        await blocker.execute("SELECT id FROM products")
        await blocker.close()

    async def test_the_settings_of_a_connection(self, database: Database) -> None:
        """Connections have the documented time-outs, shortest first, and the isolation level of their transaction."""
        names = (
            ("lock_timeout", "4s"),
            ("statement_timeout", "6s"),
            ("idle_in_transaction_session_timeout", "15s"),
            ("tcp_keepalives_idle", "5"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
            ("TimeZone", "UTC"),
            ("default_transaction_isolation", "read committed"),
            ("jit", "off"),
        )
        for transaction, isolation, read_only in (
            (database.read, "repeatable read", "on"),
            (database.write, "read committed", "off"),
            (database.read, "repeatable read", "on"),
        ):
            async with transaction() as connection:
                expected = (*names, ("transaction_isolation", isolation), ("transaction_read_only", read_only))
                for name, setting in expected:
                    assert (await connection.execute(text(f"SHOW {name}"))).scalar_one() == setting

    async def test_more_transactions_than_connections(self, database: Database) -> None:
        """A process opens a limited number of connections. Transactions wait for a free one."""
        connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"

        async def look() -> int:
            async with database.read() as connection:
                await connection.execute(text("SELECT pg_sleep(0.02)"))
                return int((await connection.execute(text(connections))).scalar_one())

        seen = await asyncio.gather(*(look() for _ in range(40)))
        assert max(seen) == postgresql_module.POOL_SIZE

    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT 1 FROM nowhere",
            "SELECT 1 / (value - value) FROM counter",
            "INSERT INTO counter VALUES ('far too long a name', 1)",
        ],
    )
    async def test_an_invalid_statement_is_not_an_outage(self, database: Database, statement: str) -> None:
        """A defect in a statement is not reported as an outage, which callers would try again."""
        with pytest.raises(DBAPIError):
            async with database.write() as connection:
                await connection.execute(text(statement))

    async def test_a_value_that_the_driver_refuses_is_not_an_outage(self, database: Database) -> None:
        """A number that is too large for its column is a defect."""
        with pytest.raises(DBAPIError):
            async with database.write() as connection:
                await connection.execute(text("UPDATE counter SET value = :value"), {"value": 2**40})

    async def test_a_reader_cannot_write(self, database: Database) -> None:
        """A transaction of `read` cannot write."""
        with pytest.raises(DBAPIError, match="read-only"):
            async with database.read() as connection:
                await connection.execute(text("UPDATE counter SET value = 7"))

    async def test_an_error_does_not_quote_the_row(self, database: Database) -> None:
        """The log does not contain the values of the row that an error of PostgreSQL is about."""
        secret = token_hex(4)
        with pytest.raises(IntegrityError) as caught:  # noqa: PT012 - the transaction has statements
            async with database.write() as connection:
                for _ in range(2):
                    statement = text("INSERT INTO counter VALUES (:name, 1)")
                    await connection.execute(statement, {"name": secret})
        error: BaseException | None = caught.value
        while error is not None:
            assert secret not in str(error)
            error = error.__cause__

    @pytest.mark.parametrize(
        ("code", "outage"),
        [
            ("40001", True),
            ("40P01", True),
            ("55P03", True),
            ("57014", True),
            ("57P01", True),
            ("53300", True),
            ("58030", True),
            ("22012", False),
            ("XX000", False),
        ],
    )
    async def test_which_errors_are_outages(self, database: Database, code: str, outage: bool) -> None:
        """Conflicts between transactions, time-outs and trouble of the server are outages, which may be tried again."""
        statement = f"DO $$ BEGIN RAISE EXCEPTION 'made up' USING ERRCODE = '{code}'; END $$"
        expected: Any = DatabaseUnavailable if outage else DBAPIError
        with pytest.raises(expected):
            async with database.write() as connection:
                await connection.execute(text(statement))

    async def test_a_deadlock_is_an_outage_for_one_transaction(self, database: Database) -> None:
        """Of two deadlocked transactions one succeeds, and the other raises DatabaseUnavailable."""
        async with database.write() as connection:
            await connection.execute(text("INSERT INTO counter VALUES ('b', 0)"))
        both = asyncio.Barrier(2)

        async def increment(first: str, second: str) -> None:
            async with database.write() as connection:
                statement = text("UPDATE counter SET value = value + 1 WHERE name = :name")
                await connection.execute(statement, {"name": first})
                await both.wait()
                await connection.execute(statement, {"name": second})

        ends = await asyncio.gather(increment("a", "b"), increment("b", "a"), return_exceptions=True)
        assert [type(end) for end in ends if end is not None] == [DatabaseUnavailable]
        assert await value(database) == 1

    async def test_a_writer_that_is_cancelled_in_a_statement_holds_up_no_other(self, database: Database) -> None:
        """Its locks are free at once. (In SQLite a statement of a writer cannot be cancelled.)"""
        changed = asyncio.Event()

        async def write() -> None:
            async with database.write() as connection:
                await connection.execute(text("UPDATE counter SET value = 5"))
                changed.set()
                await connection.execute(text("SELECT pg_sleep(5)"))

        writer = asyncio.create_task(write())
        await changed.wait()
        await asyncio.sleep(0.01)
        writer.cancel()
        (end,) = await asyncio.gather(writer, return_exceptions=True)
        assert isinstance(end, asyncio.CancelledError)
        async with asyncio.timeout(5), database.write() as connection:
            assert (await connection.execute(READ_VALUE)).scalar_one() == 0
            await connection.execute(text("UPDATE counter SET value = 1"))
        assert await value(database) == 1

    async def test_a_new_row_that_is_too_long(self, database: Database) -> None:
        """A text that is too long for its column is refused, and not cut."""
        rows = [{"name": "far too long a name", "value": 1}]
        with pytest.raises(DBAPIError, match="too long"):
            await database.update_then_insert(SET_VALUE, {"which": "a", "new": 7}, {COUNTER: rows})

    async def test_a_statement_by_itself_is_no_transaction_block(self, database: Database) -> None:
        """It is one message to the server. `VACUUM` refuses to run after a `BEGIN`."""
        await database.execute(text("VACUUM counter"))

    async def test_a_statement_by_itself_that_is_cancelled(self, database: Database) -> None:
        """A statement that is cancelled while it waits for a lock writes nothing, and its connection can be used."""
        add = "UPDATE counter SET value = value + 1"
        async with asyncio.timeout(30), database.write() as connection:
            await connection.execute(text(add))
            writers = [asyncio.create_task(database.execute(text(add))) for _ in range(postgresql_module.POOL_SIZE - 2)]
            await locked_out(database, len(writers))
            for writer in writers:
                writer.cancel()
            ends = await asyncio.gather(*writers, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends)
        await asyncio.gather(*(database.execute(text(add)) for _ in range(postgresql_module.POOL_SIZE)))
        assert await value(database) == 1 + postgresql_module.POOL_SIZE

    async def test_a_server_that_dies_in_a_statement_by_itself(self, server: PostgresServer, fragile: Database) -> None:
        """Then the statement may have been committed. It was not if there was no connection for it."""
        add = text("UPDATE counter SET value = value + 1")
        blocker = await asyncpg.connect(server.url(driver="postgresql"))
        await blocker.execute("BEGIN; LOCK TABLE counter")
        writer = asyncio.create_task(fragile.execute(add))
        await locked_out(fragile, 1)
        server.kill()
        with pytest.raises(DatabaseUnavailable) as unknown:
            await writer
        with pytest.raises(DatabaseUnavailable) as unsent:
            await fragile.execute(add)
        blocker.terminate()
        assert (unknown.value.maybe_written, unsent.value.maybe_written) == (True, False)

    async def test_a_missing_database(self, postgresql: PostgresServer) -> None:
        """If the database does not exist, opening it raises DatabaseUnavailable."""
        with pytest.raises(DatabaseUnavailable):
            await Database(postgresql.url("nowhere"), MIGRATIONS).open()

    async def test_a_stopped_server_is_an_outage(self, server: PostgresServer, fragile: Database) -> None:
        """While the server is stopped calls raise DatabaseUnavailable. When it is back they succeed, without a restart
        of ours.
        """
        server.kill()
        with pytest.raises(DatabaseUnavailable):
            await fragile.ready()
        server.start()
        assert await value(fragile) == 0

    async def test_connections_that_the_server_has_closed_are_replaced(
        self, database: Database, url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a restart of the server, or of a pooler, no transaction fails because of an old connection.

        That is so even if the connection worked a moment ago, and is not asked whether it lives.
        """
        monkeypatch.setattr(postgresql_module, "TRUST_SECONDS", 60.0)
        await asyncio.gather(*(value(database) for _ in range(5)))
        another = await asyncpg.connect(url.replace("+asyncpg", ""))
        await another.fetch(END_OTHERS)
        await another.close()
        assert await asyncio.gather(*(value(database) for _ in range(5))) == [0] * 5

    async def test_a_connection_that_was_idle_is_asked_before_it_is_used(
        self, database: Database, url: str, postgresql: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A connection that is broken without our knowing is replaced, unless it worked a moment ago."""
        name = url.rpartition("/")[2]
        await value(database)
        postgresql.execute(END_OTHERS, database=name)
        with pytest.raises(DatabaseUnavailable):
            await value(database)
        await value(database)
        monkeypatch.setattr(postgresql_module, "TRUST_SECONDS", 0.0)
        postgresql.execute(END_OTHERS, database=name)
        assert await value(database) == 0

    async def test_a_server_that_dies_in_a_transaction(self, server: PostgresServer, fragile: Database) -> None:
        """A transaction during which the server dies writes nothing."""
        with pytest.raises(DatabaseUnavailable):  # noqa: PT012 - it happens between two statements
            async with fragile.write() as connection:
                await connection.execute(text("UPDATE counter SET value = 7"))
                server.kill()
                await connection.execute(text("UPDATE counter SET value = 8"))
        server.start()
        assert await value(fragile) == 0
