"""The settings choose the store."""

import math
import time
from pathlib import Path

import pytest

from mstoken.callee.replay.factory import PLATFORMS, replay_store
from mstoken.callee.replay.firestore import FirestoreReplayStore
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.replay.postgresql import PostgreSQLReplayStore
from mstoken.callee.replay.redis import RedisReplayStore
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.callee.replay.sqlite_file import NOTICED_SECONDS
from mstoken.callee.replay.store import ReplayStore
from mstoken.errors import SettingsError, StoreIsNew
from mstoken.wire import CLOCK_SKEW_SECONDS
from tests.mstoken.cli.setups import laptop, production
from tests.mstoken.test_settings import environment

CLOUD_RUN = {"K_SERVICE": "product"}


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryReplayStore),
        ("sqlite:///spent.db", SQLiteReplayStore),
        ("sqlite:////var/lib/spent.db", SQLiteReplayStore),
        ("redis://localhost:6379/0", RedisReplayStore),
        ("rediss://user:secret@redis.example.com", RedisReplayStore),
        ("unix:///run/redis.sock", RedisReplayStore),
        ("postgresql://user:secret@db.example.com/ids", PostgreSQLReplayStore),
        ("postgres:///ids?host=/run/postgresql", PostgreSQLReplayStore),
        ("firestore:", FirestoreReplayStore),
        ("firestore://ids", FirestoreReplayStore),
    ],
)
async def test_the_url_chooses_the_store(url: str, kind: type[ReplayStore]) -> None:
    """Each scheme names one kind of store. No connection is opened yet."""
    store = replay_store(laptop(replay_url=url), "test-store")
    assert isinstance(store, kind)
    await store.aclose()


@pytest.mark.parametrize("url", ["memory", "memory:x", "sqlite:", "sqlite:///", "mysql://u:secret@x", "/spent.db"])
def test_any_other_url_is_a_settings_error(url: str) -> None:
    """The error names the variable and what was expected, and contains nothing that may be a password."""
    with pytest.raises(
        SettingsError, match=r"MSTOKEN_REPLAY_URL begins with .*: it must be memory:, sqlite:///path, redis://host, p"
    ) as caught:
        replay_store(laptop(replay_url=url), "test-store")
    assert "secret" not in str(caught.value)


def test_a_redis_url_that_cannot_be_read_is_a_settings_error() -> None:
    """The error does not contain the password."""
    with pytest.raises(SettingsError, match="not the URL of a Redis") as caught:
        replay_store(laptop(replay_url="redis://:secret@localhost:port"), "test-store")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["memory:", "sqlite:////var/lib/spent.db"])
@pytest.mark.parametrize("variable", PLATFORMS)
def test_a_store_that_instances_do_not_share_is_refused(url: str, variable: str) -> None:
    """The service does not start on such a platform. The error names the platform, the settings and what to do."""
    with pytest.raises(SettingsError) as caught:
        replay_store(production(replay_url=url), "test-store", {variable: "x"})
    for expected in (url, variable, PLATFORMS[variable], "Use redis://host", "MSTOKEN_SINGLE_INSTANCE=true"):
        assert expected in str(caught.value)


def test_the_default_store_is_refused_on_cloud_run() -> None:
    """A service without MSTOKEN_REPLAY_URL does not start there, in the environment of the process."""
    with environment(GOOGLE_CLOUD_PROJECT="real-shop", **CLOUD_RUN), pytest.raises(SettingsError, match="Cloud Run"):
        replay_store(production(), "test-store")


async def test_a_shared_store_is_accepted_on_cloud_run() -> None:
    """All instances use the same Redis."""
    await replay_store(production(replay_url="redis://redis.internal"), "test-store", CLOUD_RUN).aclose()


@pytest.mark.parametrize("url", ["memory:", "sqlite:////var/lib/spent.db"])
async def test_a_single_instance_needs_no_shared_store(url: str) -> None:
    """If the settings say that there is one instance, its own store is enough."""
    await replay_store(production(replay_url=url, single_instance=True), "test-single", CLOUD_RUN).aclose()


async def test_a_laptop_is_not_a_platform(tmp_path: Path) -> None:
    """Emulators and demo projects use files, although the functions emulator sets the variables of Cloud Run."""
    url = f"sqlite:///{tmp_path}/spent.db"
    await replay_store(laptop(replay_url=url), "test-store", CLOUD_RUN).aclose()
    with environment(GOOGLE_CLOUD_PROJECT="demo-shop"):
        demo = production(replay_url=url).model_copy(update={"project_id": "demo-shop"})
    await replay_store(demo, "test-store", CLOUD_RUN).aclose()
    variables = {**CLOUD_RUN, "FUNCTION_TARGET": "token", "FUNCTIONS_EMULATOR": "true"}
    await replay_store(production(replay_url=url), "test-store", variables).aclose()


@pytest.mark.parametrize(("settings", "skew_seconds"), [(production, CLOCK_SKEW_SECONDS), (laptop, 0)])
@pytest.mark.parametrize(
    ("url", "more_seconds"), [("memory:", 0), ("sqlite:///{folder}/spent.db", NOTICED_SECONDS), ("{redis}", 0)]
)
async def test_clocks_differ_in_production_only(
    tmp_path: Path, redis_url: str, settings: type, skew_seconds: int, url: str, more_seconds: float
) -> None:
    """A new store in production refuses for longer: the clocks of other machines may be ahead of its own.

    Tokens are issued at whole seconds, and the first one that is accepted comes up to a second after that.
    """
    before = time.time()
    store = replay_store(settings(replay_url=url.format(folder=tmp_path, redis=redis_url)), "test-skew")
    with pytest.raises(StoreIsNew) as caught:
        await store.spend("one", issued_at=0, expires_at=4_000_000_000)
    after = time.time()
    # The first token that is accepted is of the whole second after the last one that is refused. The store read its
    # clock somewhere between `before` and `after`, and Redis rounds its own up to a millisecond.
    earliest, latest = before + skew_seconds, after + 0.001 + skew_seconds + more_seconds
    assert math.floor(earliest) + 1 <= caught.value.accepts_from <= math.floor(latest) + 1
    await store.aclose()
