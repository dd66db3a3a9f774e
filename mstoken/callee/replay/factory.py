"""The replay store that the settings name."""

import os
from collections.abc import Mapping

from mstoken.callee.replay.memory import SoleMemoryReplayStore
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.callee.replay.store import ReplayStore
from mstoken.errors import SettingsError
from mstoken.settings import DEMO_PREFIX, REPLAY_URL_VARIABLE, Settings, needed_by_setting
from mstoken.wire import CLOCK_SKEW_SECONDS

FUNCTIONS_EMULATOR_VARIABLE = "FUNCTIONS_EMULATOR"
"""Is "true" in the functions emulator, which sets the variables of Cloud Run too."""

PLATFORMS = {
    "K_SERVICE": "Cloud Run",
    "FUNCTION_TARGET": "Cloud Functions",
    "GAE_INSTANCE": "App Engine",
    "AWS_LAMBDA_FUNCTION_NAME": "AWS Lambda",
    "ECS_CONTAINER_METADATA_URI_V4": "Amazon ECS",
    "CONTAINER_APP_NAME": "Azure Container Apps",
    "DYNO": "Heroku",
    "KUBERNETES_SERVICE_HOST": "Kubernetes",
}
"""Platforms on which a service has several instances without a common disk, by a variable that the platform sets.

Sources: Cloud Run, "Container runtime contract"; Cloud Run functions and App Engine, "environment variables"; AWS
Lambda, "Defined runtime environment variables"; Amazon ECS, "Task metadata endpoint version 4"; Azure Container Apps,
"Built-in environment variables"; Heroku, "Dyno metadata"; Kubernetes, "Accessing the Kubernetes API from a Pod".
"""


def replay_store(settings: Settings, audience: str, environment: Mapping[str, str] = os.environ) -> ReplayStore:
    """Return the store of the service `audience` that the settings name.

    `settings.replay_url` is `memory:`, `sqlite:///relative/path`, `sqlite:////absolute/path`, a `redis://`, `rediss://`
    or `unix://` URL as redis-py reads it, a `postgresql://` URL as libpq reads it, or `firestore:` or
    `firestore://database`, in the project of the settings. Raises `SettingsError` for any other URL, for `memory:` if
    the service has more than one worker, and for `memory:` and `sqlite:` on a platform whose instances have no common
    disk.
    """
    scheme, colon, rest = settings.replay_url.partition(":")
    # With the emulator, all processes run on one machine, so they share its clock.
    clock_skew_seconds = 0 if settings.emulator_host else CLOCK_SKEW_SECONDS
    match scheme:
        case "memory" if colon and not rest:
            _check_is_shared(settings, environment)
            return SoleMemoryReplayStore(audience, clock_skew_seconds=clock_skew_seconds)
        case "sqlite" if rest.startswith("///") and len(rest) > len("///"):
            _check_is_shared(settings, environment)
            return SQLiteReplayStore(rest.removeprefix("///"), clock_skew_seconds=clock_skew_seconds)
        case "redis" | "rediss" | "unix":
            with needed_by_setting(REPLAY_URL_VARIABLE, scheme, "redis"):
                from mstoken.callee.replay.redis import RedisReplayStore
            return RedisReplayStore(settings.replay_url, clock_skew_seconds=clock_skew_seconds)
        case "postgresql" | "postgres":
            with needed_by_setting(REPLAY_URL_VARIABLE, scheme, "postgresql"):
                from mstoken.callee.replay.postgresql import PostgreSQLReplayStore
            return PostgreSQLReplayStore(settings.replay_url, clock_skew_seconds=clock_skew_seconds)
        case "firestore" if colon and "/" not in (database := rest.removeprefix("//")):
            with needed_by_setting(REPLAY_URL_VARIABLE, scheme, "firestore"):
                from mstoken.callee.replay.firestore import DEFAULT_DATABASE, FirestoreReplayStore
            return FirestoreReplayStore(
                settings.project_id, database or DEFAULT_DATABASE, clock_skew_seconds=clock_skew_seconds
            )
    # The rest of the URL may contain a password.
    raise SettingsError(
        f"MSTOKEN_REPLAY_URL begins with {scheme!r}: it must be memory:, sqlite:///path, redis://host, "
        "postgresql://host/database or firestore:."
    )


def platform_without_shared_disk(settings: Settings, environment: Mapping[str, str]) -> str | None:
    """Return the name of the platform if its instances have no common disk: with its variable, for messages.

    Return None elsewhere, and for emulators and demo projects.
    """
    is_local = environment.get(FUNCTIONS_EMULATOR_VARIABLE) == "true"
    if is_local or settings.emulator_host or settings.project_id.startswith(DEMO_PREFIX):
        return None
    found = (f"{name} ({variable} is set)" for variable, name in PLATFORMS.items() if environment.get(variable))
    return next(found, None)


def _check_is_shared(settings: Settings, environment: Mapping[str, str]) -> None:
    """Raise `SettingsError` if each instance of this service would have spent ids of its own."""
    platform = platform_without_shared_disk(settings, environment)
    if platform and not settings.single_instance:
        raise SettingsError(
            f"MSTOKEN_REPLAY_URL is {settings.replay_url!r} on {platform}: instances there do not share a disk, so "
            "each of them would accept the same token once. Use redis://host or postgresql://host/database. If this "
            "service never has more than one instance, set MSTOKEN_SINGLE_INSTANCE=true."
        )
