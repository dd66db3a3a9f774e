"""What services keep their data in: other than SQLite, a PostgreSQL and a Redis of the tests' own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from emulator.run.stack import SERVICES, Stack
from tests.postgresql import MISSING, PostgresServer, programs
from tests.redis_server import RedisServer


@dataclass(frozen=True)
class BackedStack(Stack):
    """A stack whose services are told of databases and stores elsewhere: service -> variable -> value."""

    backing: dict[str, dict[str, str]] = field(default_factory=dict)

    def _service_environment(self, service: str) -> dict[str, str]:
        return super()._service_environment(service) | self.backing.get(service, {})


@dataclass(frozen=True)
class Servers:
    """A PostgreSQL with a database for each service, and a Redis."""

    database: PostgresServer
    store: RedisServer
    told: dict[str, dict[str, str]]
    """What each service is told of them: service -> variable -> value."""


@contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """Both, until the end of the block. Skips the test where one is not installed."""
    if programs() is None:
        pytest.skip(MISSING)
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
    database, store = PostgresServer(), RedisServer(folder)
    try:
        database.start()
        store.start()
        told = {
            service: {"DATABASE_URL": database.url(database.make_database()), "MSTOKEN_REPLAY_URL": store.url}
            for service in SERVICES
        }
        yield Servers(database, store, told)
    finally:
        store.kill()
        database.remove()
