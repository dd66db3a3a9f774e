"""What a replay store promises, and which one a URL names.

A store remembers an id until the token or proof that carries it would be refused for its age anyway.
"""

from typing import Protocol

from mstoken.callee.replay.memory import SoleMemoryReplayStore
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.errors import SettingsError


class ReplayStore(Protocol):
    """Remembers spent ids. Every method raises `VerifierUnavailable` where the store is out of reach."""

    async def spend(self, one_time_id: str, expires_at: float) -> bool:
        """True for the first use of `one_time_id`, False ever after; atomic among all that share the store.

        It may be forgotten after `expires_at`, seconds since the epoch.
        """
        ...

    async def ready(self) -> None:
        """Returns if ids can be spent now."""
        ...

    async def aclose(self) -> None:
        """Lets go of files and connections."""
        ...


def replay_store(url: str, audience: str) -> ReplayStore:
    """The store of the service `audience` at `url`.

    `memory:`, `sqlite:///relative/path` or `sqlite:////absolute/path`, or `redis://`, `rediss://` or `unix://` as
    redis-py has them. Raises `SettingsError` for anything else, and for memory where there is more than one worker.
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
                raise SettingsError(f"MSTOKEN_REPLAY_URL is {scheme}:…: install mstoken[redis] for it.") from None
            return RedisReplayStore(url)
    # The rest of an address may hold a password.
    raise SettingsError(f"MSTOKEN_REPLAY_URL is {scheme!r}…: memory:, sqlite:///path or redis://host is wanted.")
