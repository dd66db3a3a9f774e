"""The servers that a section needs, if this machine has them."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.results import Plan
from tests.postgresql import PostgresServer, programs
from tests.redis_server import RedisServer


@contextmanager
def postgresql(plan: Plan, what: str) -> Iterator[PostgresServer | None]:
    """Start a PostgreSQL that writes to disk as in production. Without one, note that `what` is left out."""
    if programs() is None:
        plan.leave_out(f"{what}: PostgreSQL is not installed (Debian: apt install postgresql)")
        yield None
        return
    server = PostgresServer(durable=True)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def redis(plan: Plan, what: str) -> Iterator[RedisServer | None]:
    """Start a Redis. Without one, note that `what` is left out."""
    if shutil.which("redis-server") is None:
        plan.leave_out(f"{what}: Redis is not installed (Debian: apt install redis-server)")
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
