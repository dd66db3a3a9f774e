"""What doctor checks about the store of spent ids."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typing_extensions import override

from mstoken import Settings
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.cli import replay_checks
from mstoken.cli.checks import Finding
from tests.firestore_server import FirestoreServer
from tests.mstoken.cli.setups import laptop, production
from tests.postgresql import PostgresServer
from tests.redis_server import RedisServer

SERVICE = "test-doctor"


def check(url: str, settings: Callable[..., Settings] = laptop, **variables: str) -> Finding:
    return replay_checks.check_replay_store(settings(replay_url=url), SERVICE, environment=variables)


class Amnesia(MemoryReplayStore):
    """A store that accepts every id, however often."""

    @override
    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        return True


class Paranoia(MemoryReplayStore):
    """A store that accepts no id."""

    @override
    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        return False


def test_a_sqlite_file(tmp_path: Path) -> None:
    """The state is ok if an id can be spent in it, even in a new file. The finding says what the store promises."""
    for _ in range(2):
        finding = check(f"sqlite:///{tmp_path}/spent.db", production)
        assert finding.state == "ok"
        assert finding.text == (
            f"{tmp_path}/spent.db: works. Ids survive a restart of the service. If the machine restarts, or the file "
            "is lost or damaged, no id is accepted twice, and calls fail for up to 6 s."
        )


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """This is an error, also if it is only noticed when an id is spent."""
    (tmp_path / "file").write_text("")
    for path in (f"{tmp_path}/file/spent.db", str(tmp_path)):
        finding = check(f"sqlite:///{path}")
        assert (finding.state, "sqlite:////absolute/path" in finding.advice) == ("error", True)


def test_a_file_that_is_another_database(tmp_path: Path) -> None:
    """This is an error: the setting names the wrong file."""
    with closing(sqlite3.connect(tmp_path / "shop.db")) as file:
        file.execute("CREATE TABLE bills (id TEXT)")
    finding = check(f"sqlite:///{tmp_path}/shop.db")
    assert (finding.state, "which is another database" in finding.text) == ("error", True)


@pytest.mark.parametrize(
    ("store", "text"), [(Amnesia, "does not remember the ids"), (Paranoia, "a new id was spent before")]
)
def test_a_store_that_answers_wrongly(store: type[MemoryReplayStore], text: str) -> None:
    """If an id can be spent twice, or not even once, this is an error, although the store reports none."""
    finding = replay_checks.check_replay_store(laptop(), SERVICE, make_store=lambda *_: store())
    assert (finding.state, text in finding.text) == ("error", True)


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ok on a laptop. In production there is a warning, because another folder would mean another file."""
    monkeypatch.chdir(tmp_path)
    assert check("sqlite:///spent.db").state == "ok"
    finding = check("sqlite:///spent.db", production)
    assert (finding.state, str(tmp_path) in finding.text) == ("warning", True)


def test_a_file_on_cloud_run(tmp_path: Path) -> None:
    """It is an error, because each instance has files of its own. With one instance there is a warning."""
    url = f"sqlite:///{tmp_path}/spent.db"
    finding = check(url, production, K_SERVICE="product")
    assert (finding.state, "redis://" in finding.advice) == ("error", True)
    assert "MSTOKEN_SINGLE_INSTANCE" in finding.text
    finding = check(url, lambda **more: production(single_instance=True, **more), K_SERVICE="product")
    assert (finding.state, "Cloud Run" in finding.text, "redis://" in finding.advice) == ("warning", True, True)
    assert check(url, laptop, K_SERVICE="token").state == "ok"


def test_memory() -> None:
    """There is a warning, because other processes do not see the spent ids."""
    finding = check("memory:")
    assert (finding.state, "After each start of the service" in finding.text) == ("warning", True)


def test_a_redis(redis_url: str) -> None:
    """The state is ok if an id can be spent in it, even in an empty one. The finding says what the store promises."""
    for _ in range(2):
        finding = check(redis_url, production)
        assert finding.state == "ok"
        assert finding.text == (
            "redis: works. If Redis restarts, with or without persistence, fails over, evicts ids or is emptied, no id "
            "is accepted twice, and calls fail for up to 6 s."
        )


def test_a_postgresql(postgresql: PostgresServer) -> None:
    """The state is ok if an id can be spent. The finding says what the store promises, and not the password."""
    url = postgresql.url(postgresql.make_database(), driver="postgresql")
    finding = check(url, production)
    assert finding.state == "ok"
    assert finding.text.startswith(
        "postgresql: works. If PostgreSQL crashes or fails over, or if its tables are emptied"
    )


def test_a_firestore(firestore_server: FirestoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state is ok if an id can be spent. The finding says what the store promises."""
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_server.address)
    finding = check("firestore:")
    assert finding.state == "ok"
    assert finding.text.startswith("firestore: works. If the collection is emptied, no id is accepted twice")


def test_a_redis_that_may_evict(own_redis: RedisServer) -> None:
    """This is an error. The finding names the policy and what it must be."""
    own_redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    finding = check(own_redis.url)
    assert (finding.state, "allkeys-lru. Set it to noeviction" in finding.text) == ("error", True)


def test_a_warning_of_the_store() -> None:
    """What the store warns of is a warning."""

    class Uncertain(MemoryReplayStore):
        @override
        async def ready(self) -> str | None:
            return "It may forget."

    finding = replay_checks.check_replay_store(
        laptop(replay_url="redis://redis.internal"), SERVICE, make_store=lambda *_: Uncertain()
    )
    assert (finding.state, "It may forget." in finding.text) == ("warning", True)


def test_a_redis_that_does_not_answer() -> None:
    """This is an error. The finding does not contain the password in its URL."""
    finding = check("redis://shop:s3cret@127.0.0.1:1/0")
    assert finding.state == "error"
    assert "s3cret" not in f"{finding.text}{finding.advice}"


@pytest.mark.parametrize(
    "url",
    [
        "mysql://shop:s3cret@host",
        "postgresql://shop:s3cret@127.0.0.1:1/ids",
        "postgresql://shop:s3cret@host",
        "redis://:s3cret#more@host",
        "redis://:pa:s3cret@host",
        "redis://h:s3cret@h:x",
    ],
)
def test_an_invalid_url_of_a_store(url: str) -> None:
    """This is an error. The finding contains no piece of a password, wherever an odd character splits it."""
    finding = check(url)
    assert finding.state == "error"
    assert "s3cret" not in f"{finding.text}{finding.advice}"


def test_a_password_that_looks_like_a_port() -> None:
    """A parser takes the piece before a slash for a port, and its error contains it. The finding hides it."""
    finding = check("redis://127.0.0.1:4711/s3cret@host")
    assert finding.state == "error"
    assert "(hidden)" in finding.text
    assert "4711" not in finding.text
