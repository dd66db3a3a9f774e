"""Spent ids in Redis, for services on many machines."""

import asyncio
import math
import secrets
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from typing_extensions import override

from mstoken.callee.replay.redis_client import RedisClient, RedisServers, Script, check_redis_url, group_of
from mstoken.callee.replay.store import ReplayStore, check_is_remembered
from mstoken.errors import StoreIsNew, VerifierUnavailable
from mstoken.per_loop import PerLoop
from mstoken.wire import CLOCK_SKEW_SECONDS

KEY_PREFIX = "mstoken:"
SAFE_POLICY = "noeviction"

_SPEND = Script("""
-- KEYS: where the store's memory is described, and the id to spend, if there is one.
-- ARGV: the time of this call, the time of issue, the clock skew, the mark of this call, for how long to keep the id,
-- and whether this is the node of a cluster. All times are in milliseconds. Returns since when the memory is complete,
-- and what became of the id: 1 if this call has spent it, 0 if another call had, -1 if it is older than the memory.
local info = redis.pcall('INFO', 'stats', 'replication', 'cluster')
if type(info) == 'table' then
    return redis.error_reply('The user needs the permission for INFO: ' .. info.err)
end
local function fact(name, pattern)
    local _, last = string.find(info, name, 1, true)
    return last and string.match(info, pattern, last + 1) or '?'
end
-- In a cluster an id has another key. Two workers of which one has not noticed a change would accept the same id twice.
local is_node = fact('cluster_enabled:', '^%d')
if is_node ~= '?' and is_node ~= ARGV[6] then
    return redis.error_reply('OTHERMODE cluster_enabled is ' .. is_node)
end
-- The replication id is new after each restart and each fail-over. The counter grows with each key that is evicted.
local state = fact('master_replid:', '^%x+') .. ' ' .. fact('evicted_keys:', '^%d+')
local since, known_state = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (.+)$')
-- The later time counts: this call may have waited since it read its clock, and the memory may have been lost then.
local time = redis.call('TIME')
local now = math.max(tonumber(ARGV[1]), time[1] * 1000 + math.ceil(time[2] / 1000))
-- A time in the future is from a clock that has been set back. The memory is complete since now at the latest.
if known_state ~= state or tonumber(since) > now + ARGV[3] then
    since = string.format('%.0f', now)
    redis.call('SET', KEYS[1], since .. ' ' .. state)
end
if #KEYS == 1 or tonumber(ARGV[2]) <= since + ARGV[3] then
    return {since, -1}
end
local mark = redis.call('SET', KEYS[2], ARGV[4], 'NX', 'GET', 'PX', ARGV[5])
return {since, (not mark or mark == ARGV[4]) and 1 or 0}
""")


class Outcome(NamedTuple):
    """Since when the memory of a group is complete, in seconds since the epoch, and what became of the id.

    `spent` is 1 if this call has spent the id, 0 if another call had, and -1 if it is older than the memory.
    """

    complete_since: float
    spent: int


