"""services/common/database.py"""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from secrets import token_hex

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.billing import app as billing
from services.common.database import Database
from services.common.faults import DatabaseUnavailable
from services.product import app as product
from services.product.app import MIGRATIONS
from services.user import app as user

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


def url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'deep' / 'x.db'}"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """An open database with the Product service's tables and one more."""
    database = Database(url(tmp_path), MIGRATIONS)
    await database.open()
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER)"))
        await connection.execute(text("INSERT INTO counter VALUES ('a', 0)"))
    yield database
    await database.close()


async def value(database: Database) -> int:
    async with database.read() as connection:
        return int((await connection.execute(text("SELECT value FROM counter WHERE name = 'a'"))).scalar_one())


async def test_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    """Processes that open a new database at the same moment all succeed, and the tables are there."""
    (tmp_path / "deep").mkdir()
    blocker = sqlite3.connect(tmp_path / "deep" / "x.db", isolation_level=None)
    blocker.execute("PRAGMA journal_mode = WAL")
    blocker.execute("BEGIN IMMEDIATE")
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", OPEN, url(tmp_path), str(MIGRATIONS)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout
        assert await process.stdout.readline() == b"opening\n"
    # All of them are at the point where only one may go on.
    await asyncio.sleep(0.5)
    blocker.execute("COMMIT")
    ends = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0] * 3, ends
    assert blocker.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    blocker.execute("SELECT id FROM products")
    blocker.close()


async def test_a_new_file_that_is_in_use_is_waited_for(tmp_path: Path) -> None:
    """The switch to WAL, for which SQLite does not wait while another connection writes, is tried until it works."""
    (tmp_path / "deep").mkdir()
    blocker = sqlite3.connect(tmp_path / "deep" / "x.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    database = Database(url(tmp_path), MIGRATIONS)
    opening = asyncio.create_task(database.open())
    await asyncio.sleep(0.1)
    assert not opening.done()
    blocker.execute("COMMIT")
    await opening
    assert blocker.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    await database.close()
    blocker.close()


async def test_databases_of_one_process_open_together(tmp_path: Path) -> None:
    """Several databases that one process opens at the same moment do not mix up their migrations."""
    migrations = (product.MIGRATIONS, user.MIGRATIONS, billing.MIGRATIONS)
    databases = [Database(url(tmp_path / folder.parent.name), folder) for folder in migrations]
    await asyncio.gather(*(database.open() for database in databases))
    for database, table in zip(databases, ("products", "profiles", "bills"), strict=True):
        async with database.read() as connection:
            assert (await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one() == 0
        await database.close()


async def test_writers_take_turns(database: Database) -> None:
    """Transactions that read and then write do not lose each other's writes, and none fails for having company."""

    async def increment() -> None:
        async with database.write() as connection:
            read = (await connection.execute(text("SELECT value FROM counter"))).scalar_one()
            await connection.execute(text("UPDATE counter SET value = :value"), {"value": read + 1})

    await asyncio.gather(*(increment() for _ in range(10)))
    assert await value(database) == 10


async def test_an_exception_undoes_the_transaction(database: Database) -> None:
    """What a transaction wrote is gone when it ends in an exception."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the transaction has a statement
        async with database.write() as connection:
            await connection.execute(text("UPDATE counter SET value = 7"))
            raise ZeroDivisionError
    assert await value(database) == 0


async def test_a_reader_does_not_wait_for_a_writer(database: Database) -> None:
    """While a writer is at work, readers see what was there before."""
    async with database.write() as connection:
        await connection.execute(text("UPDATE counter SET value = 7"))
        assert await value(database) == 0


async def test_foreign_keys_are_enforced(database: Database) -> None:
    """A row that refers to nothing is refused; SQLite does not do so by default."""
    async with database.write() as connection:
        await connection.execute(text("CREATE TABLE child (parent TEXT REFERENCES counter (name))"))
        with pytest.raises(IntegrityError):
            await connection.execute(text("INSERT INTO child VALUES ('nobody')"))


async def test_a_driver_error_is_an_outage_and_hides_its_parameters(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """A database that cannot serve is a fault with 503, and what was to be written does not reach the log."""
    secret = token_hex(8)
    with pytest.raises(DatabaseUnavailable):
        async with database.read() as connection:
            await connection.execute(text("SELECT :secret FROM nowhere"), {"secret": secret})
    assert "nowhere" in caplog.text
    assert secret not in caplog.text


async def test_a_folder_in_the_way(tmp_path: Path) -> None:
    """A database that cannot be opened is told at the start."""
    (tmp_path / "deep" / "x.db").mkdir(parents=True)
    with pytest.raises(sqlite3.OperationalError):
        await Database(url(tmp_path), MIGRATIONS).open()


async def test_ready(database: Database) -> None:
    """An open database is ready."""
    await database.ready()
