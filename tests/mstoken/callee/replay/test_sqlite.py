"""The store in an SQLite file."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.errors import VerifierUnavailable
from tests.clock import FakeClock
from tests.elsewhere import in_own_loop
from tests.mstoken.callee.replay.test_store import SharedReplayStoreContract, in_processes, megabytes_for, spend


class ImpatientStore(SQLiteReplayStore):
    """A store that does not wait long for another process's lock."""

    _WAIT_SECONDS = 0.05


class TestSQLiteReplayStore(SharedReplayStoreContract):
    """The store in an SQLite file."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "made" / "when" / "missing" / "spent.db"

    @pytest.fixture
    def url(self, path: Path) -> str:
        return f"sqlite:///{path}"

    @pytest.fixture
    async def new_store(self, path: Path, clock: FakeClock) -> AsyncIterator[SQLiteReplayStore]:
        store = SQLiteReplayStore(path, clock=clock)
        yield store
        await store.aclose()

    async def test_the_files_are_private(self, store: SQLiteReplayStore, path: Path, clock: FakeClock) -> None:
        """The file, the files that SQLite makes beside it, and new folders are for the user of the service only."""
        await spend(store, "one", clock)
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["spent.db", "spent.db-shm", "spent.db-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in list(path.parents)[:3]] == [0o700] * 3

    async def test_spent_ids_survive_a_restart(self, store: SQLiteReplayStore, path: Path, clock: FakeClock) -> None:
        """An id that was spent before a restart is refused after it."""
        await spend(store, "one", clock)
        await store.aclose()
        again = SQLiteReplayStore(path, clock=clock)
        assert await spend(again, "one", clock) is False
        await again.aclose()

    async def test_expired_ids_are_deleted(self, store: SQLiteReplayStore, path: Path, clock: FakeClock) -> None:
        """A purge deletes all expired ids, also if they are more than one batch."""
        for number in range(5000):
            await spend(store, f"old-{number}", clock)
        await store.aclose()  # Waits for the purge that the first spend has started.
        clock.advance(120)
        await spend(store, "new", clock)
        await store.aclose()
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT id FROM spent").fetchall() == [(b"new",)]
        connection.close()

    async def test_ids_are_deleted_also_if_the_loop_ends_at_once(
        self, store: SQLiteReplayStore, path: Path, clock: FakeClock
    ) -> None:
        """A purge that a short-lived event loop started goes on, and the next loops start purges again."""
        for _ in range(3):
            clock.advance(120)
            await in_own_loop(partial(spend, store, f"one-{clock()}", clock))
            await store.aclose()  # Waits for the purge.
        clock.advance(120)
        await spend(store, "last", clock)
        await store.aclose()
        connection = sqlite3.connect(path)
        assert connection.execute("SELECT id FROM spent").fetchall() == [(b"last",)]
        connection.close()

    @pytest.mark.parametrize("elapsed_seconds", [20, 40, 60])
    async def test_purging_keeps_what_has_not_expired(
        self, store: SQLiteReplayStore, path: Path, clock: FakeClock, elapsed_seconds: int
    ) -> None:
        """An id stays in the file until the second in which it expires, however often expired ids are purged."""
        await spend(store, "kept", clock)
        clock.advance(elapsed_seconds)
        await spend(store, "starts the purge", clock)
        await store.aclose()  # Waits for the purge.
        again = SQLiteReplayStore(path, clock=clock)
        assert await spend(again, "kept", clock) is False
        await again.aclose()

    async def test_a_spend_waits_for_another_writer(
        self, store: SQLiteReplayStore, path: Path, clock: FakeClock
    ) -> None:
        """The spend succeeds as soon as the other worker is done, and does not block the event loop until then."""
        await store.ready()
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        spending = asyncio.create_task(spend(store, "one", clock))
        await asyncio.sleep(0.05)
        assert not spending.done()
        writer.execute("COMMIT")
        writer.close()
        assert await spending is True

    async def test_a_file_that_stays_locked_is_an_outage(
        self, store: SQLiteReplayStore, path: Path, clock: FakeClock
    ) -> None:
        """An id that cannot be stored is not spent."""
        await store.ready()
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        impatient = ImpatientStore(path, clock=clock)
        with pytest.raises(VerifierUnavailable, match="locked"):
            await spend(impatient, "one", clock)
        await impatient.aclose()
        writer.close()

    async def test_a_folder_that_cannot_be_created_is_an_outage(self, tmp_path: Path) -> None:
        """A path whose parent is a file cannot be opened."""
        (tmp_path / "file").touch()
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await SQLiteReplayStore(tmp_path / "file" / "spent.db").ready()

    @pytest.mark.process
    @pytest.mark.slow
    async def test_a_million_ids_would_take_less_than_200_megabytes(self, path: Path) -> None:
        """200,000 ids take less than 40 MB of memory, measured in a separate process, and 40 MB on disk."""
        assert max(await in_processes(1, megabytes_of_sqlite_store, str(path), 200_000)) < 40
        assert sum(file.stat().st_size for file in path.parent.iterdir()) < 40 * 2**20


def megabytes_of_sqlite_store(path: str, ids: int) -> int:
    """Return the memory that a store in a file takes for `ids` ids, in megabytes."""
    return int(megabytes_for(SQLiteReplayStore(path), ids))
