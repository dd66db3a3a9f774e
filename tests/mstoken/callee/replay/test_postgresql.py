"""The store in PostgreSQL. The tests start their own server."""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import asyncpg
import pytest

from mstoken.callee.replay import postgresql as module
from mstoken.callee.replay.postgresql import TABLES, PostgreSQLReplayStore
from mstoken.errors import SettingsError, StoreIsNew, VerifierUnavailable
from mstoken.wire import CLOCK_SKEW_SECONDS
from tests.clock import FakeClock
from tests.mstoken.callee.replay.test_store import (
    SharedReplayStoreContract,
    begin,
    lost_memory_is_noticed,
    replays_that_pass,
    spend,
)
from tests.postgresql import PostgresServer

ROOT = Path(__file__).parents[4]
AHEAD_OF_THE_SERVER = 4_000_000_000.0
LONG_AGO = 1_000_000_000.0


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret@host",
        "postgresql://user:s3cret@host:port/ids",
        "postgresql://user:s3cret@host,other:port/ids",
        "postgresql://user:s3cret@host:0/ids",
        "postgresql://user:s3#cret@host/",
        "postgresql://user:s3cret@host/ids?sslmode",
    ],
)
def test_the_error_about_a_wrong_url_does_not_contain_it(url: str) -> None:
    """The part that is not a port can be a password with special characters, so it is not printed."""
    with pytest.raises(SettingsError, match="not the URL of a PostgreSQL database") as caught:
        PostgreSQLReplayStore(url)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret@first:5432,second:5432/ids?target_session_attrs=primary",
        "postgresql://[::1]:5432,second/ids",
        "postgresql:///ids?host=/run/postgresql",
        "postgresql://host?dbname=ids",
    ],
)
def test_a_url_as_libpq_reads_it(url: str) -> None:
    """It may name several hosts, of which one is the primary, a folder with a socket, and the database as an option."""
    PostgreSQLReplayStore(url)


@pytest.fixture
def clock() -> FakeClock:
    """A clock far ahead of that of the server, whose time does not count then."""
    return FakeClock(AHEAD_OF_THE_SERVER)


@pytest.fixture
async def new_store(url: str, clock: FakeClock) -> AsyncIterator[PostgreSQLReplayStore]:
    store = PostgreSQLReplayStore(url, clock=clock)
    yield store
    await store.aclose()


@pytest.fixture
async def store(new_store: PostgreSQLReplayStore, clock: FakeClock) -> PostgreSQLReplayStore:
    """A store whose memory began a minute ago."""
    await begin(new_store)
    clock.advance(60)
    return new_store


class Database(NamedTuple):
    """A database of a server, and ways to lose the ids in it."""

    server: PostgresServer
    name: str

    @property
    def url(self) -> str:
        return self.server.url(self.name, driver="postgresql")

    def execute(self, *statements: str) -> None:
        for statement in statements:
            self.server.execute(statement, database=self.name)

    def truncate_ids(self) -> None:
        self.execute("TRUNCATE mstoken_spent_ids")

    def truncate_all(self) -> None:
        self.execute("TRUNCATE mstoken_spent_ids, mstoken_spent_ids_memory")

    def drop_ids(self) -> None:
        self.execute("DROP TABLE mstoken_spent_ids")

    def drop_all(self) -> None:
        self.execute("DROP TABLE mstoken_spent_ids, mstoken_spent_ids_memory")

    def forget_the_memory(self) -> None:
        self.execute("DELETE FROM mstoken_spent_ids_memory")

    def restore_a_backup(self) -> None:
        """Put a table from before in place of the ids, and leave the memory as it is."""
        self.execute(
            "CREATE UNLOGGED TABLE restored (LIKE mstoken_spent_ids INCLUDING ALL)",
            "DROP TABLE mstoken_spent_ids",
            "ALTER TABLE restored RENAME TO mstoken_spent_ids",
        )


