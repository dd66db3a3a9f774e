"""A purchase, `POST /bills`, from end to end: the real services and emulators, as `make run` starts them.

The three services, the emulators and the client share the cores of this machine, so the bills a second are those of one
machine. A case says what it has beside one worker for each service, SQLite, and four clients.
"""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import NO_ANSWER, Load, LoadClient, Outcome
from bench.page_load import measure_page
from bench.results import CPU, ERRORS, P50, P99, THROUGHPUT, Measurement, Plan, percentile
from bench.route import FRESH, OFF, POSTGRESQL, PROOF, TWO_WORKERS, replay_url
from bench.servers import Server, postgresql
from emulator.run.catalogue import add_catalogue
from emulator.run.logins import ADMIN, MAYA, TOMAS, Login
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.shop_client import anyone, logged_in
from emulator.run.stack import SERVICES, Stack
from tests.postgresql import PostgresServer

TITLE = "A purchase"

CLIENTS, MORE_CLIENTS = 4, 16
EMULATORS = "the emulators"
ROUND_SECONDS = 1.0
ROUNDS, MIN_ROUNDS = 8, 2
WARM_UP = 32
WARM_UPS = 20
MOST_BILLS_A_SECOND = 600.0
"""More than a shop on one machine makes, so that a round does not run out of requests."""
PRODUCTS = 20
STOCK = 1_000_000
CREATED, UNAVAILABLE = 201, 503


def case_name(mode: str, *, workers: int = 1, database: str = "", clients: int = CLIENTS) -> str:
    """Return the name of a case, such as "proof mode, PostgreSQL, 16 clients"."""
    parts = (mode, TWO_WORKERS if workers > 1 else "", database, f"{clients} clients" if clients != CLIENTS else "")
    return ", ".join(filter(None, parts))


def cpu_of(process: str) -> str:
    """Return the name of the quantity: the processor time that a process spends on a bill."""
    return f"{CPU}, {process}"


def measure(plan: Plan) -> list[Measurement]:
    """Measure purchases in all cases, and the page load of the storefront."""
    ends_at = time.monotonic() + plan.seconds
    found: list[Measurement] = []
    with ExitStack() as stack:
        client = stack.enter_context(LoadClient())
        database = stack.enter_context(postgresql(plan, f"{TITLE} on {POSTGRESQL}"))
        plan.say("starting the emulators")
        supervisor = Supervisor()
        stack.callback(supervisor.stop)
        emulators = ShopStack(Ports.shifted(free_offset()), _folder(plan.folder / "emulators"), project="demo-bench")
        emulators.start_emulators(supervisor)
        groups = _groups(emulators, database)
        for number, (name, shops) in enumerate(groups.items()):
            plan.say(name)
            left = (ends_at - time.monotonic()) / (len(groups) - number)
            found += compare(shops, supervisor, client, time.monotonic() + left)
        plan.say("the storefront")
        found += _page_load(emulators, plan)
    return found


@dataclass(frozen=True)
class ShopStack(Stack):
    """A stack that may have no authentication between its services, and PostgreSQL."""

    is_open: bool = False
    database_urls: Mapping[str, str] = field(default_factory=dict)

    def _factory(self, service: str) -> str:
        return f"bench.apps:open_{service}" if self.is_open else super()._factory(service)

    def _service_environment(self, service: str) -> dict[str, str]:
        own = super()._service_environment(service)
        return own | ({"DATABASE_URL": self.database_urls[service]} if self.database_urls else {})


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _groups(emulators: ShopStack, database: PostgresServer | None) -> dict[str, dict[str, ShopStack]]:
    """Return the shops, by the names of their cases. Those of a group are compared, and are up at the same time."""

    def shops(modes: tuple[str, ...], workers: int, where: str) -> dict[str, ShopStack]:
        return {
            case_name(mode, workers=workers, database=where): emulators.beside(
                Ports.shifted(free_offset()),
                _folder(emulators.data.parent / f"{mode}-{workers}-{where}".replace(" ", "-")),
                mode="fresh" if mode == FRESH else "proof",
                is_open=mode == OFF,
                workers=workers,
                database_urls=_databases(database) if where and database else {},
            )
            for mode in modes
        }

    found = {"one worker for each service": shops((OFF, PROOF, FRESH), 1, "")}
    if database is not None:
        found[f"on {POSTGRESQL}"] = shops((OFF, PROOF), 1, POSTGRESQL)
    found[f"{TWO_WORKERS} for each service"] = shops((OFF, PROOF), 2, "")
    return found


def _databases(server: PostgresServer) -> dict[str, str]:
    return {service: server.url(server.make_database()) for service in SERVICES}


def compare(
    shops: Mapping[str, ShopStack], emulators: Supervisor, client: LoadClient, ends_at: float
) -> Iterator[Measurement]:
    """Start the shops, and load them in turns until about `ends_at`. Yield what was found."""
    with ExitStack() as stack:
        running = {name: stack.enter_context(_running(shop, emulators, client)) for name, shop in shops.items()}
        for shop in running.values():
            shop.warm_up()
        took = 0.0
        for number in range(ROUNDS):
            began = time.monotonic()
            if number >= MIN_ROUNDS and began + took > ends_at:
                break
            for shop in running.values():
                for clients in (CLIENTS, MORE_CLIENTS):
                    shop.round(clients)
            took = time.monotonic() - began
    for name, shop in running.items():
        yield from shop.measurements(name)


