"""The status of identities in Redis, for all processes of all callees."""

import math
from collections.abc import Collection, Mapping, Sequence

from typing_extensions import override

from mstoken.callee.replay.redis_client import RedisClient, RedisServers, Script, check_redis_url, group_of
from mstoken.callee.shared_status import ENTRY_SECONDS, FAILURE_SECONDS, LEASE_SECONDS, Found, Reply, StatusStore
from mstoken.per_loop import PerLoop
from mstoken.settings import STATUS_URL_VARIABLE

KEY_PREFIX = "mstoken:"

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- When the look-up of an entry began, or nil if this is not an entry, or is one from the future.
local function began(entry)
    local at = tonumber(string.match(entry or '', '^(%d+) '))
    return at and at <= now and at or nil
end
"""
_ASK = Script(
    _NOW
    + """
-- KEYS: the entry and the lease of each identity. ARGV: the mark of this call, for how long a lease counts, and for
-- each identity how old its entry may be. All times are in milliseconds. Returns the time, and for each identity what
-- was found (`Found`), the entry, and its age.
local replies = {string.format('%.0f', now)}
for number = 1, #KEYS, 2 do
    local entry = redis.call('GET', KEYS[number])
    local at = began(entry)
    if at and now - at <= tonumber(ARGV[3 + (number - 1) / 2]) then
        table.insert(replies, {0, string.match(entry, '^%d+ (.*)$'), now - at})
    else
        local other = redis.call('GET', KEYS[number + 1])
        if other and other ~= 'free' and other ~= ARGV[1] then
            table.insert(replies, {other == 'failed' and 3 or 2, '', 0})
        else
            redis.call('SET', KEYS[number + 1], ARGV[1], 'PX', ARGV[2])
            table.insert(replies, {1, '', 0})
        end
    end
end
return replies
"""
)
_TELL = Script(
    _NOW
    + """
-- KEYS: as above. ARGV: the mark, for how long to keep an entry, and for each identity when its look-up began, and the
-- entry. An entry of a later look-up stays. A lease ends without DEL, which the user of the URL may not be allowed.
for number = 1, #KEYS, 2 do
    local at, entry = ARGV[number + 2], ARGV[number + 3]
    local kept = began(redis.call('GET', KEYS[number]))
    if not kept or kept <= tonumber(at) then
        redis.call('SET', KEYS[number], at .. ' ' .. entry, 'PX', ARGV[2])
    end
    if redis.call('GET', KEYS[number + 1]) == ARGV[1] then
        redis.call('SET', KEYS[number + 1], 'free', 'PX', 1)
    end
end
"""
)
_FAIL = Script(
    """
-- KEYS: the leases. ARGV: the mark, and for how long the failure counts.
for _, lease in ipairs(KEYS) do
    if redis.call('GET', lease) == ARGV[1] then
        redis.call('SET', lease, 'failed', 'PX', ARGV[2])
    end
end
"""
)


class RedisStatusStore(StatusStore):
    """The status of the identities of one Firebase project, in a Redis or a Redis Cluster.

    Times are those of Redis, which deletes an entry after 10 s. The user of the URL needs the same permissions as for
    spent ids: EVALSHA, EVAL, INFO, TIME, GET and SET, and in a cluster CLUSTER SLOTS and COMMAND.
    """

    def __init__(self, url: str, project_id: str) -> None:
        """`url` is as for `RedisReplayStore`. Raises `SettingsError` if redis-py cannot read it."""
        check_redis_url(url, STATUS_URL_VARIABLE)
        self._project_id = project_id
        self._clients = PerLoop(
            lambda: RedisClient(url, what="identity status", variable=STATUS_URL_VARIABLE), RedisClient.aclose
        )

    @override
    async def ask(self, max_ages: Mapping[str, float], mark: str) -> dict[str, Reply]:
        replies: dict[str, Reply] = {}
        async with self._clients.get().use() as servers:
            for group, uids in self._groups(max_ages, servers):
                ages = [math.floor(max_ages[uid] * 1000) for uid in uids]
                arguments = [mark, _milliseconds(LEASE_SECONDS), *ages]
                now, *found = await servers.run(_ASK, group, self._keys(group, uids), arguments)
                for uid, (kind, entry, age_ms) in zip(uids, found, strict=True):
                    # With the option decode_responses in the URL, it is decoded already.
                    text = entry if isinstance(entry, str) else entry.decode("utf-8", "replace")
                    replies[uid] = Reply(Found(kind), int(now), text, age_ms / 1000)
        return replies

    @override
    async def tell(self, entries: Mapping[str, str], began_ms: Mapping[str, int], mark: str) -> None:
        async with self._clients.get().use() as servers:
            for group, uids in self._groups(entries, servers):
                values = [value for uid in uids for value in (began_ms[uid], entries[uid])]
                arguments = [mark, _milliseconds(ENTRY_SECONDS), *values]
                await servers.run(_TELL, group, self._keys(group, uids), arguments)

    @override
    async def fail(self, uids: Collection[str], mark: str) -> None:
        async with self._clients.get().use() as servers:
            for group, members in self._groups(uids, servers):
                leases = self._keys(group, members)[1::2]
                await servers.run(_FAIL, group, leases, [mark, _milliseconds(FAILURE_SECONDS)])

    @override
    async def aclose(self) -> None:
        await self._clients.aclose()

    def _groups(self, uids: Collection[str], servers: RedisServers) -> list[tuple[str, list[str]]]:
        """Return the identities by the group whose keys are together on one server."""
        groups: dict[str, list[str]] = {}
        for uid in uids:
            groups.setdefault(group_of(uid, servers.tags), []).append(uid)
        return list(groups.items())

    def _keys(self, group: str, uids: Sequence[str]) -> list[str]:
        return [key for uid in uids for key in (self.entry_key(group, uid), self.lease_key(group, uid))]

    def entry_key(self, group: str, uid: str) -> str:
        """Return the key of an identity's entry. A project id has no slash."""
        return f"{KEY_PREFIX}{{{group}}}:status:{self._project_id}/{uid}"

    def lease_key(self, group: str, uid: str) -> str:
        """Return the key of an identity's lease."""
        return f"{KEY_PREFIX}{{{group}}}:status-lease:{self._project_id}/{uid}"


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
