"""Spent ids in PostgreSQL, for services on many machines that have a database and no Redis."""

import asyncio
import hashlib
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import asyncpg
from typing_extensions import override

from mstoken.callee.replay.store import ReplayStore, check_is_remembered
from mstoken.errors import SettingsError, StoreIsNew, VerifierUnavailable
from mstoken.log_events import log_event
from mstoken.per_loop import PerLoop
from mstoken.single_flight import SingleFlight
from mstoken.wire import CLOCK_SKEW_SECONDS

TIMEOUT_SECONDS = 2.0
"""How long to wait for a connection, and for an answer."""
MAX_CONNECTIONS = 10
PURGE_INTERVAL_SECONDS = 20.0
PURGE_ROWS = 10_000
PURGE_SECONDS = 60.0
"""How long one batch of a purge may take."""
CLOSE_SECONDS = 1.0
PURGE_LOCK = int.from_bytes(b"mstoken")
"""The advisory lock of the worker that deletes expired ids."""

TABLES = """
CREATE UNLOGGED TABLE IF NOT EXISTS mstoken_spent_ids (
    id bytea PRIMARY KEY,
    mark bytea NOT NULL,
    expires_at double precision NOT NULL
);
CREATE INDEX IF NOT EXISTS mstoken_spent_ids_expires_at ON mstoken_spent_ids (expires_at);
CREATE UNLOGGED TABLE IF NOT EXISTS mstoken_spent_ids_memory (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    complete_since double precision NOT NULL,
    state text NOT NULL
);
"""
"""The tables. An administrator may create them, if the service must not. All times are seconds since the epoch."""

# The later time counts: this call may have waited since it read its clock, and the memory may have been lost then.
_NOW = "greatest($1::float8, extract(epoch FROM clock_timestamp())::float8)"
# What changes when all ids are lost at once: the table, or its file. A crash and a fail-over empty both tables.
_STATE = "'mstoken_spent_ids'::regclass::oid::text || ' ' || pg_relation_filenode('mstoken_spent_ids')"

_SPEND = f"""
WITH memory AS MATERIALIZED (
    SELECT complete_since FROM mstoken_spent_ids_memory
    WHERE state = {_STATE} AND complete_since <= {_NOW} + $2::float8
), spent AS (
    INSERT INTO mstoken_spent_ids (id, mark, expires_at)
    SELECT $3, $4, $5 FROM memory WHERE $6::float8 > complete_since + $2
    ON CONFLICT (id) DO UPDATE SET mark = excluded.mark WHERE mstoken_spent_ids.mark = excluded.mark
    RETURNING id
)
SELECT (SELECT complete_since FROM memory), EXISTS (SELECT FROM spent)
"""  # noqa: S608 - no value from outside is in the text
_BEGIN = f"""
INSERT INTO mstoken_spent_ids_memory (complete_since, state)
SELECT {_NOW}, {_STATE}
ON CONFLICT (only_row) DO UPDATE SET complete_since = excluded.complete_since, state = excluded.state
WHERE mstoken_spent_ids_memory.state <> excluded.state
OR mstoken_spent_ids_memory.complete_since > excluded.complete_since + $2::float8
"""
_PERSISTENCE = """
SELECT oid::regclass::text FROM pg_class
WHERE oid IN ('mstoken_spent_ids'::regclass, 'mstoken_spent_ids_memory'::regclass) AND relpersistence <> 'u'
"""
# One worker at a time deletes. The others would wait for its rows. The earlier time counts: a worker whose clock is far
# ahead accepts no call, and must not delete what the other workers still need.
_PURGE = """
DELETE FROM mstoken_spent_ids WHERE id = ANY (ARRAY (
    SELECT id FROM mstoken_spent_ids
    WHERE expires_at < least($1::float8, extract(epoch FROM now())::float8)
    AND (SELECT pg_try_advisory_xact_lock($2))
    ORDER BY expires_at LIMIT $3
))
"""
_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
_LOST_CONNECTION = (
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    ConnectionError,
)
_log = logging.getLogger("mstoken.replay")


