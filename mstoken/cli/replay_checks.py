"""What `mstoken doctor` checks about the store of spent ids."""

import asyncio
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from mstoken.callee.replay.factory import platform_without_shared_disk, replay_store
from mstoken.callee.replay.store import ReplayStore
from mstoken.cli.checks import Finding
from mstoken.errors import SettingsError, StoreIsNew, VerifierUnavailable
from mstoken.settings import Settings
from mstoken.wire import CLOCK_SKEW_SECONDS

PAUSE_SECONDS = CLOCK_SKEW_SECONDS + 1
"""For how long all calls are refused, at most, after the memory of a store began."""

PROMISES = {
    "memory": f"After each start of the service, all calls fail for up to {PAUSE_SECONDS} s.",
    "sqlite": "Ids survive a restart of the service. If the machine restarts, or the file is lost or damaged, no id is "
    f"accepted twice, and calls fail for up to {PAUSE_SECONDS} s.",
    "firestore": f"If the collection is emptied, no id is accepted twice, and calls fail for up to {PAUSE_SECONDS} s.",
    "postgresql": "If PostgreSQL crashes or fails over, or if its tables are emptied or replaced, no id is accepted "
    f"twice, and calls fail for up to {PAUSE_SECONDS} s. Ids survive a restart that is not a crash.",
    "redis": "If Redis restarts, with or without persistence, fails over, evicts ids or is emptied, no id is accepted "
    f"twice, and calls fail for up to {PAUSE_SECONDS} s.",
}
"""What each kind of store promises. docs/production.md has the same as a table."""

_NAME = "replay store"


def check_replay_store(
    settings: Settings,
    service: str,
    *,
    environment: Mapping[str, str] = os.environ,
    make_store: Callable[[Settings, str, Mapping[str, str]], ReplayStore] = replay_store,
) -> Finding:
    """Check that ids can be spent, and only once, by spending a random one."""
    url = settings.replay_url
    scheme = url.partition(":")[0]
    try:
        warning = asyncio.run(_spend_random_id(make_store(settings, service, environment)))
    except VerifierUnavailable as error:
        advice = "Check that the store is running and that MSTOKEN_REPLAY_URL is its address."
        if scheme == "sqlite":
            advice = "Set MSTOKEN_REPLAY_URL to a file that this process can write: sqlite:////absolute/path."
        return Finding(_NAME, "error", without_password(str(error), url), advice)
    except SettingsError as error:
        advice = (
            "Correct MSTOKEN_REPLAY_URL: sqlite:///path, redis://host, postgresql://host/database, firestore:, or "
            "memory: for a single process."
        )
        return Finding(_NAME, "error", without_password(str(error), url), advice)
    return _finding(scheme, warning, settings, environment)


def _finding(scheme: str, warning: str | None, settings: Settings, environment: Mapping[str, str]) -> Finding:
    """Return what to say about a store that works. `warning` is what the store itself says."""
    if scheme == "memory":
        text = f"in memory: another process would accept a used token again. {PROMISES['memory']}"
        return Finding(_NAME, "warning", text, "Use sqlite:///path on one machine, or redis://host on several.")
    if scheme in ("firestore", "postgresql", "postgres"):
        kind = "firestore" if scheme == "firestore" else "postgresql"
        return Finding(_NAME, "ok", f"{scheme}: works. {PROMISES[kind]}")
    if scheme != "sqlite":
        text = f"{scheme}: works. {PROMISES['redis']}"
        if warning:
            return Finding(_NAME, "warning", f"{scheme}: works. {warning}", "Use Redis 7.0 or newer.")
        return Finding(_NAME, "ok", text)
    path = Path(settings.replay_url.removeprefix("sqlite:///"))
    text = f"{path.absolute()}: works. {PROMISES['sqlite']}"
    if platform := platform_without_shared_disk(settings, environment):
        advice = "Use redis://host if there can be a second instance, also for a moment during a deployment."
        return Finding(_NAME, "warning", f"{text} On {platform} this is right for one instance only.", advice)
    if settings.emulator_host is None and not path.is_absolute():
        advice = "Use sqlite:////absolute/path: workers that start in different folders would use different files."
        return Finding(_NAME, "warning", text, advice)
    return Finding(_NAME, "ok", text)


async def _spend_random_id(store: ReplayStore) -> str | None:
    """Spend a random id, and return the warning of the store.

    Raises `VerifierUnavailable` if that fails, or if the id can be spent twice.
    """
    warning = None
    try:
        with suppress(StoreIsNew):  # It is ready in a few seconds.
            warning = await store.ready()
        one_time_id = f"doctor.{secrets.token_urlsafe(16)}"
        expires_at = datetime.now(UTC).timestamp() + 60
        # A time of issue in the future: a new store too accepts this id, which cannot have been used before.
        if not await store.spend(one_time_id, issued_at=expires_at, expires_at=expires_at):
            raise VerifierUnavailable("The store says that a new id was spent before.")
        if await store.spend(one_time_id, issued_at=expires_at, expires_at=expires_at):
            raise VerifierUnavailable("The store does not remember the ids that were spent.")
    finally:
        await store.aclose()
    return warning


def without_password(text: str, url: str) -> str:
    """Return `text` without the user and password of `url`.

    A parser may have cut them at a wrong place and quote only a piece, so every piece is hidden as well.
    """
    authority, at, _ = url.partition("://")[2].rpartition("@")
    pieces = [] if not at else [authority, *authority.replace("/", ":").replace("#", ":").replace("?", ":").split(":")]
    for piece in sorted((piece for piece in pieces if piece), key=len, reverse=True):
        text = text.replace(piece, "(hidden)")
    return text
