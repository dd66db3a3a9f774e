"""A new version is rolled out and rolled back under load: no customer sees an error, and no request is cut.

Each replica has two workers for each service. Some customers send their bodies slowly. So there are always requests in
which a process has to stop, and a process that does not wait for them fails the test.
"""

import asyncio
import json
import secrets
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import asyncpg
import httpx
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from typing_extensions import override

from emulator.demo.calls import log_lines
from emulator.run.logins import ADMIN, MAYA
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.shop_client import TIMEOUT_SECONDS, logged_in
from emulator.run.stack import ROOT, SERVICES, Stack
from tests.backing import BackedStack, backing
from tests.postgresql import PostgresServer
from tests.redis_server import RedisServer
from tests.system.newer_apps import MIGRATIONS_VARIABLE
from tests.system.round_robin import RoundRobin

pytestmark = [pytest.mark.process, pytest.mark.slow]

CUSTOMERS = 4
"""How many customers buy and look at the same time."""
SLOW_CUSTOMERS = 4
"""How many customers buy at the same time over a slow network."""
PIECES, PIECE_SECONDS = 4, 0.5
"""In how many pieces they send a body, and how long it takes until the next one."""
WORKERS = 2
"""How many processes answer for each service of a replica."""
TABLES = {"user": "profiles", "product": "products", "billing": "bills"}
"""Service -> the table that its newer version adds a column to."""
MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "9001"
down_revision = "{head}"
compatible_with = "{head}"


def upgrade():
    op.add_column("{table}", sa.Column("new", sa.String(10), nullable=True))
    op.create_table("table_9001", sa.Column("id", sa.Integer(), primary_key=True))
