"""A stack whose services keep their data in a PostgreSQL and a Redis of the tests, and not in SQLite."""

from dataclasses import dataclass, field

from emulator.run.stack import SERVICES, Stack
from tests.postgresql import PostgresServer
from tests.redis_server import RedisServer


@dataclass(frozen=True)
class BackedStack(Stack):
    """A stack whose services get more environment variables: service -> variable -> value."""

    backing: dict[str, dict[str, str]] = field(default_factory=dict)

    def _service_environment(self, service: str) -> dict[str, str]:
        return super()._service_environment(service) | self.backing.get(service, {})


def backing(database: PostgresServer, store: RedisServer) -> dict[str, dict[str, str]]:
    """Return the variables that make services use these servers, with a new database each.

    The result is service -> variable -> value.
    """
    return {
        service: {"DATABASE_URL": database.url(database.make_database()), "MSTOKEN_REPLAY_URL": store.url}
        for service in SERVICES
    }
