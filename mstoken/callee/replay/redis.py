"""Spent ids in Redis, for services on many machines."""

import math
import secrets
import time
from collections.abc import Callable

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from typing_extensions import override

from mstoken.callee.replay.store import ReplayStore
from mstoken.errors import SettingsError, VerifierUnavailable

TIMEOUT_SECONDS = 1.0
MAX_CONNECTIONS = 20
KEY_PREFIX = "mstoken:spent:"


class RedisReplayStore(ReplayStore):
    """Spent ids in a Redis (7.0 or newer) that all workers on all machines share. Redis deletes expired ids itself.

    To spend an id is one `SET … NX GET PX`, whose value is a random mark of this call. If the connection is lost
    before the answer arrives, the command is sent once more. If the id has this call's own mark by then, this call
    spent it.

    This Redis must not evict keys (`maxmemory-policy noeviction`): an id that was evicted can be spent again.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        """`url` is a `redis://`, `rediss://` or `unix://` URL; `clock` returns seconds since the epoch.

        Raises `SettingsError` if redis-py cannot read the URL.
        """
        self._clock = clock
        try:
            # This pool makes calls wait for a connection. The default pool raises an error for the 101st.
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=MAX_CONNECTIONS,
                timeout=TIMEOUT_SECONDS,
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

    @override
    async def spend(self, one_time_id: str, expires_at: float) -> bool:
        mark = secrets.token_bytes(8)
        milliseconds = max(1, math.ceil((expires_at - self._clock()) * 1000))
        try:
            earlier_mark = await self._redis.set(KEY_PREFIX + one_time_id, mark, nx=True, get=True, px=milliseconds)
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error
        return earlier_mark is None or earlier_mark == mark

    @override
    async def ready(self) -> None:
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise _unavailable(error) from error

    @override
    async def aclose(self) -> None:
        await self._redis.aclose()


def _unavailable(error: Exception) -> VerifierUnavailable:
    return VerifierUnavailable(f"The Redis of spent ids cannot be used ({type(error).__name__}: {error}).")
