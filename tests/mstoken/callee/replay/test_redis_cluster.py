"""The store in a Redis Cluster. The tests start three nodes of their own."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from emulator.run.ports import free_port
from mstoken.callee.replay.redis import RedisReplayStore, id_key, memory_key
from mstoken.callee.replay.redis_client import CLUSTER_GROUPS, cluster_tags, group_of
from mstoken.errors import StoreIsNew, VerifierUnavailable
from mstoken.wire import CLOCK_SKEW_SECONDS
from tests.clock import FakeClock
from tests.mstoken.callee.replay.test_redis import AHEAD_OF_REDIS
from tests.mstoken.callee.replay.test_store import SharedReplayStoreContract, begin, replays_that_pass, spend
from tests.redis_server import RedisClusterServers, RedisNode, RedisServer

ROOT = Path(__file__).parents[4]
IDS = [f"id-{number}" for number in range(60)]


def node_of(cluster: RedisClusterServers, one_time_id: str) -> RedisNode:
    """Return the node that keeps an id."""
    return cluster.node_of(id_key(group_of(one_time_id, cluster_tags()), one_time_id))


def ids_of(cluster: RedisClusterServers, node: RedisNode, ids: Sequence[str] = IDS) -> list[str]:
    """Return those of the ids that `node` keeps."""
    return [one_time_id for one_time_id in ids if node_of(cluster, one_time_id) is node]


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


class TestRedisClusterReplayStore(SharedReplayStoreContract):
    """The store in a Redis Cluster, whose URL names one of three nodes."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock(AHEAD_OF_REDIS)

    @pytest.fixture
    def url(self, redis_cluster: RedisClusterServers) -> str:
        redis_cluster.flush()
        return redis_cluster.url

    async def test_each_node_keeps_a_part_of_the_ids(
        self, store: RedisReplayStore, redis_cluster: RedisClusterServers, clock: FakeClock
    ) -> None:
        """The ids are where they belong, with a time to live, and one key about the memory for each group."""
        assert [await spend(store, one_time_id, clock) for one_time_id in IDS] == [True] * len(IDS)
        for node in redis_cluster.nodes:
            keys = {key.decode() for key in node.command("KEYS", "*:id:*")}
            assert len(keys) >= 10
            assert {key.partition(":id:")[2] for key in keys} == set(ids_of(redis_cluster, node))
            assert all(0 < node.command("PTTL", key) <= 60_000 for key in keys)
        memories = [key for node in redis_cluster.nodes for key in node.command("KEYS", "*:memory")]
        assert len(memories) == CLUSTER_GROUPS

    async def test_each_node_may_be_in_the_url(
        self, store: RedisReplayStore, redis_cluster: RedisClusterServers, clock: FakeClock
    ) -> None:
        """Workers whose URLs name different nodes share the ids."""
        assert await spend(store, "one", clock) is True
        for node in redis_cluster.nodes:
            other = RedisReplayStore(node.url, clock=clock)
            assert await other.ready() is None
            assert await spend(other, "one", clock) is False
            await other.aclose()

    async def test_a_closed_connection_does_not_refuse_a_call(
        self, store: RedisReplayStore, redis_cluster: RedisClusterServers, clock: FakeClock
    ) -> None:
        """A spend whose connection was closed by the node connects again and succeeds."""
        for one_time_id in IDS[:20]:
            assert await spend(store, one_time_id, clock) is True
        for node in redis_cluster.nodes:
            node.command("CLIENT", "KILL", "TYPE", "normal")
        for one_time_id in IDS[20:40]:
            assert await spend(store, one_time_id, clock) is True

    async def test_a_script_that_a_node_has_forgotten_does_not_refuse_a_call(
        self, store: RedisReplayStore, redis_cluster: RedisClusterServers, clock: FakeClock
    ) -> None:
        """A node may forget scripts at any time. The spend sends the script again."""
        assert await spend(store, "one", clock) is True
        node_of(redis_cluster, "one").command("SCRIPT", "FLUSH")
        assert await spend(store, "one", clock) is False

    @pytest.mark.parametrize(
        ("suffix", "reason"),
        [("?timeout=3", "Remove its options"), ("1", "SELECT is not allowed in cluster mode")],
    )
    async def test_what_a_url_of_a_cluster_cannot_have(self, url: str, suffix: str, reason: str) -> None:
        """Options that only a single server has, and other databases, are an outage that says what to change."""
        store = RedisReplayStore(url.removesuffix("0") + suffix)
        with pytest.raises(VerifierUnavailable, match=reason):
            await store.ready()
        with pytest.raises(VerifierUnavailable, match=reason):
            await store.spend("one", issued_at=AHEAD_OF_REDIS, expires_at=AHEAD_OF_REDIS + 60)
        await store.aclose()


