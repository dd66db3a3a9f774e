"""Spent ids: how long the next spend takes, and the room that the ids need, with up to ten million in each store.

The stores are filled by bulk inserts straight into their tables, with ids that do not expire meanwhile. What is
measured is the store's own code. The measured spends are added to each store. The sizes take turns, each in a store of
its own.
"""

import asyncio
import base64
import os
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import asyncpg
import redis

from bench import servers
from bench.growth.names import SPEND, SPENT_DISK, SPENT_MEMORY
from bench.measure import quiet_garbage_collector, until_it_remembers
from bench.results import Measurement, Plan
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.replay.postgresql import PostgreSQLReplayStore
from mstoken.callee.replay.redis import RedisReplayStore, id_key
from mstoken.callee.replay.redis_client import OneServer
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.callee.replay.sqlite_file import SpentIdFile
from mstoken.callee.replay.store import ReplayStore
from mstoken.errors import StoreIsNew
from tests.postgresql import PostgresServer
from tests.redis_server import RedisServer

SIZES = (1, 1_000, 100_000)
LARGE_SIZES = (*SIZES, 1_000_000, 10_000_000)
ROUNDS, SPENDS = 15, 50
MEGABYTE = 1e6
KEEP_SECONDS = 7_200
"""For how long the ids count: longer than the benchmark runs."""
ID_BYTES = 22
"""The length of the id of a fresh token."""
CHUNK = 1_000_000
CHUNK_OF_REDIS = 10_000
REDIS_SECONDS = 60.0
"""How long a script of so many ids may take. Redis makes its table of keys twice as large within one of them."""

_FILL_REDIS = """
for number = 1, tonumber(ARGV[2]) do
    redis.call('SET', ARGV[1] .. string.sub(redis.sha1hex(ARGV[3] .. number), 1, 22), ARGV[4], 'PX', ARGV[5])
end
"""
_FILL_POSTGRESQL = """
INSERT INTO mstoken_spent_ids (id, mark, expires_at)
SELECT sha256(number::text::bytea), '\\x0123456789abcdef', {expires_at} + number % 60
FROM generate_series(1, {size}) AS number ORDER BY 1
"""


def measure_files(plan: Plan) -> Iterator[Measurement]:
    """Measure the stores that need no server."""
    yield from in_memory(plan, _sizes(plan))
    yield from in_sqlite(plan, _sizes(plan))


def measure_redis(plan: Plan) -> Iterator[Measurement]:
    """Measure the store in Redis, if this machine has it."""
    with servers.redis(plan, "Growth of spent ids in Redis") as server:
        if server is not None:
            yield from in_redis(plan, _sizes(plan), server)


def measure_postgresql(plan: Plan) -> Iterator[Measurement]:
    """Measure the store in PostgreSQL, if this machine has it."""
    with servers.postgresql(plan, "Growth of spent ids in PostgreSQL") as server:
        if server is not None:
            yield from in_postgresql(plan, _sizes(plan), server)
    plan.leave_out("Growth of spent ids in Firestore: here is only an emulator in memory, which is not Google's")


def _sizes(plan: Plan) -> Sequence[int]:
    return LARGE_SIZES if plan.is_large else SIZES


