"""What `mstoken doctor` checks about the store in which processes share the status of identities."""

import asyncio
import secrets
from collections.abc import Callable

from mstoken.callee.shared_status import StatusStore, status_store
from mstoken.cli.checks import Finding
from mstoken.cli.replay_checks import without_password
from mstoken.errors import SettingsError, VerifierUnavailable
from mstoken.settings import STATUS_URL_VARIABLE, Settings

_NAME = "shared status"


def check_shared_status(
    settings: Settings, *, make_store: Callable[[Settings], StatusStore | None] = status_store
) -> Finding | None:
    """Check that the Redis in `settings.status_url` can be used.

    Return None without such a setting: then it is the store of spent ids, which has a check of its own, or there is
    none. An error of this store is a warning, because each process then looks up by itself.
    """
    url = settings.status_url
    if url is None:
        return None
    try:
        store = make_store(settings)
        if store is None:
            return Finding(_NAME, "ok", f"switched off by {STATUS_URL_VARIABLE}={url}")
        asyncio.run(_ask(store))
    except VerifierUnavailable as error:
        text = f"{without_password(str(error), url)} Each process looks up identities by itself meanwhile."
        return Finding(
            _NAME, "warning", text, f"Check that the Redis is running and that {STATUS_URL_VARIABLE} names it."
        )
    except SettingsError as error:
        return Finding(_NAME, "error", without_password(str(error), url), f"Correct {STATUS_URL_VARIABLE}.")
    return Finding(_NAME, "ok", f"{url.partition(':')[0]}: works. All processes that use it share their look-ups.")


async def _ask(store: StatusStore) -> None:
    try:
        await store.ask({f"doctor.{secrets.token_urlsafe(16)}": 0.0}, secrets.token_hex(8))
    finally:
        await store.aclose()
