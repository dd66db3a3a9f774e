"""The Redis that a URL names, as one event loop uses it: one server, or a Redis Cluster."""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, Protocol

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, ClusterError, NoScriptError, RedisClusterException, RedisError
from typing_extensions import override

from mstoken.errors import SettingsError, VerifierUnavailable
from mstoken.settings import REPLAY_URL_VARIABLE
from mstoken.single_flight import SingleFlight

TIMEOUT_SECONDS = 1.0
MAX_CONNECTIONS = 20
CONNECTION_WAIT_SECONDS = 2.0
"""How long a call waits for a connection if all are in use."""
CLUSTER_DEADLINE_SECONDS = 4.0
"""How long a call to a cluster may take, with a second attempt after its nodes have been looked up again."""
CLUSTER_GROUPS = 32
"""The number of groups of ids in a cluster. All workers must use the same number."""
CONNECTIONS_OF_A_GROUP = 4
"""Maximum number of calls under way for one group, so that a node that hangs does not take all connections."""

OTHER_MODE = "OTHERMODE"
"""Begins the error of a script that found that the server is the node of a cluster unexpectedly, or is not."""

_HASH_SLOTS = 16384
_CONNECTION_OPTIONS: dict[str, Any] = {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS}


class Script:
    """A Lua script. Its keys must have the same hash tag, because a node of a cluster has some of the slots only."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._sha1 = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: Any, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Return the result of the script. Redis may have forgotten it; then the source is sent."""
        try:
            return await redis.evalsha(self._sha1, len(keys), *keys, *arguments)
        except NoScriptError:
            return await redis.eval(self._source, len(keys), *keys, *arguments)


