"""Which servers a URL names, how ids are spread over them, and how scripts reach them."""

from pathlib import Path
from typing import Any

import pytest
import redis
from redis.asyncio.cluster import RedisCluster

from mstoken.callee.replay.redis import RedisReplayStore, id_key, memory_key
from mstoken.callee.replay.redis_client import (
    CLUSTER_GROUPS,
    Cluster,
    OneServer,
    RedisClient,
    Script,
    check_redis_url,
    cluster_tags,
    group_of,
)
from mstoken.errors import SettingsError, VerifierUnavailable
from tests.mstoken.callee.replay.test_redis import AHEAD_OF_REDIS
from tests.redis_server import RedisClusterServers, RedisServer

IDS = [f"id-{number}" for number in range(60)]


def test_the_groups_of_ids_are_spread_evenly() -> None:
    """Each of 32 equal ranges of hash slots has one group, so that each node has its part of the ids."""
    slots = [redis.crc.key_slot(memory_key(tag).encode()) for tag in cluster_tags()]
    assert [slot // (16384 // CLUSTER_GROUPS) for slot in slots] == list(range(CLUSTER_GROUPS))


def test_the_keys_of_a_group_are_in_one_hash_slot() -> None:
    """A script of a Redis Cluster can use only keys of one slot, whatever is in the id."""
    for one_time_id in (*IDS, "a{b}c", "{}", "}{", ""):
        group = group_of(one_time_id, cluster_tags())
        keys = (memory_key(group), id_key(group, one_time_id))
        assert len({redis.crc.key_slot(key.encode()) for key in keys}) == 1


async def test_the_url_of_one_server(redis_url: str) -> None:
    """Its server has one group of ids."""
    client = RedisClient(redis_url)
    async with client.use() as servers:
        assert isinstance(servers, OneServer)
        assert len(servers.tags) == 1
    await client.aclose()


async def test_the_url_of_a_node_of_a_cluster(redis_cluster: RedisClusterServers) -> None:
    """The first call finds out that there are other nodes, and closing forgets them."""
    client = RedisClient(redis_cluster.url)
    for _ in range(2):
        async with client.use() as servers:
            assert isinstance(servers, Cluster)
            assert len(await servers.info()) == 3
        await client.aclose()


async def test_a_sentinel_is_refused(own_redis: RedisServer, tmp_path: Path) -> None:
    """A Sentinel keeps no ids. The error says so, and what to set, before anything is accepted."""
    own_redis.kill()
    configuration = tmp_path / "sentinel.conf"
    configuration.touch()
    own_redis.start("--sentinel", configuration=configuration)
    store = RedisReplayStore(own_redis.url)
    with pytest.raises(VerifierUnavailable, match=r"names a Redis Sentinel, which keeps no ids\. Set it to"):
        await store.ready()
    with pytest.raises(VerifierUnavailable, match="Sentinel"):
        await store.spend("one", issued_at=AHEAD_OF_REDIS, expires_at=AHEAD_OF_REDIS + 60)
    await store.aclose()


@pytest.mark.parametrize("url", ["redis://host?nonsense=1", "redis://host:port", "mysql://host", "redis://host/0?db=x"])
def test_a_url_that_redis_cannot_read(url: str) -> None:
    """It is a settings error when the service starts, and not a failure of its first call."""
    with pytest.raises(SettingsError, match="is not the URL of a Redis"):
        check_redis_url(url)


async def test_a_node_that_redis_does_not_know_is_an_outage(
    redis_cluster: RedisClusterServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py 8.1 fails with an AttributeError if a slot is moving to a new node. The call is answered with 503."""

    async def evalsha(*_arguments: Any) -> Any:
        return redis_of_no_node.execute_command("ASKING")

    redis_of_no_node: Any = None
    client = RedisClient(redis_cluster.url)
    async with client.use() as servers:
        monkeypatch.setattr(RedisCluster, "evalsha", evalsha)
        tag = servers.tags[0]
        with pytest.raises(redis.exceptions.ClusterError, match="is moving to another node"):
            await servers.run(Script("return 1"), tag, [memory_key(tag)], [])
    await client.aclose()
