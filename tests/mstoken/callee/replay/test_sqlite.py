"""Spent ids in a file."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.errors import VerifierUnavailable
from tests.clock import FakeClock
from tests.mstoken.callee.replay.contract import SharedReplayStoreContract, in_processes, megabytes_for


class TestSQLiteReplayStore(SharedReplayStoreContract):
    """The store in a file."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "made" / "when" / "missing" / "spent.db"

    @pytest.fixture
    def url(self, path: Path) -> str:
        return f"sqlite:///{path}"

    @pytest.fixture
    async def store(self, path: Path, clock: FakeClock) -> AsyncIterator[SQLiteReplayStore]:
        store = SQLiteReplayStore(path, clock=clock)
        yield store
        await store.aclose()

    async def test_it_outlives_the_process(self, store: SQLiteReplayStore, path: Path, clock: FakeClock) -> None:
        """What was spent before a restart stays spent."""
        await store.spend("one", clock() + 60)
        await store.aclose()
        again = SQLiteReplayStore(path, clock=clock)
        assert await again.spend("one", clock() + 60) is False
        await again.aclose()

    async def test_what_has_expired_is_deleted(self, store: SQLiteReplayStore, path: Path, clock: FakeClock) -> None:
        """The file does not grow for ever, and more than one batch goes at a time."""
        for number in range(5000):
            await store.spend(f"old-{number}", clock() + 60)
        clock.advance(120)
        await store.spend("new", clock() + 60)
        await store.aclose()
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT id FROM spent").fetchall() == [(b"new",)]
        connection.close()

    @pytest.mark.parametrize("elapsed_seconds", [20, 40, 60])
    async def test_purging_keeps_what_has_not_expired(
        self, store: SQLiteReplayStore, path: Path, clock: FakeClock, elapsed_seconds: int
    ) -> None:
        """An id stays in the file until the second in which it expires, however often expired ids are purged."""
        await store.spend("kept", clock() + 60)
        clock.advance(elapsed_seconds)
        await store.spend("starts the purge", clock() + 60)
        await store.aclose()  # Waits for the purge.
        again = SQLiteReplayStore(path, clock=clock)
        assert await again.spend("kept", clock() + 60) is False
        await again.aclose()

    async def test_a_spend_waits_for_another_writer(
        self, store: SQLiteReplayStore, path: Path, clock: FakeClock
    ) -> None:
        """While another worker writes, the event loop goes on, and the spend succeeds when that worker is done."""
        await store.ready()
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        spending = asyncio.create_task(store.spend("one", clock() + 60))
        await asyncio.sleep(0.05)
        assert not spending.done()
        writer.execute("COMMIT")
        writer.close()
        assert await spending is True

    async def test_a_lock_that_stays_is_an_outage(self, store: SQLiteReplayStore, path: Path, clock: FakeClock) -> None:
        """Nobody comes in on an id that could not be written down."""
        await store.ready()
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(VerifierUnavailable, match="locked"):
            await store.spend("one", clock() + 60)
        writer.close()

    async def test_a_file_that_is_no_database_is_an_outage(self, tmp_path: Path, clock: FakeClock) -> None:
        """Broken storage refuses; it does not pass and does not crash."""
        (tmp_path / "broken.db").write_bytes(b"this is no database" * 100)
        store = SQLiteReplayStore(tmp_path / "broken.db", clock=clock)
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await store.spend("one", clock() + 60)
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await store.ready()
        await store.aclose()

    async def test_a_folder_that_cannot_be_made_is_an_outage(self, tmp_path: Path) -> None:
        """So is a path that leads through a file."""
        (tmp_path / "file").touch()
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await SQLiteReplayStore(tmp_path / "file" / "spent.db").ready()

    async def test_a_table_that_vanishes_is_an_outage(
        self, store: SQLiteReplayStore, path: Path, clock: FakeClock
    ) -> None:
        """Also where the store worked until then."""
        await store.spend("one", clock() + 60)
        connection = sqlite3.connect(path)
        connection.execute("DROP TABLE spent")
        connection.close()
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await store.spend("two", clock() + 60)

    @pytest.mark.process
    @pytest.mark.slow
    async def test_a_million_ids_would_take_less_than_200_megabytes(self, path: Path) -> None:
        """In memory, measured in a process of its own, and on the disk: 40 MB for 200,000 of them."""
        assert max(await in_processes(1, megabytes_of_sqlite_store, str(path), 200_000)) < 40
        assert sum(file.stat().st_size for file in path.parent.iterdir()) < 40 * 2**20


def megabytes_of_sqlite_store(path: str, ids: int) -> int:
    """How much memory a store in a file takes for `ids` ids."""
    return int(megabytes_for(SQLiteReplayStore(path), ids))
