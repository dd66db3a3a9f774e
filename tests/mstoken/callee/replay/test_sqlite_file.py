"""The file of spent ids: whatever happens to it, no id is accepted twice, and the store works again by itself."""

import asyncio
import os
import resource
import shutil
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.callee.replay.sqlite_file import NOTICED_SECONDS, Connection, SpentIdFile
from mstoken.errors import StoreIsNew, VerifierUnavailable
from mstoken.wire import CLOCK_SKEW_SECONDS
from tests.clock import FakeClock
from tests.mstoken.callee.harness import Product
from tests.mstoken.callee.replay.test_store import (
    begin,
    in_processes,
    lost_memory_is_noticed,
    replays_that_pass,
    spend,
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "spent.db"


@pytest.fixture
async def store(path: Path, clock: FakeClock) -> AsyncIterator[SQLiteReplayStore]:
    """A store whose memory began a minute ago."""
    store = SQLiteReplayStore(path, clock=clock)
    await begin(store)
    clock.advance(60)
    yield store
    await store.aclose()


def execute(path: Path, *statements: str) -> None:
    """Execute statements in the file, as another program."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def write(path: Path, content: bytes) -> None:
    """Write a file, with its folder, before the store opens it."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def read(path: Path) -> bytes:
    return path.read_bytes()


def files(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}*"))


def delete_all(path: Path) -> None:
    for file in files(path):
        file.unlink()


def delete_the_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def delete_the_log(path: Path) -> None:
    path.with_name("spent.db-wal").unlink()


def replace_by_an_empty_file(path: Path) -> None:
    path.unlink()
    path.touch()


def replace_by_a_copy_without_ids(path: Path) -> None:
    """Restore a backup that was made before the ids were spent."""
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute("DELETE FROM spent")
        target.commit()
    copy.replace(path)


MAGIC = b"SQLite format 3\0"


def overwrite(path: Path) -> None:
    path.write_bytes(MAGIC + b"this is not a database" * 1000)


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def drop_the_table(path: Path) -> None:
    execute(path, "DROP TABLE spent")


def change_a_column(path: Path) -> None:
    # In one transaction: otherwise the purge, in its thread, can find no table, and set the file aside in between.
    execute(path, "BEGIN IMMEDIATE", "DROP TABLE spent", "CREATE TABLE spent (name TEXT)", "COMMIT")


def delete_the_time(path: Path) -> None:
    execute(path, "DELETE FROM memory")


def make_the_time_a_text(path: Path) -> None:
    execute(path, "UPDATE memory SET complete_since = 'long ago'")


def restart_the_machine(path: Path) -> None:
    """Make the file that of an earlier boot, which did not write the last ids to the disk."""
    execute(path, "UPDATE memory SET state = 'another-boot ' || state", "DELETE FROM spent")


def wait_for_the_purge(store: SQLiteReplayStore) -> None:
    """Wait until the store has deleted expired ids, in a thread with a connection of its own.

    If that connection to the lost file were closed later, SQLite would delete the log of the new file, by its name.
    This is noticed, and the memory begins once more: no id is accepted twice, but the pause is longer than a test's.
    """
    if store._purging is not None:
        store._purging.join()


LOSSES_WHILE_OPEN = [
    Path.unlink,
    delete_all,
    delete_the_folder,
    delete_the_log,
    replace_by_an_empty_file,
    replace_by_a_copy_without_ids,
    drop_the_table,
    change_a_column,
]
LOSSES_WHILE_CLOSED = [
    Path.unlink,
    delete_all,
    delete_the_folder,
    replace_by_an_empty_file,
    replace_by_a_copy_without_ids,
    overwrite,
    truncate,
    cut_in_half,
    drop_the_table,
    change_a_column,
    delete_the_time,
    make_the_time_a_text,
    restart_the_machine,
]


@pytest.mark.parametrize("lose", LOSSES_WHILE_OPEN)
async def test_a_file_that_is_lost_while_it_is_used(
    store: SQLiteReplayStore, path: Path, clock: FakeClock, lose: Callable[[Path], object]
) -> None:
    """No id of before is accepted again. The file is made anew, and after a pause new ids are accepted."""

    def lose_after_the_purge() -> None:
        wait_for_the_purge(store)
        lose(path)

    await lost_memory_is_noticed(store, clock, lose_after_the_purge)


@pytest.mark.parametrize("lose", LOSSES_WHILE_CLOSED)
async def test_a_file_that_is_lost_while_the_service_is_stopped(
    store: SQLiteReplayStore, path: Path, clock: FakeClock, lose: Callable[[Path], object]
) -> None:
    """No id of before is accepted again. The file is made anew, and after a pause new ids are accepted."""
    issued_at, ids = clock(), [f"id-{number}" for number in range(40)]
    assert [await spend(store, one_time_id, clock) for one_time_id in ids] == [True] * len(ids)
    await store.aclose()
    lose(path)
    again = SQLiteReplayStore(path, clock=clock)
    clock.advance(1)
    assert await replays_that_pass(again, [*ids, "unused"], issued_at, clock) == []
    clock.advance(6)
    assert await replays_that_pass(again, [*ids, "unused"], issued_at, clock) == []
    assert await spend(again, "new", clock) is True
    assert await spend(again, "new", clock) is False
    await again.ready()
    await again.aclose()


async def test_after_a_restart_of_the_machine_the_file_is_a_new_one(
    store: SQLiteReplayStore, path: Path, clock: FakeClock
) -> None:
    """The old file may be damaged, because nothing waited for the disk. It is deleted, and nothing is left of it."""
    await spend(store, "before", clock)
    await store.aclose()
    restart_the_machine(path)
    execute(path, "PRAGMA user_version = 7")
    again = SQLiteReplayStore(path, clock=clock)
    with pytest.raises(StoreIsNew):
        await again.ready()
    await again.aclose()
    with closing(sqlite3.connect(path)) as sql:
        assert sql.execute("PRAGMA user_version").fetchone() == (0,)
    assert not list(path.parent.glob("*.damaged*"))


@pytest.mark.parametrize(("boot", "synchronous"), [("a-boot", 0), (None, 1)], ids=["known boot", "unknown boot"])
async def test_spending_waits_for_the_disk_only_where_a_restart_would_not_be_noticed(
    path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, boot: str | None, synchronous: int
) -> None:
    """SQLite's setting `synchronous` is OFF (0) where the id of the boot is known, and NORMAL (1) elsewhere."""
    boot_id = path.parent.with_name("boot_id")
    if boot is not None:
        boot_id.write_text(boot)
    monkeypatch.setattr("mstoken.callee.replay.sqlite_file._BOOT_ID", boot_id)
    file = SpentIdFile(path, wait_seconds=0, clock=clock)
    assert file.use(lambda connection: connection.sql.execute("PRAGMA synchronous").fetchone()) == (synchronous,)
    file.close()


@pytest.mark.parametrize("damage", [overwrite, truncate, cut_in_half])
async def test_a_file_that_is_damaged_while_it_is_used(
    store: SQLiteReplayStore, path: Path, clock: FakeClock, damage: Callable[[Path], object]
) -> None:
    """No id is accepted twice, whether the damage is noticed at once or, because SQLite has the pages, later."""
    issued_at, ids = clock(), [f"id-{number}" for number in range(500)]
    for one_time_id in ids:
        await spend(store, one_time_id, clock)
    damage(path)
    other_worker = SQLiteReplayStore(path, clock=clock)
    for worker in (store, other_worker, store):
        assert await replays_that_pass(worker, ids, issued_at, clock) == []
    clock.advance(6)
    assert [await spend(worker, "new", clock) for worker in (other_worker, store)] == [True, False]
    await other_worker.aclose()


async def test_two_workers_never_use_two_files(store: SQLiteReplayStore, path: Path, clock: FakeClock) -> None:
    """If the file is deleted, and another worker has made a new one, an id is spent in the new one only."""
    await spend(store, "one", clock)
    delete_all(path)
    other_worker = SQLiteReplayStore(path, clock=clock)
    await begin(other_worker)
    clock.advance(6)
    assert await spend(store, "new", clock) is True
    assert await spend(other_worker, "new", clock) is False
    await other_worker.aclose()


async def test_what_a_worker_spends_in_a_lost_file_is_not_accepted_in_the_new_one(
    store: SQLiteReplayStore, path: Path, clock: FakeClock
) -> None:
    """A worker goes on with a lost file for a tenth of a second. What is issued in this time is refused afterwards."""
    worker, other_worker = (SQLiteReplayStore(path, clock_skew_seconds=0, clock=clock) for _ in range(2))
    await spend(worker, "seen", clock)
    delete_all(path)
    await begin(other_worker)
    clock.advance(0.9 * NOTICED_SECONDS)
    issued_at = clock()
    assert await spend(worker, "late", clock) is True
    for each in (other_worker, worker):
        for _ in range(2):
            assert await replays_that_pass(each, ["late", "seen"], issued_at, clock) == []
            clock.advance(NOTICED_SECONDS)
    assert [await spend(each, "new", clock) for each in (other_worker, worker)] == [True, False]
    await worker.aclose()
    await other_worker.aclose()


@pytest.mark.parametrize("seconds", [NOTICED_SECONDS * 1.1, -3600.0], ids=["later", "clock set back"])
def test_the_file_is_looked_for_by_the_time_after_a_change(path: Path, clock: FakeClock, seconds: float) -> None:
    """If a worker stands still before it writes, or its clock is set back, it looks for the file again."""
    file = SpentIdFile(path, wait_seconds=0, clock=clock)
    file.create()
    used: list[Connection] = []

    def lose_while_the_worker_stands_still(connection: Connection) -> None:
        used.append(connection)
        if len(used) == 2:
            delete_all(path)
            clock.advance(seconds)

    for _ in range(2):
        file.use(lose_while_the_worker_stands_still)
    assert len(used) == 3
    assert used[0] is used[1] is not used[2]
    file.close()


async def test_a_folder_that_is_replaced_by_a_file_is_an_outage(
    store: SQLiteReplayStore, path: Path, clock: FakeClock
) -> None:
    """The place of the file cannot be looked at then. The call is refused as in any other outage."""
    await spend(store, "one", clock)
    wait_for_the_purge(store)
    delete_the_folder(path)
    path.parent.touch()
    clock.advance(1)
    with pytest.raises(VerifierUnavailable, match="cannot be used"):
        await spend(store, "two", clock)


async def test_the_memory_of_a_file_outlives_the_process(
    store: SQLiteReplayStore, path: Path, clock: FakeClock
) -> None:
    """After a restart of the service, tokens that were issued before it are accepted once, without a pause."""
    await spend(store, "used", clock)
    await store.aclose()
    again = SQLiteReplayStore(path, clock=clock)
    await again.ready()
    assert await spend(again, "used", clock) is False
    assert await spend(again, "unused", clock) is True
    await again.aclose()


async def test_a_clock_that_was_ahead_costs_one_pause_only(path: Path, clock: FakeClock) -> None:
    """If the clock is set back after the file was made, the file gets another time, which later processes read."""
    SpentIdFile(path, wait_seconds=0, clock=clock).create()
    clock.advance(-3600)
    SpentIdFile(path, wait_seconds=0, clock=clock).create()
    clock.advance(60)
    store = SQLiteReplayStore(path, clock=clock)
    await store.ready()
    await store.aclose()


async def test_a_damaged_file_is_kept_for_inspection(path: Path, clock: FakeClock) -> None:
    """It gets another name. Only the latest is kept."""
    for content in (MAGIC + b"first" * 1000, bytes(4096) + b"second" * 1000):
        write(path, content)
        store = SQLiteReplayStore(path, clock=clock)
        with pytest.raises(StoreIsNew):
            await store.ready()
        await store.aclose()
        assert read(path.with_name("spent.db.damaged")) == content
    assert [file.name for file in files(path)] == ["spent.db", "spent.db.damaged"]


@pytest.mark.parametrize(
    "content", [b"root:x:0:0:root:/root:/bin/bash\n", b"\0 almost nothing", b"SQLite format 2\0" * 99]
)
async def test_a_file_of_something_else_is_not_touched(path: Path, clock: FakeClock, content: bytes) -> None:
    """A mistake in the URL does not rename a file that cannot have held spent ids."""
    write(path, content)
    store = SQLiteReplayStore(path, clock=clock)
    for use in (lambda: spend(store, "one", clock), store.ready):
        with pytest.raises(VerifierUnavailable, match="which is not a database"):
            await use()
    await store.aclose()
    assert read(path) == content
    assert [file.name for file in files(path)] == ["spent.db"]


async def test_what_is_not_a_file_is_not_used(tmp_path: Path, clock: FakeClock) -> None:
    """A folder or a device as the path is a wrong setting, and nothing is made beside it."""
    device = tmp_path / "device"
    device.symlink_to(os.devnull)
    for path in (tmp_path, device):
        store = SQLiteReplayStore(path, clock=clock)
        with pytest.raises(VerifierUnavailable, match="which is not a file"):
            await store.ready()
        await store.aclose()
    assert [file.name for file in files(device)] == ["device"]


async def test_the_database_of_something_else_is_not_touched(path: Path, clock: FakeClock) -> None:
    """If the URL names another database, the store cannot be used until the setting is corrected."""
    write(path, b"")
    execute(path, "CREATE TABLE bills (id TEXT)", "INSERT INTO bills VALUES ('B-1')")
    content = read(path)
    store = SQLiteReplayStore(path, clock=clock)
    for _ in range(2):
        with pytest.raises(VerifierUnavailable, match=r"another database: it contains bills. Set it to a file of its"):
            await spend(store, "one", clock)
        with pytest.raises(VerifierUnavailable, match="another database"):
            await store.ready()
    await store.aclose()
    assert read(path) == content
    assert [file.name for file in files(path)] == ["spent.db"]


@pytest.mark.process
@pytest.mark.parametrize("name", ["spend_with_a_full_disk", "start_with_a_full_disk", "answer_with_a_full_disk"])
async def test_a_full_disk_is_an_outage_until_there_is_room(tmp_path: Path, name: str) -> None:
    """While ids cannot be written, they are not spent, and the store is not ready. As soon as there is room, it is."""
    assert await in_processes(1, globals()[name], str(tmp_path / "spent.db"), 0) == [1]


@contextmanager
def full_disk() -> Iterator[None]:
    """Keep this process from writing more than 1,024 bytes to a file, as a full disk does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def spend_with_a_full_disk(path: str, _number: int) -> int:
    """Return 1 if the store refuses ids exactly while the disk is full."""

    async def run() -> None:
        clock = FakeClock()
        store = SQLiteReplayStore(path, clock=clock)
        await begin(store)
        clock.advance(60)
        assert await spend(store, "before", clock)
        with full_disk():
            for _ in range(3):
                with pytest.raises(VerifierUnavailable, match=f"cannot be used.*Its path is {path}"):
                    await spend(store, "while full", clock)
                with pytest.raises(VerifierUnavailable, match="cannot be used"):
                    await store.ready()
        assert await store.ready() is None
        assert not await spend(store, "before", clock)
        assert await spend(store, "while full", clock)
        assert not await spend(store, "while full", clock)
        await store.aclose()

    asyncio.run(run())
    return 1


def start_with_a_full_disk(path: str, _number: int) -> int:
    """Return 1 if a store can begin its memory as soon as there is room for the file, and sets no file aside."""

    async def run() -> None:
        clock = FakeClock()
        with full_disk():
            for _ in range(2):
                store = SQLiteReplayStore(path, clock=clock)
                for _ in range(2):
                    with pytest.raises(VerifierUnavailable, match="cannot be used"):
                        await store.ready()
        with pytest.raises(StoreIsNew):
            await store.ready()
        clock.advance(CLOCK_SKEW_SECONDS + 1)
        assert await store.ready() is None
        assert await spend(store, "one", clock)
        await store.aclose()
        assert [file.name for file in files(Path(path))] == ["spent.db"]

    asyncio.run(run())
    return 1


def answer_with_a_full_disk(path: str, _number: int) -> int:
    """Return 1 if a service answers 503 while the disk of its file is full, and works again afterwards."""

    async def run() -> None:
        product = Product()
        store = SQLiteReplayStore(path, clock=product.clock)
        product.verifier = product.firebase.verifier("product", replay=store)
        await begin(store)
        product.clock.advance(60)
        token = product.service_token()
        with full_disk():
            with pytest.raises(VerifierUnavailable) as caught:
                await product.call(token)
            assert (caught.value.status, caught.value.retry_after_seconds) == (503, 1)
        assert await product.code(token) == "accepted"
        assert await product.code(token) == "token_replayed"
        await product.verifier.aclose()

    asyncio.run(run())
    return 1


@pytest.mark.parametrize("lose", [Path.unlink, delete_all, delete_the_folder])
async def test_a_service_whose_file_is_deleted(path: Path, lose: Callable[[Path], object]) -> None:
    """It answers 503 with the seconds to wait, and then accepts calls again. No token is accepted twice."""
    product = Product()
    store = SQLiteReplayStore(path, clock=product.clock)
    product.verifier = product.firebase.verifier("product", replay=store)
    await product.verifier.open()
    product.clock.advance(60)
    used, unused = product.service_token(), product.service_token()
    assert await product.code(used) == "accepted"
    wait_for_the_purge(store)
    lose(path)
    product.clock.advance(2 * NOTICED_SECONDS)
    for token in (used, unused):
        with pytest.raises(StoreIsNew) as caught:
            await product.call(token)
        assert (caught.value.status, caught.value.retry_after_seconds) == (503, CLOCK_SKEW_SECONDS + 1)
    product.clock.advance(CLOCK_SKEW_SECONDS + 1)
    assert await product.code(used) == await product.code(unused) == "token_stale"
    assert await product.code(product.service_token()) == "accepted"
    assert await product.verifier.ready() == []
    await product.verifier.aclose()


def test_a_file_that_is_replaced_again_and_again_is_an_outage(path: Path, clock: FakeClock) -> None:
    """The store gives up after a few attempts, so that the call is answered."""
    file = SpentIdFile(path, wait_seconds=0, clock=clock)
    attempts: list[Path] = []

    def replace(_connection: Connection) -> None:
        attempts.append(path)
        path.unlink()

    with pytest.raises(VerifierUnavailable, match="damaged or replaced again and again"):
        file.use(replace)
    assert len(attempts) == 3
    file.close()