"""


@dataclass(frozen=True)
class Replica(BackedStack):
    """One replica of each service. `newer` are the services whose newer version it starts."""

    newer: set[str] = field(default_factory=set)

    @override
    def _factory(self, service: str) -> str:
        return f"tests.system.newer_apps:{service}" if service in self.newer else super()._factory(service)


class Load:
    """Customers who buy and look until they are stopped. Each request has a connection of its own."""

    def __init__(self, stack: Stack, id_token: str, product_id: str) -> None:
        self._stack = stack
        self._headers = {"Authorization": f"Bearer {id_token}"}
        self._order = {"items": [{"product_id": product_id, "quantity": 1}]}
        self._stop = threading.Event()
        self.answers: Counter[str] = Counter()
        """How many requests had which outcome: a status with a code, or the error of the connection."""
        self.bought: list[str] = []

    def run(self) -> None:
        """Serve as the target of a thread."""
        asyncio.run(self._run())

    def stop(self) -> None:
        self._stop.set()

    async def _run(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=limits, timeout=TIMEOUT_SECONDS) as http:
            customers = [self._live(http) for _ in range(CUSTOMERS)]
            await asyncio.gather(*customers, *(self._live_slowly(http) for _ in range(SLOW_CUSTOMERS)))

    async def _live(self, http: httpx.AsyncClient) -> None:
        while not self._stop.is_set():
            if (bill := await self._buy(http, json=self._order)) is not None:
                await self._call(http, "GET", "billing", f"/bills/{bill['id']}", headers=self._headers)
            await self._call(http, "GET", "product", "/products?q=thing", headers=self._headers)
            await self._call(http, "GET", "user", "/profile", headers=self._headers)

    async def _live_slowly(self, http: httpx.AsyncClient) -> None:
        order, profile = json.dumps(self._order).encode(), b'{"display_name": "Maya"}'
        while not self._stop.is_set():
            await self._buy(http, content=_slowly(order), headers=_described(order))
            headers = self._headers | _described(profile)
            await self._call(http, "PATCH", "user", "/profile", content=_slowly(profile), headers=headers)

    async def _buy(self, http: httpx.AsyncClient, *, headers: dict[str, str] | None = None, **body: Any) -> Any:
        headers = self._headers | {"Idempotency-Key": secrets.token_hex(8)} | (headers or {})
        bill = await self._call(http, "POST", "billing", "/bills", headers=headers, **body)
        if bill is not None:
            self.bought.append(bill["id"])
        return bill

    async def _call(self, http: httpx.AsyncClient, method: str, service: str, path: str, **request: Any) -> Any:
        where = f"{method} /{path[1:].split('/')[0].split('?')[0]}"
        try:
            answer = await http.request(method, self._stack.url(service) + path, **request)
        except httpx.HTTPError as error:
            self.answers[f"{where}: {type(error).__name__}"] += 1
            return None
        if not answer.is_success:
            self.answers[f"{where}: {answer.status_code} {answer.text}"] += 1
            return None
        self.answers["answered"] += 1
        return answer.json()


async def _slowly(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body in pieces, with pauses."""
    length = -(-len(body) // PIECES)
    for start in range(0, len(body), length):
        yield body[start : start + length]
        await asyncio.sleep(PIECE_SECONDS)


def _described(body: bytes) -> dict[str, str]:
    """Return the header fields for a JSON body that is sent in pieces."""
    return {"Content-Type": "application/json", "Content-Length": str(len(body))}


@dataclass
class Fleet:
    """Two replicas of each service behind load balancers, at the ports of `front`."""

    front: Stack
    replicas: list[tuple[Replica, Supervisor]]
    balancers: dict[str, RoundRobin]

    def restart(self, *, newer: bool, kill: bool = False) -> None:
        """Replace the processes of one replica after the other, as an orchestrator does."""
        for replica, supervisor in self.replicas:
            for service in SERVICES:
                self.balancers[service].take_out(getattr(replica.ports, service))
                supervisor.end(service, kill=kill)
            replica.newer.clear()
            replica.newer.update(SERVICES if newer else ())
            replica.start_services(supervisor)
            for service in SERVICES:
                self.balancers[service].put_back(getattr(replica.ports, service))

    def warnings(self) -> list[str]:
        """Return what the services have logged as warnings and errors."""
        lines = (line for replica, _ in self.replicas for service in SERVICES for line in log_lines(replica, service))
        return [str(line) for line in lines if line.get("level") in ("warning", "error", "critical")]


@pytest.fixture
def newer_migrations(tmp_path: Path) -> Path:
    """The migrations of each service with one more, which the present code does not know."""
    for service, table in TABLES.items():
        present = ROOT / "services" / service / "migrations"
        copytree(present, tmp_path / service, ignore=ignore_patterns("__pycache__"))
        config = Config()
        config.set_main_option("script_location", str(present))
        config.set_main_option("path_separator", "os")
        head = ScriptDirectory.from_config(config).get_current_head()
        migration = MIGRATION.format(head=head, table=table)
        (tmp_path / service / "versions" / "9001_new.py").write_text(migration)
    return tmp_path


@pytest.fixture
def variables(
    postgresql: PostgresServer, redis_server: RedisServer, newer_migrations: Path
) -> dict[str, dict[str, str]]:
    servers = backing(postgresql, redis_server)
    return {service: servers[service] | {MIGRATIONS_VARIABLE: str(newer_migrations)} for service in SERVICES}


@pytest.fixture
def fleet(emulators: Stack, tmp_path: Path, variables: dict[str, dict[str, str]]) -> Iterator[Fleet]:
    front = replace(emulators, data=tmp_path / "front", mode="proof")
    supervisors = [Supervisor(), Supervisor()]
    fleet = Fleet(front, [], {})
    try:
        for number, supervisor in enumerate(supervisors):
            neighbours = {
                "USER_URL": front.url("user"),
                "PRODUCT_URL": front.url("product"),
                # Billing signs its tokens itself: a cold start of the function `token` is not part of a roll-out.
                "MSTOKEN_TOKEN_SERVICE_URL": "",
            }
            replica = Replica(
                Ports.shifted(free_offset()),
                tmp_path / f"replica-{number}",
                project=front.project,
                emulator_host=front.auth_host,
                emulator_ports=front.ports,
                mode=front.mode,
                workers=WORKERS,
                backing={
                    service: variables[service] | neighbours | {"MSTOKEN_BASE_URL": front.url(service)}
                    for service in SERVICES
                },
            )
            replica.start_services(supervisor)
            fleet.replicas.append((replica, supervisor))
        for service in SERVICES:
            ports = [getattr(replica.ports, service) for replica, _ in fleet.replicas]
            fleet.balancers[service] = RoundRobin(getattr(front.ports, service), ports)
        yield fleet
    finally:
        for balancer in fleet.balancers.values():
            balancer.stop()
        for supervisor in supervisors:
            supervisor.stop()


@contextmanager
def running(load: Load) -> Iterator[None]:
    """Run the load in a thread: the processes must be started in the main one."""
    thread = threading.Thread(target=load.run, name="load")
    thread.start()
    try:
        yield
    finally:
        load.stop()
        thread.join()


def columns(url: str, table: str) -> list[str]:
    async def query() -> list[str]:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            rows = await connection.fetch(
                "SELECT column_name FROM information_schema.columns WHERE table_name = $1", table
            )
            return [row["column_name"] for row in rows]
        finally:
            await connection.close()

    return asyncio.run(query())


def test_a_roll_out_and_a_rollback(fleet: Fleet, variables: dict[str, dict[str, str]]) -> None:
    """While customers buy, a newer version takes the place of all processes, and migrates; then the old one comes back.

    Old processes work on the tables of the newer version, and start on them. Every request is answered, none with an
    error, and what was sold was billed once.
    """
    thing: dict[str, Any] = {
        "name": "Thing",
        "description": "",
        "price": {"amount": 100, "currency": "USD"},
        "stock": 100_000,
    }
    with logged_in(fleet.front, ADMIN) as admin:
        product = admin.call("POST", "product", "/products", 201, json=thing)
    login = {"email": MAYA.email, "password": MAYA.password}
    id_token = httpx.post(f"{fleet.front.url('user')}/login", json=login, timeout=TIMEOUT_SECONDS).json()["id_token"]
    load = Load(fleet.front, id_token, product["id"])
    with running(load):
        for newer in True, False:
            fleet.restart(newer=newer)
            for service, table in TABLES.items():
                assert "new" in columns(variables[service]["DATABASE_URL"], table)
    assert set(load.answers) == {"answered"}, "\n".join([str(load.answers), *fleet.warnings()])
    assert len(load.bought) == len(set(load.bought)) > 0
    with logged_in(fleet.front, ADMIN) as admin:
        left = admin.call("GET", "product", f"/products/{product['id']}", 200)["stock"]
    assert left == thing["stock"] - len(load.bought)
