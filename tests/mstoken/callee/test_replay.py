"""Spending: the promises of a replay store, and every store that keeps them."""

import asyncio
import multiprocessing
import sqlite3
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from mstoken.callee.replay import MemoryReplayStore, ReplayStore, SQLiteReplayStore, replay_store
from mstoken.errors import SettingsError, VerifierUnavailable
from tests.clock import FakeClock


class ReplayStoreContract:
    """What every store promises. A subclass gives `store`, over the clock `clock`."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    async def test_an_id_counts_once(self, store: ReplayStore, clock: FakeClock) -> None:
        """The first spend is True, every other False."""
        assert await store.spend("one", clock() + 60) is True
        assert await store.spend("one", clock() + 60) is False
        assert await store.spend("one", clock() + 6000) is False

    async def test_ids_do_not_disturb_each_other(self, store: ReplayStore, clock: FakeClock) -> None:
        """Another id is another id, also if it differs only in case or by a NUL."""
        for token_id in ("one", "One", "one\0", "öne", ""):
            assert await store.spend(token_id, clock() + 60) is True

    async def test_of_many_at_once_one_wins(self, store: ReplayStore, clock: FakeClock) -> None:
        """1,000 tasks race for one id."""
        won = await asyncio.gather(*(store.spend("contested", clock() + 60) for _ in range(1000)))
        assert sum(won) == 1

    async def test_an_id_is_remembered_until_it_expires(self, store: ReplayStore, clock: FakeClock) -> None:
        """Up to the last second, whatever else is spent meanwhile."""
        await store.spend("kept", clock() + 70)
        for second in range(70):
            assert await store.spend(f"other-{second}", clock() + 70) is True
            assert await store.spend("kept", clock() + 70) is False
            clock.advance(1)

    async def test_ready_is_silent_when_all_is_well(self, store: ReplayStore) -> None:
        """Nothing is raised."""
        await store.ready()


class TestMemoryReplayStore(ReplayStoreContract):
    """The store in memory."""

    @pytest.fixture
    async def store(self, clock: FakeClock) -> AsyncIterator[MemoryReplayStore]:
        store = MemoryReplayStore(clock=clock)
        yield store
        await store.aclose()

    async def test_what_has_expired_is_forgotten(self, store: MemoryReplayStore, clock: FakeClock) -> None:
        """Memory holds no more than the ids that still count."""
        await store.spend("old", clock() + 60)
        clock.advance(180)
        await store.spend("new", clock() + 60)
        assert await store.spend("old", clock() + 60) is True


def spend_in_another_process(path: Path, attempts: int) -> int:
    """How many of `attempts` spends of one id this process won."""

    async def spend() -> int:
        store = SQLiteReplayStore(path)
        won = [await store.spend("contested", 4_000_000_000) for _ in range(attempts)]
        await store.aclose()
        return sum(won)

    return asyncio.run(spend())


class TestSQLiteReplayStore(ReplayStoreContract):
    """The store in a file."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "made" / "when" / "missing" / "spent.db"

    @pytest.fixture
    async def store(self, path: Path, clock: FakeClock) -> AsyncIterator[SQLiteReplayStore]:
        store = SQLiteReplayStore(path, clock=clock)
        yield store
        await store.aclose()

    async def test_processes_share_it(self, path: Path) -> None:
        """Four processes race for one id, 250 times each: one wins, once."""
        with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as processes:
            loop = asyncio.get_running_loop()
            won = await asyncio.gather(
                *(loop.run_in_executor(processes, spend_in_another_process, path, 250) for _ in range(4))
            )
        assert sum(won) == 1

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


def test_the_url_chooses_the_store() -> None:
    """One setting, one store."""
    assert isinstance(replay_store("memory:"), MemoryReplayStore)
    assert isinstance(replay_store("sqlite:///spent.db"), SQLiteReplayStore)


@pytest.mark.parametrize("url", ["", "memory", "sqlite:", "sqlite:///", "mysql://x", "/spent.db"])
def test_any_other_url_is_a_settings_error(url: str) -> None:
    """It names the variable, what was read and what is wanted."""
    with pytest.raises(SettingsError, match=r"MSTOKEN_REPLAY_URL is .*is wanted"):
        replay_store(url)