class TestRedisClusterMemory:
    """Each node may forget what it knew. No id is accepted twice, and the other nodes go on."""

    @pytest.fixture
    def cluster(self, own_redis_cluster: RedisClusterServers) -> RedisClusterServers:
        return own_redis_cluster

    @pytest.fixture
    def url(self, cluster: RedisClusterServers) -> str:
        return cluster.url

    @pytest.mark.parametrize("number", [0, 2])
    async def test_a_node_that_restarts_empty(
        self, store: RedisReplayStore, cluster: RedisClusterServers, clock: FakeClock, number: int
    ) -> None:
        """What it kept is refused, and so is every id of its groups of that time. The others' ids are accepted."""
        node, issued_at = cluster.nodes[number], clock()
        assert [await spend(store, one_time_id, clock) for one_time_id in IDS] == [True] * len(IDS)
        clock.advance(2)
        node.kill()
        node.start()
        cluster.wait_until_complete()
        assert node.command("DBSIZE") == 0

        unused = [f"unused-{number}" for number in range(60)]
        elsewhere = [one_time_id for one_time_id in unused if node_of(cluster, one_time_id) is not node]
        assert await replays_that_pass(store, IDS, issued_at, clock) == []
        assert await replays_that_pass(store, unused, issued_at, clock) == elsewhere
        with pytest.raises(StoreIsNew):
            await store.ready()
        for one_time_id in ids_of(cluster, node):
            with pytest.raises(StoreIsNew):
                await spend(store, one_time_id, clock)

        clock.advance(CLOCK_SKEW_SECONDS + 1)
        assert await store.ready() is None
        assert await replays_that_pass(store, [*IDS, *unused], issued_at, clock) == []
        new = [f"new-{number}" for number in range(60)]
        assert [await spend(store, one_time_id, clock) for one_time_id in new] == [True] * len(new)
        assert [await spend(store, one_time_id, clock) for one_time_id in new] == [False] * len(new)

    async def test_a_node_that_evicted_ids(
        self, store: RedisReplayStore, cluster: RedisClusterServers, clock: FakeClock
    ) -> None:
        """The groups of this node begin anew. While its policy allows evictions, the store is not ready."""
        issued_at = clock()
        for one_time_id in IDS:
            await spend(store, one_time_id, clock)
        clock.advance(2)
        node = cluster.nodes[1]
        node.command("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
        with pytest.raises(VerifierUnavailable, match=r"maxmemory-policy is allkeys-random\. Set it to noeviction"):
            await store.ready()
        tag = next(tag for tag in cluster_tags() if cluster.node_of(memory_key(tag)) is node)
        used = node.command("INFO", "memory")["used_memory"]
        node.command("CONFIG", "SET", "maxmemory", str(used + 200_000))
        for number in range(100):
            with suppress(redis.exceptions.OutOfMemoryError):
                node.command("SET", f"{{{tag}}}filler-{number}", "x" * 10_000)
        node.command("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction")
        assert len(node.command("KEYS", "*:id:*")) < len(ids_of(cluster, node))
        assert await replays_that_pass(store, IDS, issued_at, clock) == []
        clock.advance(CLOCK_SKEW_SECONDS + 1)
        assert await replays_that_pass(store, IDS, issued_at, clock) == []
        assert await store.ready() is None

    async def test_a_slot_that_moves_to_another_node(
        self, store: RedisReplayStore, cluster: RedisClusterServers, clock: FakeClock
    ) -> None:
        """The ids move with it, and the memory of their group begins anew: the other node cannot vouch for them."""
        source, target, issued_at = cluster.nodes[0], cluster.nodes[1], clock()
        (moved,) = ids_of(cluster, source)[:1]
        stays = ids_of(cluster, cluster.nodes[2])[0]
        group = group_of(moved, cluster_tags())
        assert await spend(store, moved, clock) is True
        clock.advance(2)
        for _ in move_slot(cluster, source, target, memory_key(group)):
            assert await replays_that_pass(store, [moved], issued_at, clock) == []
            assert await replays_that_pass(store, [moved], clock(), clock) == []
        with pytest.raises(StoreIsNew):
            await spend(store, moved, clock)
        assert await spend(store, stays, clock) is True
        clock.advance(CLOCK_SKEW_SECONDS + 1)
        assert await store.ready() is None
        assert await replays_that_pass(store, [moved], issued_at, clock) == []
        assert await spend(store, moved, clock) is False
        assert target.command("EXISTS", id_key(group, moved)) == 1

    async def test_the_permissions_that_a_user_needs(self, cluster: RedisClusterServers, clock: FakeClock) -> None:
        """They are those that docs/production.md lists for a cluster. Such a user reads and changes no other keys."""
        text = (ROOT / "docs/production.md").read_text()
        (permissions,) = re.findall(r"`(~mstoken:.*?)`", text)
        (more,) = re.findall(r"`(\+cluster.*?)`", text)
        for node in cluster.nodes:
            node.command("ACL", "SETUSER", "store", "on", ">secret", *permissions.split(), *more.split())
        store = RedisReplayStore(cluster.url.replace("://", "://store:secret@"), clock=clock)
        await begin(store)
        clock.advance(60)
        assert await store.ready() is None
        assert await spend(store, "one", clock) is True
        assert await spend(store, "one", clock) is False
        await store.aclose()


def move_slot(cluster: RedisClusterServers, source: RedisNode, target: RedisNode, key: str) -> Iterator[None]:
    """Move the hash slot of `key`. Between two steps, the caller may do something else.

    Source: Redis, "Cluster specification", "Live reshard": the order of the commands.
    """
    slot = str(source.command("CLUSTER", "KEYSLOT", key))
    target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id)
    yield
    source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", target.node_id)
    yield
    for moving in sorted(source.command("CLUSTER", "GETKEYSINSLOT", slot, "100")):
        source.command("MIGRATE", "127.0.0.1", str(target.port), moving.decode(), "0", "5000")
        yield
    for node in (target, source, *(set(cluster.nodes) - {source, target})):
        node.command("CLUSTER", "SETSLOT", slot, "NODE", target.node_id)
        yield