@contextmanager
def _running(shop: ShopStack, emulators: Supervisor, client: LoadClient) -> Iterator["_Shop"]:
    supervisor = Supervisor()
    try:
        for service in SERVICES:
            replay_url(shop.data / f"{service}-spent.db")
        shop.start_services(supervisor)
        yield _Shop(shop, supervisor, emulators, client)
    finally:
        supervisor.stop()


@dataclass
class _Rounds:
    """What the rounds with a number of clients have found, a value for each round."""

    bills: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    processor: dict[str, list[float]] = field(default_factory=dict)


class _Shop:
    """A running shop with products and customers."""

    def __init__(self, stack: ShopStack, services: Supervisor, emulators: Supervisor, client: LoadClient) -> None:
        self._port = stack.ports.billing
        self._client = client
        self._supervisors = services, emulators
        self._servers = {name: [Server(services.process(name), 0)] for name in SERVICES}
        self._servers[EMULATORS] = [Server(process, 0) for process in emulators.processes]
        self._rounds: dict[int, _Rounds] = {}
        self._customers = Customers(stack)

    def warm_up(self) -> None:
        """Make bills until none is refused. The first ones wait for the functions, whose processes start one by one.

        Raises RuntimeError if bills are still refused after many attempts.
        """
        for _ in range(WARM_UPS):
            outcome = self._send(Load(self._port, self._customers.requests(WARM_UP), MORE_CLIENTS))
            if outcome.statuses == {CREATED: WARM_UP}:
                return
        raise RuntimeError(f"bills are refused: {outcome.statuses}")

    def round(self, clients: int) -> None:
        """Make bills for `ROUND_SECONDS`, with so many clients."""
        requests = self._customers.requests(int(MOST_BILLS_A_SECOND * ROUND_SECONDS))
        before = self._processor_seconds()
        outcome = self._send(Load(self._port, requests, clients, seconds=ROUND_SECONDS))
        after = self._processor_seconds()
        bills = outcome.expect(CREATED, UNAVAILABLE, NO_ANSWER).statuses[CREATED]
        found = self._rounds.setdefault(clients, _Rounds())
        found.bills.append(bills / outcome.seconds)
        found.p50.append(1000 * percentile(outcome.latencies, 50))
        found.p99.append(1000 * percentile(outcome.latencies, 99))
        found.errors.append(100 * (1 - bills / len(outcome.exchanges)))
        for name in before if bills else ():
            found.processor.setdefault(name, []).append(1000 * (after[name] - before[name]) / bills)

    def measurements(self, name: str) -> Iterator[Measurement]:
        """Yield what the rounds have found."""
        for clients, found in self._rounds.items():
            case = case_name(name, clients=clients)
            yield Measurement(case, THROUGHPUT, "1/s", found.bills)
            yield Measurement(case, P50, "ms", found.p50)
            yield Measurement(case, P99, "ms", found.p99)
            for process, values in found.processor.items():
                yield Measurement(case, cpu_of(process), "ms", values)
            yield Measurement(case, ERRORS, "%", found.errors)

    def _send(self, load: Load) -> Outcome:
        outcome = self._client.run(load)
        for supervisor in self._supervisors:
            supervisor.check()
        return outcome

    def _processor_seconds(self) -> dict[str, float]:
        return {name: sum(server.processor_seconds() for server in them) for name, them in self._servers.items()}


class Customers:
    """Two customers of a shop, which has enough products."""

    def __init__(self, stack: Stack) -> None:
        self._products = _add_products(stack)
        self._tokens = [_log_in(stack, MAYA), _log_in(stack, TOMAS)]

    def requests(self, count: int) -> list[bytes]:
        """Return the requests of so many purchases. Each is one of one product."""
        return [
            bill_request(
                self._tokens[number % len(self._tokens)],
                {"product_id": self._products[number % len(self._products)], "quantity": 1},
            )
            for number in range(count)
        ]


def bill_request(token: str, item: Mapping[str, object]) -> bytes:
    """Return the request of one purchase, by the user with this token."""
    body = json.dumps({"items": [item]}).encode()
    lines = (
        "POST /bills HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"Authorization: Bearer {token}",
        f"Idempotency-Key: {secrets.token_urlsafe(16)}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def _add_products(stack: Stack) -> list[str]:
    """Add products of which there are enough, and return their ids."""
    with logged_in(stack, ADMIN) as admin:
        return [
            admin.call("POST", "product", "/products", CREATED, json=_product(number))["id"]
            for number in range(PRODUCTS)
        ]


def _product(number: int) -> dict[str, object]:
    price = {"amount": 1_250 + number, "currency": "EUR"}
    return {"name": f"Coffee {number}", "description": "Beans from one farm.", "price": price, "stock": STOCK}


def _log_in(stack: Stack, login: Login) -> str:
    """Return the ID token of a user."""
    body = {"email": login.email, "password": login.password}
    with anyone(stack) as client:
        return str(client.call("POST", "user", "/login", 200, json=body)["id_token"])


def _page_load(shop: ShopStack, plan: Plan) -> list[Measurement]:
    """Start the shop whose storefront the emulators serve, and load its page of products."""
    supervisor = Supervisor()
    try:
        shop.start_services(supervisor)
        add_catalogue(shop)
        return list(measure_page(shop, plan))
    finally:
        supervisor.stop()