def in_memory(plan: Plan, sizes: Sequence[int]) -> Iterator[Measurement]:
    """Measure `MemoryReplayStore`."""
    stores: dict[int, ReplayStore] = {}
    for size in sizes:
        plan.say(f"memory, {size:,} ids")
        store = MemoryReplayStore(clock_skew_seconds=0)
        ids = {one for chunk in _ids(size) for one in chunk}
        store._slots[int((time.time() + KEEP_SECONDS) // store._SLOT_SECONDS)] = ids
        stores[size] = store
        used = sys.getsizeof(ids) + size * sys.getsizeof(next(iter(ids)))
        yield Measurement("memory", SPENT_MEMORY, "MB", [used / MEGABYTE], size)
    yield from asyncio.run(_spends("memory", stores))


def in_sqlite(plan: Plan, sizes: Sequence[int]) -> Iterator[Measurement]:
    """Measure `SQLiteReplayStore`, with files in the folder of the plan."""
    stores: dict[int, ReplayStore] = {}
    paths = {size: plan.folder / f"spent-{size}.db" for size in sizes}
    for size, path in paths.items():
        plan.say(f"SQLite, {size:,} ids")
        SpentIdFile(path, wait_seconds=1, clock=lambda: time.time() - 60).create()
        _fill_sqlite(path, size)
        yield Measurement("SQLite", SPENT_DISK, "MB", [path.stat().st_size / MEGABYTE], size)
    for size, path in paths.items():  # Now, because an open store deletes expired ids from time to time.
        stores[size] = SQLiteReplayStore(path, clock_skew_seconds=0)
    yield from asyncio.run(_spends("SQLite", stores))
    for path in paths.values():
        path.unlink()


def _fill_sqlite(path: Path, size: int) -> None:
    expires_at = int(time.time()) + KEEP_SECONDS
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -1000000")
    connection.execute("BEGIN")
    for chunk in _ids(size):
        rows = ((one, expires_at) for one in sorted(chunk))
        connection.executemany("INSERT INTO spent (id, expires_at) VALUES (?, ?)", rows)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def in_redis(plan: Plan, sizes: Sequence[int], server: RedisServer) -> Iterator[Measurement]:
    """Measure `RedisReplayStore`. Each size has a database of the server."""
    stores: dict[int, ReplayStore] = {}
    for number, size in enumerate(sizes):
        plan.say(f"Redis, {size:,} ids")
        with redis.Redis(port=server.port, db=number, socket_timeout=REDIS_SECONDS) as client:
            before = client.info("memory")["used_memory"]
            client.config_set("busy-reply-threshold", int(REDIS_SECONDS * 1000))
            fill = client.register_script(_FILL_REDIS)
            prefix, keep_ms = id_key(OneServer.tags[0], ""), KEEP_SECONDS * 1000
            for first in range(0, size, CHUNK_OF_REDIS):
                count = min(CHUNK_OF_REDIS, size - first)
                fill(args=[prefix, count, f"{first} ", secrets.token_bytes(8), keep_ms])
            used = client.info("memory")["used_memory"] - before
        yield Measurement("Redis", SPENT_MEMORY, "MB", [used / MEGABYTE], size)
        stores[size] = RedisReplayStore(f"redis://127.0.0.1:{server.port}/{number}", clock_skew_seconds=0)
    yield from asyncio.run(_spends("Redis", stores))


def in_postgresql(plan: Plan, sizes: Sequence[int], server: PostgresServer) -> Iterator[Measurement]:
    """Measure `PostgreSQLReplayStore`. Each size has a database of the server."""
    stores: dict[int, ReplayStore] = {}
    for size in sizes:
        plan.say(f"PostgreSQL, {size:,} ids")
        name = server.make_database()
        url = server.url(name, driver="postgresql")
        asyncio.run(_begin(PostgreSQLReplayStore(url, clock_skew_seconds=0)))
        fill = _FILL_POSTGRESQL.format(expires_at=int(time.time()) + KEEP_SECONDS, size=size)
        server.execute(fill, database=name)
        server.execute("VACUUM ANALYZE mstoken_spent_ids", database=name)
        stores[size] = PostgreSQLReplayStore(url, clock_skew_seconds=0)
        used = asyncio.run(_size_of(url))
        yield Measurement("PostgreSQL", SPENT_DISK, "MB", [used / MEGABYTE], size)
    yield from asyncio.run(_spends("PostgreSQL", stores))


async def _begin(store: ReplayStore) -> None:
    """Let a new store make its tables, and begin its memory."""
    try:
        await store.ready()
    except StoreIsNew:
        pass
    finally:
        await store.aclose()


async def _size_of(url: str) -> int:
    """Return how many bytes the ids and their indexes have in PostgreSQL."""
    connection = await asyncpg.connect(url)
    try:
        size: int = await connection.fetchval("SELECT pg_total_relation_size('mstoken_spent_ids')")
        return size
    finally:
        await connection.close()


async def _spends(case: str, stores: Mapping[int, ReplayStore]) -> list[Measurement]:
    """Measure spends in the stores of all sizes, which take turns. A first round, to warm up, is not counted."""
    times: dict[int, list[float]] = {size: [] for size in stores}
    for store in stores.values():
        await until_it_remembers(store)
    with quiet_garbage_collector():
        for turn in range(ROUNDS + 1):
            for size, store in sorted(stores.items(), reverse=turn % 2 == 1):
                now = time.time()
                ids = [secrets.token_urlsafe(16) for _ in range(SPENDS)]
                began = time.perf_counter()
                for one in ids:
                    if not await store.spend(one, issued_at=now, expires_at=now + KEEP_SECONDS):
                        raise RuntimeError(f"{case} refused an id that was not spent before.")
                if turn:
                    times[size].append((time.perf_counter() - began) / SPENDS * 1e6)
    for store in stores.values():
        await store.aclose()
    return [Measurement(case, SPEND, "µs", values, size) for size, values in times.items()]


def _ids(size: int) -> Iterator[list[bytes]]:
    """Yield so many random ids, in lists. They look as the ids of fresh tokens do."""
    for first in range(0, size, CHUNK):
        count = min(CHUNK, size - first)
        text = base64.urlsafe_b64encode(os.urandom(24 * count))
        yield [text[start : start + ID_BYTES] for start in range(0, 32 * count, 32)]