class TestPostgreSQLReplayStore(SharedReplayStoreContract):
    """The store in PostgreSQL."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock(AHEAD_OF_THE_SERVER)

    @pytest.fixture
    def database(self, postgresql: PostgresServer) -> Iterator[Database]:
        database = Database(postgresql, postgresql.make_database())
        yield database
        postgresql.drop_database(database.name)

    @pytest.fixture
    def url(self, database: Database) -> str:
        return database.url

    @pytest.mark.parametrize(
        "lose",
        [
            Database.truncate_ids,
            Database.truncate_all,
            Database.drop_ids,
            Database.drop_all,
            Database.forget_the_memory,
            Database.restore_a_backup,
        ],
    )
    async def test_postgresql_forgets(
        self, store: PostgreSQLReplayStore, database: Database, clock: FakeClock, lose: Callable[[Database], None]
    ) -> None:
        """Ids that were issued before are refused, those that are issued later are accepted once."""
        # Without a purge: it could hold a lock while the loss, which blocks this event loop, waits for that lock.
        store._purge_at = math.inf
        await lost_memory_is_noticed(store, clock, lambda: lose(database))

    async def test_expired_ids_are_deleted_in_batches(
        self, store: PostgreSQLReplayStore, url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A purge deletes all expired ids, also if they are more than one batch, and no other."""
        monkeypatch.setattr(module, "PURGE_ROWS", 7)
        store._purge_at = math.inf  # The spends start no purge.
        for number in range(20):
            await store.spend(f"old-{number}", issued_at=clock(), expires_at=LONG_AGO)
        await spend(store, "kept", clock)
        await store._purges.join()
        assert len(await rows(url)) == 1
        assert await spend(store, "kept", clock) is False

    async def test_a_worker_whose_clock_is_ahead_deletes_nothing_too_early(
        self, store: PostgreSQLReplayStore, clock: FakeClock
    ) -> None:
        """It accepts no call itself, but its readiness probes start purges. The other workers still need the ids."""
        spent_by_another = time.time() + 60
        await store.spend("spent", issued_at=clock(), expires_at=spent_by_another)
        clock.advance(30)
        await store.ready()
        await store._purges.join()
        assert await store.spend("spent", issued_at=clock(), expires_at=spent_by_another) is False

    async def test_one_worker_at_a_time_deletes(self, store: PostgreSQLReplayStore, url: str, clock: FakeClock) -> None:
        """While another one does, a purge ends at once and leaves the ids to it."""
        store._purge_at = math.inf  # The spend starts no purge.
        await store._purges.join()
        await store.spend("old", issued_at=clock(), expires_at=LONG_AGO)
        connection = await asyncpg.connect(url)
        async with connection.transaction():
            await connection.fetch("SELECT pg_advisory_xact_lock($1)", module.PURGE_LOCK)
            await store._purges.join()
            assert len(await rows(url)) == 1
        await connection.close()
        await store._purges.join()
        assert await rows(url) == []

    async def test_a_lost_answer_does_not_refuse_the_call(
        self, store: PostgreSQLReplayStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The INSERT is repeated and finds its own mark, so the spend succeeds; the next spend does not."""
        pool = store._pools.get()
        fetch, failures = pool.fetch, iter([asyncpg.ConnectionDoesNotExistError("lost")])

        async def lose_the_answer(statement: str, *values: object) -> list[object]:
            answer = await fetch(statement, *values)
            if error := next(failures, None):
                raise error
            return answer

        monkeypatch.setattr(pool, "fetch", lose_the_answer)
        assert await spend(store, "lost", clock) is True
        assert await spend(store, "lost", clock) is False

    async def test_the_memory_begins_when_postgresql_executes_the_statement(self, url: str) -> None:
        """A call that waited before that does not date the memory back to before it was lost."""
        clock = FakeClock(1_000_000_000.0)
        store = PostgreSQLReplayStore(url, clock=clock)
        with pytest.raises(StoreIsNew) as caught:
            await store.ready()
        assert caught.value.accepts_from > clock() + 10_000_000
        await store.aclose()

    async def test_a_logged_table_is_not_ready(self, store: PostgreSQLReplayStore, database: Database) -> None:
        """After a fail-over it would look complete and lack the last ids. The error names the table and the remedy."""
        database.execute("ALTER TABLE mstoken_spent_ids SET LOGGED")
        with pytest.raises(VerifierUnavailable, match=r"mstoken_spent_ids is not UNLOGGED.*SET UNLOGGED"):
            await store.ready()

    async def test_a_user_who_may_not_create_tables(self, database: Database, clock: FakeClock) -> None:
        """The tables and permissions in docs/production.md are enough. Without them, the error says what is missing."""
        text = (ROOT / "docs/production.md").read_text()
        block = dedent(re.findall(r"```sql\n(.*?) *```", text, re.DOTALL)[0])
        assert TABLES.strip() in block
        database.execute("CREATE ROLE product LOGIN PASSWORD 'secret'", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        address = database.url.partition("@")[2]
        store = PostgreSQLReplayStore(f"postgresql://product:secret@{address}", clock=clock)
        with pytest.raises(VerifierUnavailable, match="permission denied for schema public"):
            await store.ready()
        database.execute(*(statement for statement in block.split(";\n") if statement.strip()))
        await begin(store)
        clock.advance(60)
        assert await store.ready() is None
        assert [await spend(store, "one", clock) for _ in range(2)] == [True, False]
        clock.advance(120)
        await store._purges.join()
        await store.aclose()
        database.execute("DROP OWNED BY product", "DROP ROLE product")


async def rows(url: str) -> list[object]:
    """Return the ids in the database."""
    connection = await asyncpg.connect(url)
    found: list[object] = await connection.fetch("SELECT id FROM mstoken_spent_ids")
    await connection.close()
    return found


class TestPostgreSQLOutages:
    """The store while its server fails."""

    @pytest.fixture
    def url(self, own_postgresql: PostgresServer) -> str:
        return own_postgresql.url(driver="postgresql")

    async def test_a_crash_loses_the_ids(
        self, store: PostgreSQLReplayStore, own_postgresql: PostgresServer, clock: FakeClock
    ) -> None:
        """The server empties its UNLOGGED tables. No id of before is accepted, and later the store works again."""

        def crash() -> None:
            own_postgresql.kill()
            own_postgresql.start()

        await lost_memory_is_noticed(store, clock, crash)

    async def test_a_crash_of_one_process_loses_the_ids(
        self, store: PostgreSQLReplayStore, own_postgresql: PostgresServer, clock: FakeClock
    ) -> None:
        """The server recovers without a restart, and empties the tables too."""

        issued_at = clock()
        assert await spend(store, "one", clock) is True
        clock.advance(2)
        backend = own_postgresql._family()[1]
        backend.kill()
        backend.wait()
        async with asyncio.timeout(30):
            while True:
                assert await replays_that_pass(store, ["one", "unused"], issued_at, clock) == []
                try:
                    await store.ready()
                except StoreIsNew:
                    break
                except VerifierUnavailable:  # The server recovers.
                    await asyncio.sleep(0.05)
        clock.advance(CLOCK_SKEW_SECONDS + 1)
        assert await replays_that_pass(store, ["one", "unused"], issued_at, clock) == []
        assert await store.ready() is None

    async def test_a_stopped_server_is_an_outage(
        self, store: PostgreSQLReplayStore, own_postgresql: PostgresServer, clock: FakeClock
    ) -> None:
        """No id can be spent, and the store is not ready."""
        own_postgresql.kill()
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await spend(store, "one", clock)
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await store.ready()

    async def test_a_hanging_server_is_an_outage(
        self, store: PostgreSQLReplayStore, own_postgresql: PostgresServer, clock: FakeClock
    ) -> None:
        """The spend fails after a few seconds at most."""
        own_postgresql.hang()
        async with asyncio.timeout(12):
            with pytest.raises(VerifierUnavailable, match="cannot be used"):
                await spend(store, "one", clock)
        own_postgresql.go_on()

    async def test_closed_connections_do_not_refuse_a_call(
        self, store: PostgreSQLReplayStore, own_postgresql: PostgresServer, clock: FakeClock
    ) -> None:
        """A spend whose connection was closed by the server connects again and succeeds."""
        await asyncio.gather(*(spend(store, f"id-{number}", clock) for number in range(30)))
        own_postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        assert await asyncio.gather(*(spend(store, f"new-{number}", clock) for number in range(30))) == [True] * 30
