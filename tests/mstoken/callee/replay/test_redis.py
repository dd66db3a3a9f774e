"""The store in Redis. The tests start their own Redis."""

import asyncio
import math
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import redis

from mstoken.callee.replay.redis import RedisReplayStore, memory_key
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
from tests.redis_server import RedisServer, running_redis

ROOT = Path(__file__).parents[4]
AHEAD_OF_REDIS = 4_000_000_000.0
EVICTING_POLICIES = [
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
]


@pytest.mark.parametrize("url", ["redis://:s3cret#more@host", "redis://:s3cret@host:port", "redis://u:s3cret/x@host/0"])
def test_the_error_about_a_wrong_url_does_not_contain_it(url: str) -> None:
    """The part that is not a port can be a password with special characters, so it is not printed."""
    with pytest.raises(SettingsError, match="not the URL of a Redis") as caught:
        RedisReplayStore(url)
    assert "s3cret" not in str(caught.value)


@pytest.fixture
def clock() -> FakeClock:
    """A clock far ahead of that of Redis, whose time does not count then."""
    return FakeClock(AHEAD_OF_REDIS)


@pytest.fixture
async def new_store(url: str, clock: FakeClock) -> AsyncIterator[RedisReplayStore]:
    store = RedisReplayStore(url, clock=clock)
    yield store
    await store.aclose()


@pytest.fixture
async def store(new_store: RedisReplayStore, clock: FakeClock) -> RedisReplayStore:
    """A store whose memory began a minute ago."""
    await begin(new_store)
    clock.advance(60)
    return new_store


