"""The URL of the setting chooses the store."""

import pytest

from mstoken.callee.replay.factory import replay_store
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.replay.redis import RedisReplayStore
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.callee.replay.store import ReplayStore
from mstoken.errors import SettingsError


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryReplayStore),
        ("sqlite:///spent.db", SQLiteReplayStore),
        ("sqlite:////var/lib/spent.db", SQLiteReplayStore),
        ("redis://localhost:6379/0", RedisReplayStore),
        ("rediss://user:secret@redis.example.com", RedisReplayStore),
        ("unix:///run/redis.sock", RedisReplayStore),
    ],
)
async def test_the_url_chooses_the_store(url: str, kind: type[ReplayStore]) -> None:
    """Each scheme names one kind of store. No connection is opened yet."""
    store = replay_store(url, "test-store")
    assert isinstance(store, kind)
    await store.aclose()


@pytest.mark.parametrize("url", ["", "memory", "memory:x", "sqlite:", "sqlite:///", "mysql://u:secret@x", "/spent.db"])
def test_any_other_url_is_a_settings_error(url: str) -> None:
    """The error names the variable and what was expected, and contains nothing that may be a password."""
    with pytest.raises(
        SettingsError, match=r"MSTOKEN_REPLAY_URL begins with .*: it must be memory:, sqlite:///path or redis://host"
    ) as caught:
        replay_store(url, "test-store")
    assert "secret" not in str(caught.value)


def test_a_redis_url_that_cannot_be_read_is_a_settings_error() -> None:
    """The error does not contain the password."""
    with pytest.raises(SettingsError, match="not the URL of a Redis") as caught:
        replay_store("redis://:secret@localhost:port", "test-store")
    assert "secret" not in str(caught.value)