class RedisReplayStore(ReplayStore):
    """Spent ids in a Redis or a Redis Cluster (7.0 or newer) that all workers on all machines share.

    To spend an id is one script, which Redis executes atomically. Redis deletes expired ids itself. Beside the ids,
    there is a key with the time since when the memory is complete, and with what changes when ids are lost: a Redis has
    another replication id after a restart, with or without persistence, and after a fail-over; it counts evicted keys;
    and FLUSHALL deletes the key. If the script finds a change, the memory begins now, and ids that were issued before
    are refused.

    In a cluster, the ids are in 32 groups, each in one hash slot with a key of its own about its memory. So a node that
    loses its ids begins the memory of its groups, whatever the other nodes remember. A group that moves to another node
    begins anew as well, because that node has another replication id.

    The value of an id is a random mark of the call that spent it. If the connection is lost before the answer arrives,
    the script is executed once more. If the id has this call's own mark by then, this call spent it.

    Each event loop and each process has connections of its own. The user of the URL needs the permissions for EVALSHA,
    EVAL, INFO, TIME, GET and SET, and in a cluster for CLUSTER SLOTS and COMMAND.
    """

    def __init__(
        self,
        url: str,
        *,
        clock_skew_seconds: float = CLOCK_SKEW_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`url` is a `redis://`, `rediss://` or `unix://` URL; `clock` returns seconds since the epoch.

        The URL names one server, or any node of a cluster. Ids that were issued up to `clock_skew_seconds` after the
        memory began are refused too. Raises `SettingsError` if redis-py cannot read the URL.
        """
        check_redis_url(url)
        self._clock_skew_seconds = clock_skew_seconds
        self._clock = clock
        self._clients = PerLoop(lambda: RedisClient(url), RedisClient.aclose)

    @override
    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        now = self._clock()
        issued_ms, keep_ms = math.floor(issued_at * 1000), max(1, math.ceil((expires_at - now) * 1000))
        async with self._clients.get().use() as servers:
            group = group_of(one_time_id, servers.tags)
            keys = [memory_key(group), id_key(group, one_time_id)]
            outcome = await self._execute(servers, now, group, keys, issued_ms, secrets.token_bytes(8), keep_ms)
        if outcome.spent < 0:
            raise StoreIsNew(outcome.complete_since + self._clock_skew_seconds, now)
        return outcome.spent == 1

    @override
    async def ready(self) -> str | None:
        """Check that ids of each group can be spent now. Otherwise as `ReplayStore.ready`."""
        now = self._clock()
        async with self._clients.get().use() as servers:
            memories = (self._execute(servers, now, group, [memory_key(group)]) for group in servers.tags)
            outcomes = await asyncio.gather(*memories, return_exceptions=True)
            complete_since = max(_result(outcome).complete_since for outcome in outcomes)
            infos = await servers.info()
        for info in infos:
            policy = info.get("maxmemory_policy", SAFE_POLICY)
            if policy != SAFE_POLICY:
                raise VerifierUnavailable(
                    f"The Redis of spent ids may evict them: its maxmemory-policy is {policy}. Set it to {SAFE_POLICY}."
                )
        check_is_remembered(int(now), complete_since, self._clock_skew_seconds, now)
        needed = {"maxmemory_policy", "evicted_keys", "master_replid"}
        missing = sorted({name for info in infos for name in needed - info.keys()})
        if missing:
            return f"INFO of this Redis lacks {', '.join(missing)}, so it could lose spent ids unnoticed."
        return None

    @override
    async def aclose(self) -> None:
        """Close the connections of this event loop. Those of other loops end with their loops."""
        await self._clients.aclose()

    async def _execute(
        self,
        servers: RedisServers,
        now: float,
        group: str,
        keys: Sequence[str],
        issued_ms: int = 0,
        mark: bytes = b"",
        keep_ms: int = 0,
    ) -> Outcome:
        """Execute the script for a group of ids. It spends the id whose key follows that of the memory, if any."""
        # Rounded up, because an id of the same millisecond may be older.
        now_ms, skew_ms = math.ceil(now * 1000), math.ceil(self._clock_skew_seconds * 1000)
        arguments = [now_ms, issued_ms, skew_ms, mark, keep_ms, int(servers.is_cluster)]
        since_ms, spent = await servers.run(_SPEND, group, keys, arguments)
        return Outcome(int(since_ms) / 1000, spent)


def memory_key(group: str) -> str:
    """Return the key with the description of the memory of a group."""
    return f"{KEY_PREFIX}{{{group}}}:memory"


def id_key(group: str, one_time_id: str) -> str:
    """Return the key of an id. The part in braces puts all keys of a group into one hash slot, as scripts need it."""
    return f"{KEY_PREFIX}{{{group}}}:id:{one_time_id}"


def _result(outcome: Outcome | BaseException) -> Outcome:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
