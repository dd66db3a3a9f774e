"""Spent ids in Redis, for services on many machines."""

import math
import secrets
import time
from collections.abc import Callable

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from mstoken.errors import SettingsError, VerifierUnavailable

TIMEOUT_SECONDS = 1.0
MAX_CONNECTIONS = 20
KEY_PREFIX = "mstoken:spent:"


class RedisReplayStore:
    """Spent ids in a Redis (7.0 or newer) that all workers of all machines share; Redis forgets them by itself.

    A spend is one `SET … NX GET PX` with a random mark of this call as value. Where the answer is lost with its
    connection the same command goes out once more: if the id carries our own mark by then, it was we who spent it.

    The Redis must not evict (`maxmemory-policy noeviction`): an id that is evicted can be spent again.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        """`url` is `redis://`, `rediss://` or `unix://`. Raises `SettingsError` for one that Redis cannot have."""
        self._clock = clock
        try:
            # One that makes callers wait for a connection: the stock one raises an error for the 101st.
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=MAX_CONNECTIONS,
                timeout=TIMEOUT_SECONDS,
                socket_timeout=TIMEOUT_SECONDS,
                socket_connect_timeout=TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError:
            # What urllib and redis-py say may be a piece of the password.
            wanted = "redis://[user:password@]host[:port][/database] is wanted, special characters escaped"
            raise SettingsError(f"MSTOKEN_REPLAY_URL is no address of a Redis: {wanted}.") from None
        self._redis = Redis.from_pool(pool)

    async def spend(self, one_time_id: str, expires_at: float) -> bool:
        """See `ReplayStore.spend`."""
        mark = secrets.token_bytes(8)
        milliseconds = max(1, math.ceil((expires_at - self._clock()) * 1000))
        try:
            earlier = await self._redis.set(KEY_PREFIX + one_time_id, mark, nx=True, get=True, px=milliseconds)
        except (RedisError, OSError) as error:
            raise _unusable(error) from error
        return earlier is None or earlier == mark

    async def ready(self) -> None:
        """See `ReplayStore.ready`."""
        try:
            await self._redis.ping()
        except (RedisError, OSError) as error:
            raise _unusable(error) from error

    async def aclose(self) -> None:
        """See `ReplayStore.aclose`."""
        await self._redis.aclose()


def _unusable(error: Exception) -> VerifierUnavailable:
    return VerifierUnavailable(f"The Redis of spent ids cannot be used ({type(error).__name__}: {error}).")
