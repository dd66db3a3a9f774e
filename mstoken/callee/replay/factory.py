"""The replay store that a URL names."""

from mstoken.callee.replay.memory import SoleMemoryReplayStore
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.callee.replay.store import ReplayStore
from mstoken.errors import SettingsError


def replay_store(url: str, audience: str) -> ReplayStore:
    """Return the store of the service `audience` at `url`.

    The URL is `memory:`, `sqlite:///relative/path`, `sqlite:////absolute/path`, or a `redis://`, `rediss://` or
    `unix://` URL as redis-py reads it. Raises `SettingsError` for any other URL, and for `memory:` if the service has
    more than one worker.
    """
    scheme, colon, rest = url.partition(":")
    match scheme:
        case "memory" if colon and not rest:
            return SoleMemoryReplayStore(audience)
        case "sqlite" if rest.startswith("///") and len(rest) > len("///"):
            return SQLiteReplayStore(rest.removeprefix("///"))
        case "redis" | "rediss" | "unix":
            try:
                from mstoken.callee.replay.redis import RedisReplayStore
            except ImportError:
                raise SettingsError(f"MSTOKEN_REPLAY_URL is {scheme}:…: install mstoken[redis] to use it.") from None
            return RedisReplayStore(url)
    # The rest of the URL may contain a password.
    raise SettingsError(
        f"MSTOKEN_REPLAY_URL begins with {scheme!r}: it must be memory:, sqlite:///path or redis://host."
    )