class TestRedisClusterOutages:
    """The store while nodes of its cluster fail."""

    @pytest.fixture
    def cluster(self, own_redis_cluster: RedisClusterServers) -> RedisClusterServers:
        return own_redis_cluster

    @pytest.fixture
    def url(self, cluster: RedisClusterServers) -> str:
        return cluster.url

    async def test_a_node_that_is_down_stops_its_own_ids_only(
        self, store: RedisReplayStore, cluster: RedisClusterServers, clock: FakeClock
    ) -> None:
        """Also if it is the node of the URL. Ids of the other nodes are spent; the store as a whole is not ready."""
        node = cluster.nodes[0]
        node.kill()
        for one_time_id in IDS[:20]:
            if node_of(cluster, one_time_id) is node:
                with pytest.raises(VerifierUnavailable, match="cannot be used"):
                    await spend(store, one_time_id, clock)
            else:
                assert await spend(store, one_time_id, clock) is True
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await store.ready()
        node.start()
        cluster.wait_until_complete()
        with pytest.raises(StoreIsNew):
            await store.ready()
        clock.advance(CLOCK_SKEW_SECONDS + 1)
        assert await store.ready() is None

    async def test_a_node_that_hangs_stops_its_own_ids_only(
        self, store: RedisReplayStore, cluster: RedisClusterServers, clock: FakeClock
    ) -> None:
        """Its ids are refused after a few seconds. A hundred calls that wait for it keep no other call from an end."""
        node = cluster.nodes[1]
        ids = [f"id-{number}" for number in range(150)]
        waits = ids_of(cluster, node, ids)
        node.hang()
        began = time.monotonic()
        ends = await asyncio.gather(*(spend(store, one_time_id, clock) for one_time_id in ids), return_exceptions=True)
        assert time.monotonic() - began < 15
        for one_time_id, end in zip(ids, ends, strict=True):
            if one_time_id in waits:
                assert isinstance(end, VerifierUnavailable)
            else:
                assert end is True
        node.go_on()

    async def test_a_cluster_that_is_gone_and_comes_back(
        self, store: RedisReplayStore, cluster: RedisClusterServers, clock: FakeClock
    ) -> None:
        """While no node answers, nothing is accepted. Afterwards the store works again by itself."""
        for node in cluster.nodes:
            node.kill()
        for one_time_id in IDS[:3]:
            with pytest.raises(VerifierUnavailable, match="cannot be used"):
                await spend(store, one_time_id, clock)
        for node in cluster.nodes:
            node.start()
        cluster.wait_until_complete()
        with pytest.raises(StoreIsNew):
            await store.ready()
        clock.advance(CLOCK_SKEW_SECONDS + 1)
        assert await store.ready() is None
        assert await spend(store, "new", clock) is True


async def test_a_server_that_becomes_a_cluster(own_redis: RedisServer, clock: FakeClock) -> None:
    """A worker that knows the server from before does not accept what another one has spent in the cluster."""
    known_before = RedisReplayStore(own_redis.url, clock=clock)
    await begin(known_before)
    clock.advance(60)
    assert await spend(known_before, "one", clock) is True
    own_redis.kill()
    own_redis.start("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    own_redis.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    new = RedisReplayStore(own_redis.url, clock=clock)
    async with asyncio.timeout(20):
        while True:
            try:
                await new.ready()
            except StoreIsNew:
                break
            except VerifierUnavailable:  # Redis calls a cluster complete after a moment.
                await asyncio.sleep(0.05)
    clock.advance(60)
    assert await spend(new, "two", clock) is True
    assert await replays_that_pass(known_before, ["two"], clock(), clock) == []
    assert await spend(known_before, "two", clock) is False
    assert await spend(known_before, "three", clock) is True
    assert await spend(new, "three", clock) is False
    await known_before.aclose()
    await new.aclose()
