"""Spent ids in Redis, for services on many machines."""

import math
import secrets
import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from typing_extensions import override

from mstoken.callee.replay.store import ReplayStore, check_is_remembered
from mstoken.errors import SettingsError, StoreIsNew, VerifierUnavailable
from mstoken.wire import CLOCK_SKEW_SECONDS

TIMEOUT_SECONDS = 1.0
MAX_CONNECTIONS = 20
CONNECTION_WAIT_SECONDS = 2.0
"""How long a call waits for a connection if all are in use."""
KEY_PREFIX = "mstoken:{spent}:"
"""The part in braces puts all keys into one hash slot of a Redis Cluster, because the script uses two keys at once."""
MEMORY_KEY = f"{KEY_PREFIX}memory"
SAFE_POLICY = "noeviction"

_SPEND = """
-- KEYS: where the store's memory is described, and the id to spend, if there is one.
-- ARGV: the time of this call, the time of issue, the clock skew, the mark of this call, for how long to keep the id.
-- All times are in milliseconds. Returns since when the memory is complete, and what became of the id: 1 if this call
-- has spent it, 0 if another call had, -1 if it is older than the memory.
local info = redis.pcall('INFO', 'stats', 'replication')
if type(info) == 'table' then
    return redis.error_reply('The user needs the permission for INFO: ' .. info.err)
end
local function fact(name, pattern)
    local _, last = string.find(info, name, 1, true)
    return last and string.match(info, pattern, last + 1) or '?'
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
"""


class RedisReplayStore(ReplayStore):
    """Spent ids in a Redis (7.0 or newer) that all workers on all machines share. Redis deletes expired ids itself.

    To spend an id is one script, which Redis executes atomically. It keeps a key with the time since when the memory of
    this Redis is complete, and with what changes when ids are lost: Redis has another replication id after a restart,
    with or without persistence, and after a fail-over; it counts evicted keys; and FLUSHALL deletes the key. If the
    script finds a change, the memory begins now, and ids that were issued before are refused.

    The value of an id is a random mark of the call that spent it. If the connection is lost before the answer arrives,
    the script is executed once more. If the id has this call's own mark by then, this call spent it.

    The user of the URL needs the permissions for EVALSHA, SCRIPT LOAD, INFO, TIME, GET and SET.
    """

    def __init__(
        self,
        url: str,
        *,
        clock_skew_seconds: float = CLOCK_SKEW_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`url` is a `redis://`, `rediss://` or `unix://` URL; `clock` returns seconds since the epoch.

        Ids that were issued up to `clock_skew_seconds` after the memory began are refused too. Raises `SettingsError`
        if redis-py cannot read the URL.
        """
        self._clock_skew_seconds = clock_skew_seconds
        self._clock = clock
        try:
            # This pool makes calls wait for a connection. The default pool raises an error for the 101st.
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=MAX_CONNECTIONS,
                timeout=CONNECTION_WAIT_SECONDS,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError:
            # The texts of urllib and redis-py may contain a part of the password.
            raise SettingsError(
                "MSTOKEN_REPLAY_URL is not the URL of a Redis: it must be "
                "redis://[user:password@]host[:port][/database], with special characters escaped."
            ) from None
        self._redis = Redis.from_pool(pool)
        self._script = self._redis.register_script(_SPEND)

    @override
    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        now = self._clock()
        issued_ms, keep_ms = math.floor(issued_at * 1000), max(1, math.ceil((expires_at - now) * 1000))
        since, spent = await self._execute(now, one_time_id, issued_ms, secrets.token_bytes(8), keep_ms)
        if spent < 0:
            raise StoreIsNew(since + self._clock_skew_seconds, now)
        return spent == 1

    @override
    async def ready(self) -> str | None:
        now = self._clock()
        since, _ = await self._execute(now)
        try:
            info: dict[str, Any] = await self._redis.info("memory", "stats", "replication")
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error
        policy = info.get("maxmemory_policy", SAFE_POLICY)
        if policy != SAFE_POLICY:
            raise VerifierUnavailable(
                f"The Redis of spent ids may evict them: its maxmemory-policy is {policy}. Set it to {SAFE_POLICY}."
            )
        check_is_remembered(int(now), since, self._clock_skew_seconds, now)
        missing = {"maxmemory_policy", "evicted_keys", "master_replid"} - info.keys()
        if missing:
            return f"INFO of this Redis lacks {', '.join(sorted(missing))}, so it could lose spent ids unnoticed."
        return None

    @override
    async def aclose(self) -> None:
        await self._redis.aclose()

    async def _execute(
        self, now: float, one_time_id: str | None = None, issued_ms: int = 0, mark: bytes = b"", keep_ms: int = 0
    ) -> tuple[float, int]:
        """Execute the script, which spends the id if there is one.

        Return since when the memory is complete, in seconds since the epoch, and what became of the id (see `_SPEND`).
        """
        keys = [MEMORY_KEY] if one_time_id is None else [MEMORY_KEY, f"{KEY_PREFIX}id:{one_time_id}"]
        # Rounded up, because an id of the same millisecond may be older.
        now_ms, skew_ms = math.ceil(now * 1000), math.ceil(self._clock_skew_seconds * 1000)
        try:
            since_ms, spent = await self._script(keys, [now_ms, issued_ms, skew_ms, mark, keep_ms])
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error
        return int(since_ms) / 1000, spent


def _unavailable(error: Exception) -> VerifierUnavailable:
    return VerifierUnavailable(f"The Redis of spent ids cannot be used ({type(error).__name__}: {error}).")