class TestRedisReplayStore(SharedReplayStoreContract):
    """The store in Redis."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock(AHEAD_OF_REDIS)

    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url

    async def test_redis_deletes_expired_ids(self, store: RedisReplayStore, url: str, clock: FakeClock) -> None:
        """Each id has a time to live in Redis, which a second spend does not change."""
        began = time.monotonic()
        await spend(store, "one", clock, seconds=70)
        with redis.Redis.from_url(url) as client:
            (key,) = client.scan_iter("*:one")
            mark = client.get(key)
            assert await spend(store, "one", clock, seconds=700) is False
            assert client.get(key) == mark
            left_ms = client.pttl(key)
        passed_ms = math.ceil((time.monotonic() - began) * 1000) + 1
        assert 70_000 - passed_ms <= left_ms <= 70_000

    async def test_an_expiry_in_the_past_is_not_an_error(self, store: RedisReplayStore, clock: FakeClock) -> None:
        """The first spend of such an id succeeds."""
        assert await spend(store, "late", clock, seconds=-5) is True

    async def test_the_memory_begins_when_redis_executes_the_script(self, url: str) -> None:
        """A call that waited before Redis executed it does not date the memory back to before it was lost."""
        store = RedisReplayStore(url, clock=lambda: time.time() - 30)
        sent_at = time.time()
        with pytest.raises(StoreIsNew) as caught:
            await store.spend("one", issued_at=sent_at - 10, expires_at=sent_at + 60)
        assert caught.value.accepts_from > sent_at + CLOCK_SKEW_SECONDS
        await store.aclose()

    async def test_all_keys_are_in_one_hash_slot(self, store: RedisReplayStore, url: str, clock: FakeClock) -> None:
        """A script of a Redis Cluster can use only keys of one slot."""
        await spend(store, "one", clock)
        with redis.Redis.from_url(url) as client:
            keys = [key.decode() for key in client.scan_iter("*")]
        assert {key.partition("{")[2].partition("}")[0] for key in keys} == {"spent"}
        assert len(keys) == 2


class Losses(NamedTuple):
    """Ways to lose the memory of a Redis. `restart` begins it again with the options of the first start."""

    server: RedisServer

    def flushall(self) -> None:
        self.server.command("FLUSHALL")

    def flushdb(self) -> None:
        self.server.command("FLUSHDB", "ASYNC")

    def delete_the_description_of_the_memory(self) -> None:
        self.server.command("DEL", memory_key("spent"))

    def restart_without_persistence(self) -> None:
        self.server.kill()
        self.server.start()

    def restart_with_persistence(self) -> None:
        """Restart a Redis that has written all ids to its disk."""
        self.server.command("SAVE")
        self.server.kill()
        self.server.start()

    def restart_with_an_old_snapshot(self) -> None:
        """Restart a Redis whose snapshot on the disk has none of the ids."""
        for key in self.server.command("KEYS", "*:id:*"):
            self.server.command("DEL", key)
        self.restart_with_persistence()

    def restart_with_an_append_only_file(self) -> None:
        """Restart a Redis whose log lacks the last second."""
        self.server.command("CONFIG", "SET", "appendonly", "yes")
        for key in self.server.command("KEYS", "*:id:*"):
            self.server.command("DEL", key)
        self.server.kill()
        self.server.start("--appendonly", "yes")

    def evict(self, policy: str) -> None:
        """Fill the memory until ids have been evicted, and then make room again."""
        ids = len(self.server.command("KEYS", "*:id:*"))
        used = self.server.command("INFO", "memory")["used_memory"]
        self.server.command("CONFIG", "SET", "maxmemory-policy", policy, "maxmemory", str(used + 200_000))
        for number in range(100):
            with suppress(redis.exceptions.OutOfMemoryError):
                self.server.command("SET", f"filler-{number}", "x" * 10_000, *EXPIRES.get(policy, ()))
        self.server.command("CONFIG", "SET", "maxmemory", "0")
        assert len(self.server.command("KEYS", "*:id:*")) < ids


EXPIRES = {"volatile-ttl": ("EX", "1000"), "volatile-random": ("EX", "1000")}
"""Under these policies the other keys may be evicted as well as the ids."""


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds. Redis does not tell when that is, so it is asked again and again."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.05)


class TestRedisMemory:
    """Whatever makes Redis forget: no id is accepted twice, and a little later the store works again."""

    @pytest.fixture
    def url(self, own_redis: RedisServer) -> str:
        return own_redis.url

    @pytest.mark.parametrize(
        "lose",
        [
            Losses.flushall,
            Losses.flushdb,
            Losses.delete_the_description_of_the_memory,
            Losses.restart_without_persistence,
            Losses.restart_with_persistence,
            Losses.restart_with_an_old_snapshot,
            Losses.restart_with_an_append_only_file,
        ],
    )
    async def test_redis_forgets(
        self,
        store: RedisReplayStore,
        own_redis: RedisServer,
        clock: FakeClock,
        lose: Callable[[Losses], None],
    ) -> None:
        """Ids that were issued before are refused, those that are issued later are accepted once."""
        await lost_memory_is_noticed(store, clock, lambda: lose(Losses(own_redis)))

    @pytest.mark.parametrize("policy", EVICTING_POLICIES)
    async def test_redis_evicts(
        self, store: RedisReplayStore, own_redis: RedisServer, clock: FakeClock, policy: str
    ) -> None:
        """If keys were evicted, all ids that were issued before are refused. The store is not ready."""

        def lose() -> None:
            Losses(own_redis).evict(policy)
            own_redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")

        await lost_memory_is_noticed(store, clock, lose)

    async def test_a_fail_over_loses_the_latest_ids(
        self, own_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory, clock: FakeClock
    ) -> None:
        """A replica that did not receive the last ids becomes the primary. It refuses what was issued before."""
        with running_redis(tmp_path_factory.mktemp("replica")) as replica:
            primary_store, replica_store = (
                RedisReplayStore(server.url, clock=clock) for server in (own_redis, replica)
            )
            replica.command("REPLICAOF", "127.0.0.1", str(own_redis.port))
            await until(lambda: replica.command("INFO", "replication")["master_link_status"] == "up")
            await begin(primary_store)
            clock.advance(60)
            await spend(primary_store, "first", clock)
            await until(lambda: replica.command("KEYS", "*:first"))
            replica.hang()

            issued_at, ids = clock(), [f"id-{number}" for number in range(40)]
            assert [await spend(primary_store, one_time_id, clock) for one_time_id in ids] == [True] * len(ids)
            own_redis.kill()
            replica.go_on()
            replica.command("REPLICAOF", "NO", "ONE")
            assert await replays_that_pass(replica_store, ["first", *ids], issued_at, clock) == []
            clock.advance(6)
            assert await replays_that_pass(replica_store, ["first", *ids], issued_at, clock) == []
            assert await spend(replica_store, "new", clock) is True
            await primary_store.aclose()
            await replica_store.aclose()

    @pytest.mark.parametrize("policy", EVICTING_POLICIES)
    async def test_a_redis_that_may_evict_is_not_ready(
        self, store: RedisReplayStore, own_redis: RedisServer, policy: str
    ) -> None:
        """The error names the policy, and what to do, before anything was evicted."""
        own_redis.command("CONFIG", "SET", "maxmemory-policy", policy)
        with pytest.raises(VerifierUnavailable, match=f"maxmemory-policy is {policy}. Set it to noeviction"):
            await store.ready()

    async def test_the_policy_is_read_without_the_command_config(
        self, own_redis: RedisServer, clock: FakeClock
    ) -> None:
        """Providers of Redis forbid CONFIG, so INFO is read."""
        own_redis.command("ACL", "SETUSER", "default", "-config")
        store = RedisReplayStore(own_redis.url, clock=clock)
        await begin(store)
        clock.advance(60)
        assert await store.ready() is None
        await store.aclose()

    async def test_the_permissions_that_a_user_needs(self, own_redis: RedisServer, clock: FakeClock) -> None:
        """They are those that docs/production.md lists. Such a user reads and changes no other keys."""
        (permissions,) = re.findall(r"`(~mstoken:.*?)`", (ROOT / "docs/production.md").read_text())
        own_redis.command("ACL", "SETUSER", "store", "on", ">secret", *permissions.split())
        store = RedisReplayStore(own_redis.url.replace("://", "://store:secret@"), clock=clock)
        await begin(store)
        clock.advance(60)
        assert await store.ready() is None
        assert await spend(store, "one", clock) is True
        assert await spend(store, "one", clock) is False
        await store.aclose()

    async def test_a_user_without_the_permission_for_info_cannot_use_the_store(
        self, store: RedisReplayStore, own_redis: RedisServer, clock: FakeClock
    ) -> None:
        """Without INFO the store cannot notice what Redis lost. The error names the missing permission."""
        own_redis.command("ACL", "SETUSER", "default", "-info")
        with pytest.raises(VerifierUnavailable, match="needs the permission for INFO"):
            await spend(store, "one", clock)
        with pytest.raises(VerifierUnavailable, match="needs the permission for INFO"):
            await store.ready()

    async def test_a_redis_that_does_not_tell_what_it_lost(self, own_redis: RedisServer, clock: FakeClock) -> None:
        """If INFO lacks a line, the store works as well as it can, and warns."""
        async with Proxy(own_redis.port, hides=b"evicted_keys") as url:
            store = RedisReplayStore(url, clock=clock)
            await begin(store)
            clock.advance(60)
            assert await store.ready() == "INFO of this Redis lacks evicted_keys, so it could lose spent ids unnoticed."
            await store.aclose()


class TestRedisOutages:
    """The store while its Redis fails."""

    @pytest.fixture
    def server(self, own_redis: RedisServer) -> RedisServer:
        return own_redis

    @pytest.fixture
    def url(self, server: RedisServer) -> str:
        return server.url

    async def test_a_closed_connection_does_not_refuse_a_call(
        self, store: RedisReplayStore, server: RedisServer, clock: FakeClock
    ) -> None:
        """A spend whose connection was closed by the server connects again and succeeds."""
        assert await spend(store, "one", clock) is True
        server.command("CLIENT", "KILL", "TYPE", "normal")
        assert await spend(store, "two", clock) is True

    async def test_a_script_that_redis_has_forgotten_does_not_refuse_a_call(
        self, store: RedisReplayStore, server: RedisServer, clock: FakeClock
    ) -> None:
        """Redis may forget scripts at any time. The spend sends the script again."""
        assert await spend(store, "one", clock) is True
        server.command("SCRIPT", "FLUSH")
        assert await spend(store, "one", clock) is False
        server.command("SCRIPT", "FLUSH")
        assert await spend(store, "two", clock) is True

    async def test_a_lost_answer_does_not_refuse_the_call(self, server: RedisServer, clock: FakeClock) -> None:
        """The script is repeated and finds its own mark, so the spend succeeds; the next spend does not."""
        async with Proxy(server.port, loses_answer_to=b"lost") as url:
            store = RedisReplayStore(url, clock=clock)
            await begin(store)
            clock.advance(60)
            assert await spend(store, "lost", clock) is True
            assert await spend(store, "lost", clock) is False
            await store.aclose()

    async def test_a_stopped_server_is_an_outage(
        self, store: RedisReplayStore, server: RedisServer, clock: FakeClock
    ) -> None:
        """No id can be spent, and the store is not ready."""
        await spend(store, "one", clock)
        server.kill()
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await spend(store, "two", clock)
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await store.ready()

    async def test_a_hanging_server_is_an_outage(
        self, store: RedisReplayStore, server: RedisServer, clock: FakeClock
    ) -> None:
        """The spend fails after a few seconds at most."""
        await store.ready()
        server.hang()
        async with asyncio.timeout(10):
            with pytest.raises(VerifierUnavailable, match="cannot be used"):
                await spend(store, "one", clock)
        server.go_on()

    async def test_a_full_server_is_an_outage(
        self, store: RedisReplayStore, server: RedisServer, clock: FakeClock
    ) -> None:
        """An id that cannot be stored is not spent."""
        server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(VerifierUnavailable, match="OutOfMemory"):
            await spend(store, "one", clock)


class Proxy:
    """A proxy in front of Redis.

    It closes the connection in place of the first answer to a script with the argument that ends in `loses_answer_to`,
    and gives the line `hides` of INFO another name.
    """

    def __init__(self, port: int, *, loses_answer_to: bytes | None = None, hides: bytes = b"") -> None:
        self._port = port
        self._loses_answer_to = loses_answer_to
        self._hides = hides

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while command := await reader.read(65536):
                upstream_writer.write(command)
                answer = await upstream_reader.read(65536)
                if self._loses_answer_to and self._loses_answer_to in command and not answer.startswith(b"-NOSCRIPT"):
                    self._loses_answer_to = None
                    return
                writer.write(answer.replace(self._hides, b"x" * len(self._hides)))
        finally:
            upstream_writer.close()
            writer.close()