class _Outcome(NamedTuple):
    """Since when the memory is complete, in seconds since the epoch, and whether this call has spent the id."""

    complete_since: float
    is_spent: bool


class PostgreSQLReplayStore(ReplayStore):
    """Spent ids in two tables of a PostgreSQL (12 or newer) that all workers on all machines share.

    To spend an id is one INSERT, in one round trip. Both tables are UNLOGGED: PostgreSQL neither writes them to its log
    nor waits for the disk, and it empties them after a crash and at a fail-over, both together (PostgreSQL, "CREATE
    TABLE"). The table `mstoken_spent_ids_memory` has the time since when the memory is complete. If it is empty, the
    memory begins now. It also tells which file the ids are in, because TRUNCATE and a restored backup lose ids too.

    The value of an id is a random mark of the call that spent it. If the connection is lost before the answer arrives,
    the INSERT is repeated. If the id has this call's own mark by then, this call spent it.

    Expired ids are deleted in batches, by one worker at a time, along an index on their time of expiry. An id
    is deleted if it has expired by the clock of that worker and by the clock of PostgreSQL.
    Each event loop and each process has connections of its own.
    """

    def __init__(
        self,
        url: str,
        *,
        clock_skew_seconds: float = CLOCK_SKEW_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`url` is a `postgresql://` URL as libpq reads it; `clock` returns seconds since the epoch.

        Ids that were issued up to `clock_skew_seconds` after the memory began are refused too. Raises `SettingsError`
        if asyncpg cannot read the URL.
        """
        check_postgresql_url(url)
        self._clock_skew_seconds = float(clock_skew_seconds)
        self._clock = clock
        self._pools = PerLoop(lambda: _Pool(url), _Pool.aclose)
        self._purge_at = clock() + PURGE_INTERVAL_SECONDS
        self._purges = SingleFlight(self._purge, "mstoken purge")

    @override
    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        self._purge_if_due()
        now = self._clock()
        outcome = await self._spend(one_time_id, now, issued_at, expires_at)
        if issued_at <= outcome.complete_since + self._clock_skew_seconds:
            raise StoreIsNew(outcome.complete_since + self._clock_skew_seconds, now)
        return outcome.is_spent

    @override
    async def ready(self) -> str | None:
        self._purge_if_due()
        now = self._clock()
        # An id that expires at once, so that it is known whether ids can be written.
        outcome = await self._spend(secrets.token_hex(16), now, issued_at=1e12, expires_at=0.0)
        logged = await self._fetch(_PERSISTENCE)
        if logged:
            raise VerifierUnavailable(
                f"The table {logged[0][0]} is not UNLOGGED, so it could lose spent ids unnoticed at a fail-over. Drop "
                "it, or execute ALTER TABLE … SET UNLOGGED."
            )
        check_is_remembered(int(now), outcome.complete_since, self._clock_skew_seconds, now)
        return None

    @override
    async def aclose(self) -> None:
        """Close the connections of this event loop. Those of other loops end with their loops."""
        await self._purges.aclose()
        await self._pools.aclose()

    async def _spend(self, one_time_id: str, now: float, issued_at: float, expires_at: float) -> _Outcome:
        """Spend the id, unless it is older than the memory. Begin the memory if there is none."""
        # A hash, because an index entry has a limited length.
        key, mark = hashlib.sha256(one_time_id.encode()).digest(), secrets.token_bytes(8)
        for _ in range(3):
            (row,) = await self._fetch(_SPEND, now, self._clock_skew_seconds, key, mark, expires_at, issued_at)
            if row[0] is not None:
                return _Outcome(*row)
            await self._fetch(_BEGIN, now, self._clock_skew_seconds)
        raise VerifierUnavailable("The memory of the spent ids in PostgreSQL is lost again and again.")

    async def _fetch(self, statement: str, *values: Any) -> list[Any]:
        """Return the rows of a statement, which may be executed twice. Create the tables if they are missing."""
        pool = self._pools.get()
        try:
            try:
                return await pool.fetch(statement, *values)
            except _LOST_CONNECTION:
                # The server may have closed kept connections. All of them are replaced.
                await pool.expire()
            except asyncpg.UndefinedTableError:
                await self._create_tables(pool)
            return await pool.fetch(statement, *values)
        except _ERRORS as error:
            raise _unavailable(error) from error

    async def _create_tables(self, pool: "_Pool") -> None:
        # Another worker may create them at this moment. IF NOT EXISTS does not prevent these errors then.
        with suppress(asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError):
            await pool.execute(TABLES)

    def _purge_if_due(self) -> None:
        now = self._clock()
        if now >= self._purge_at:
            self._purge_at = now + PURGE_INTERVAL_SECONDS
            self._purges.start()

    async def _purge(self) -> None:
        """Delete expired ids in batches. What fails here is tried again at the next purge."""
        now, deleted = self._clock(), PURGE_ROWS
        try:
            while deleted == PURGE_ROWS:
                status = await self._pools.get().execute(_PURGE, now, PURGE_LOCK, PURGE_ROWS)
                deleted = int(status.rpartition(" ")[2])
        except _ERRORS as error:
            event = "expired ids could not be deleted"
            log_event(_log, logging.WARNING, event, f"{event}: {type(error).__name__}", error=type(error).__name__)


class _Pool:
    """The connections of one event loop."""

    def __init__(self, url: str) -> None:
        self._pool = make_pool(url)
        self._opening = SingleFlight(self._open, "mstoken PostgreSQL pool")
        self._is_open = False

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        """Return the rows of a statement."""
        async with asyncio.timeout(2 * TIMEOUT_SECONDS):
            await self._ensure_open()
            async with self._pool.acquire() as connection:
                rows: list[Any] = await connection.fetch(statement, *values)
                return rows

    async def execute(self, statements: str, *values: Any) -> str:
        """Execute statements outside of a transaction, and return the status of the last one."""
        await self._ensure_open()
        async with self._pool.acquire(timeout=TIMEOUT_SECONDS) as connection:
            status: str = await connection.execute(statements, *values, timeout=PURGE_SECONDS)
            return status

    async def expire(self) -> None:
        """Replace all connections before their next use."""
        await self._pool.expire_connections()

    async def aclose(self) -> None:
        """Close all connections. Those that are still in use after a second are dropped."""
        if not self._is_open:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._pool.close()
        except _ERRORS:
            self._pool.terminate()
            await asyncio.sleep(0)  # asyncio closes the sockets at its next turn.

    async def _ensure_open(self) -> None:
        if not self._is_open:
            await self._opening.join()

    async def _open(self) -> None:
        await self._pool
        self._is_open = True


def check_postgresql_url(url: str) -> None:
    """Raise `SettingsError` if the URL names no database or cannot be read. It may name several hosts."""
    with suppress(ValueError):
        parts = urlsplit(url)
        options = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
        ports = [urlsplit(f"//{host}").port for host in parts.netloc.rpartition("@")[2].split(",")]
        if 0 not in ports and (parts.path.strip("/") or "dbname" in options):
            return
    # What cannot be read may be a part of the password.
    raise SettingsError(
        "MSTOKEN_REPLAY_URL is not the URL of a PostgreSQL database: it must be "
        "postgresql://[user:password@]host[:port]/database, with special characters escaped."
    )


def make_pool(url: str) -> asyncpg.Pool:
    """Return a pool that has not connected yet."""
    return asyncpg.create_pool(
        url,
        min_size=0,
        max_size=MAX_CONNECTIONS,
        timeout=TIMEOUT_SECONDS,
        command_timeout=TIMEOUT_SECONDS,
        reset=_leave_as_it_is,
    )


async def _leave_as_it_is(_connection: Any) -> None:
    """Do nothing when a connection returns to the pool: its statements change nothing that a reset would undo."""


def _unavailable(error: Exception) -> VerifierUnavailable:
    return VerifierUnavailable(f"The PostgreSQL of spent ids cannot be used ({type(error).__name__}: {error}).")