class RedisServers(Protocol):
    """The servers that keep the ids, in groups of ids. The keys of a group are together on one server.

    Methods raise what redis-py raises.
    """

    is_cluster: bool
    tags: Sequence[str]
    """The hash tag of each group of ids, which is the part in braces of its keys (Redis Cluster, "Hash tags")."""

    async def run(self, script: Script, tag: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Execute a script with keys of the group `tag`."""
        ...

    async def info(self) -> list[dict[str, Any]]:
        """Return the parts `memory`, `stats` and `replication` of INFO of each server."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class OneServer(RedisServers):
    """One Redis, which keeps all ids in one group."""

    is_cluster = False
    tags = ("spent",)

    def __init__(self, url: str) -> None:
        # This pool makes calls wait for a connection. The default pool raises an error for the 101st.
        self._redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url,
                max_connections=MAX_CONNECTIONS,
                timeout=CONNECTION_WAIT_SECONDS,
                retry=Retry(NoBackoff(), 1),
                **_CONNECTION_OPTIONS,
            )
        )

    @override
    async def run(self, script: Script, tag: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        return await script.run(self._redis, keys, arguments)

    @override
    async def info(self) -> list[dict[str, Any]]:
        return [await self._redis.info("memory", "stats", "replication")]

    async def kind(self) -> str:
        """Return `standalone`, `cluster` or `sentinel`."""
        info = await self._redis.info("server", "cluster")
        # Valkey calls the mode server_mode.
        mode = str(info.get("redis_mode") or info.get("server_mode") or "standalone")
        return "cluster" if info.get("cluster_enabled") else mode

    @override
    async def aclose(self) -> None:
        await self._redis.aclose()


class Cluster(RedisServers):
    """The primaries of a Redis Cluster. Each group of ids is in one hash slot, and so on one primary."""

    is_cluster = True

    def __init__(self, url: str) -> None:
        """`url` names any node. redis-py asks it for the others, and looks for them again when a node fails."""
        self.tags = cluster_tags()
        self._redis = RedisCluster.from_url(
            url,
            # Ids of the other nodes can be spent while a node is missing.
            require_full_coverage=False,
            retry=Retry(NoBackoff(), 1),
            max_connections=CLUSTER_GROUPS * CONNECTIONS_OF_A_GROUP + MAX_CONNECTIONS,
            **_CONNECTION_OPTIONS,
        )
        self._groups = {tag: asyncio.Semaphore(CONNECTIONS_OF_A_GROUP) for tag in self.tags}

    async def open(self) -> None:
        """Look up the nodes."""
        await self._redis.initialize()

    @override
    async def run(self, script: Script, tag: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        async with asyncio.timeout(CLUSTER_DEADLINE_SECONDS), self._groups[tag]:
            try:
                return await script.run(self._redis, keys, arguments)
            except AttributeError as error:
                # redis-py 8.1 raises it if a slot is moving to a node that redis-py does not know yet.
                raise ClusterError("the slot of the id is moving to another node") from error

    @override
    async def info(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(CLUSTER_DEADLINE_SECONDS):
            return [
                await self._redis.execute_command("INFO", "memory", "stats", "replication", target_nodes=node)
                for node in self._redis.get_primaries()
            ]

    @override
    async def aclose(self) -> None:
        await self._redis.aclose()
        # After a failure of a node, redis-py 8.1 closes nothing there.
        for nodes in ("nodes_cache", "startup_nodes"):
            await self._redis.nodes_manager.aclose(nodes)


class RedisClient:
    """The Redis of a URL, in one event loop. The first call finds out whether the URL names one server or a cluster."""

    def __init__(self, url: str, *, what: str = "spent ids", variable: str = REPLAY_URL_VARIABLE) -> None:
        """`what` is kept in the Redis, and `variable` is the setting with its URL, for errors."""
        self._url = url
        self._what = what
        self._variable = variable
        self._servers: RedisServers | None = None
        self._connecting = SingleFlight(self._connect, "mstoken Redis connection")

    @asynccontextmanager
    async def use(self) -> AsyncIterator[RedisServers]:
        """Give the block the servers. Raise `VerifierUnavailable` for the errors of redis-py, also those of the block.

        If an error says that the servers may be others by now, the next call looks for them again.
        """
        servers = None
        try:
            servers = self._servers or await self._connecting.join()
            yield servers
        except (RedisError, RedisClusterException, OSError) as error:
            if servers is not None and servers is self._servers and _must_look_again(error):
                self._servers = None
                await servers.aclose()
            reason = f"The Redis of {self._what} cannot be used ({type(error).__name__}: {error})."
            raise VerifierUnavailable(reason) from error

    async def aclose(self) -> None:
        """Close all connections. The next call opens new ones."""
        await self._connecting.aclose()
        servers, self._servers = self._servers, None
        if servers is not None:
            await servers.aclose()

    async def _connect(self) -> RedisServers:
        server = OneServer(self._url)
        try:
            kind = await server.kind()
            if kind == "standalone":
                self._servers = server
                return server
        except BaseException:
            await server.aclose()
            raise
        await server.aclose()
        if kind == "sentinel":
            raise VerifierUnavailable(
                f"{self._variable} names a Redis Sentinel, which keeps no ids. Set it to an address that always leads "
                "to the primary, such as that of a proxy or of a managed Redis, or to a node of a Redis Cluster."
            )
        try:
            cluster = Cluster(self._url)
        except TypeError:
            raise VerifierUnavailable(
                f"{self._variable} has an option that redis-py does not know for a Redis Cluster. Remove its options."
            ) from None
        try:
            await cluster.open()
        except BaseException:
            await cluster.aclose()
            raise
        self._servers = cluster
        return cluster


def _must_look_again(error: Exception) -> bool:
    """Return whether a server has become the node of a cluster or the reverse, or no known node can be reached."""
    return isinstance(error, AskError | RedisClusterException) or str(error).startswith(OTHER_MODE)


def check_redis_url(url: str, variable: str = REPLAY_URL_VARIABLE) -> None:
    """Raise `SettingsError` if redis-py cannot read the URL or does not know one of its options."""
    try:
        BlockingConnectionPool.from_url(url).make_connection()
    except (ValueError, TypeError, RedisError):
        # The texts of urllib and redis-py may contain a part of the password.
        raise SettingsError(
            f"{variable} is not the URL of a Redis: it must be "
            "redis://[user:password@]host[:port][/database], with special characters escaped."
        ) from None


def group_of(one_time_id: str, tags: Sequence[str]) -> str:
    """Return the hash tag of the group that an id belongs to."""
    return tags[zlib.crc32(one_time_id.encode()) % len(tags)]


@cache
def cluster_tags() -> Sequence[str]:
    """Return the hash tag of each group of a cluster.

    Their slots are spread evenly over all slots, since each node of a cluster usually has one range of slots.
    """
    found: dict[int, str] = {}
    for tag in _numerals():
        found.setdefault(key_slot(tag.encode()) * CLUSTER_GROUPS // _HASH_SLOTS, tag)
        if len(found) == CLUSTER_GROUPS:
            break
    return tuple(found[group] for group in range(CLUSTER_GROUPS))


def _numerals() -> Iterable[str]:
    return map(str, range(_HASH_SLOTS))
