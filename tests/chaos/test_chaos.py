"""Customers buy while everything breaks at random and comes back: every answer is right, and the books balance.

Parts are killed (SIGKILL), hang (SIGSTOP), or lose all packets (`tests/chaos/link.py`). Products sell out.

`CHAOS_SECONDS` is for how long rounds of faults begin: 6 by default, which makes one round. `CHAOS_SEED` decides the
order and the moments. `make chaos` goes on for three minutes with each of three seeds, on each kind of database.
"""

import asyncio
import os
import random
import secrets
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulator.run.logins import ADMIN
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import SERVICES, Stack
from mstoken.wire import Mode
from services.billing.orders import LEASE
from tests.backing import backing as variables_for
from tests.chaos.audit import audit, is_5xx, is_final, server_errors
from tests.chaos.books import Books, read_books
from tests.chaos.customers import TIMEOUT_SECONDS, Administrator, Customer
from tests.chaos.link import Link
from tests.chaos.record import HOME, Record, Revision
from tests.chaos.shop import ChaosShop, ChaosStack, Fault, Part, dropping
from tests.chaos.shop_time import ShopTimeControl
from tests.needs import unmeasured
from tests.postgresql import PostgresServer
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.emulator, pytest.mark.process, pytest.mark.slow, pytest.mark.xdist_group("chaos")]

CHAOS_SECONDS = float(os.environ.get("CHAOS_SECONDS", "6"))
SEEDS = [int(seed) for seed in os.environ.get("CHAOS_SEED", "1").split(",")]
CUSTOMERS = 12
CUSTOMERS_IN_CALM = 3
"""How many of them act at the same time while nothing is broken."""
PLENTIFUL = 5
"""How many products do not sell out. One of them has a price in another currency than all others."""
PLENTY = 1_000_000
SCARCE = 3
"""How many products that sell out are on offer at a time. With each round of faults the next ones are."""
SCARCE_STOCK = 4
ROUND_SECONDS = 6.0
"""A round takes longer than this."""
ASKED_AGAIN = 20
"""How many orders and bills each customer asks for again at the end."""
SETTLE_PAUSE_SECONDS = 0.5
SETTLE_SECONDS = 180.0
ADVANCE_EVERY = 10
"""After how many pauses the clock is advanced, for what still waits for a lease or a pause to end."""
START_SECONDS = 240.0
"""For the emulators and the services, on a busy machine."""


class Chaos:
    """One run: a shop, its customers, and a seed for what is broken, how, and when."""

    def __init__(self, stack: ChaosStack, shop: ChaosShop, urls: dict[str, str], seed: int) -> None:
        self._stack = stack
        self._shop = shop
        self._urls = urls
        self._rng = random.Random(seed)
        self.record = Record(downtimes=shop.downtimes, jumps=stack.shop_time.jumps)

    async def run(self, seconds: float) -> list[str]:
        """Let customers buy before, while and after parts are broken for so many seconds. Return what was wrong."""
        await self._shop.start()
        # Without idle connections: one that the service closes while a request is sent looks like a crash.
        limits = httpx.Limits(max_connections=CUSTOMERS * 2, max_keepalive_connections=0)
        async with httpx.AsyncClient(limits=limits, timeout=TIMEOUT_SECONDS) as http, asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._shop.watch())
            documentation = {
                name: (await http.get(f"{self._stack.url(name)}/openapi.json")).json() for name in SERVICES
            }
            books = await self._trade(http, seconds)
            watching.cancel()
        return audit(self.record, books, documentation)

    async def _trade(self, http: httpx.AsyncClient, seconds: float) -> Books:
        administrator = await self._administrator(http, scarce=SCARCE * (2 + int(seconds / ROUND_SECONDS)))
        customers = [await self._customer(http, number) for number in range(CUSTOMERS)]
        # The first purchases start the functions' processes, which may take longer than a service waits.
        await asyncio.gather(*(customer.buy() for customer in customers[:CUSTOMERS_IN_CALM]))
        self.record.warm_from = time.monotonic()
        await _few_at_a_time(customer.buy() for customer in customers)
        await self._break_things(seconds, administrator, customers)
        books = await self._settled_books()
        self.record.calm_from = time.monotonic()
        await _few_at_a_time(customer.ask_again(ASKED_AGAIN) for customer in customers)
        return books

    async def _break_things(self, seconds: float, administrator: Administrator, customers: Sequence[Customer]) -> None:
        stop = asyncio.Event()
        self.record.broken_from = time.monotonic()
        buying = asyncio.gather(*(customer.buy_until(stop) for customer in customers))
        pricing = asyncio.create_task(administrator.change_prices_until(stop))
        await self._shop.break_things(seconds, self._rng, partial(self.record.catalogue.offer_next, SCARCE))
        stop.set()
        # What a killed process was working on is free as soon as its lease has ended.
        self._stack.shop_time.advance(LEASE.total_seconds())
        await asyncio.gather(buying, pricing)

    async def _settled_books(self) -> Books:
        """Return the books once nothing in them is under way, or as they are when that takes too long."""
        give_up_at = time.monotonic() + SETTLE_SECONDS
        pauses = 0
        while (books := await self.books()).open_ends() and time.monotonic() < give_up_at:
            await asyncio.sleep(SETTLE_PAUSE_SECONDS)
            pauses += 1
            if pauses % ADVANCE_EVERY == 0:
                self._stack.shop_time.advance(LEASE.total_seconds())
        return books

    async def books(self) -> Books:
        return await read_books(self._urls["product"], self._urls["billing"])

    async def _administrator(self, http: httpx.AsyncClient, *, scarce: int) -> Administrator:
        """Return the administrator, who has added the products. So many of them may sell out."""
        login = {"email": ADMIN.email, "password": ADMIN.password}
        answer = await http.post(f"{self._stack.url('user')}/login", json=login)
        token = answer.raise_for_status().json()["id_token"]
        catalogue = self.record.catalogue
        for number in range(PLENTIFUL + scarce):
            stock, currency = PLENTY if number < PLENTIFUL else SCARCE_STOCK, "USD" if number else "EUR"
            first = Revision(f"Thing {number}", 10_000 * (number + 1), time.monotonic(), time.monotonic())
            price = {"amount": first.amount, "currency": currency}
            body = {"name": first.name, "description": "", "price": price, "stock": stock}
            url, headers = f"{self._stack.url('product')}/products", {"Authorization": f"Bearer {token}"}
            added = (await http.post(url, json=body, headers=headers)).raise_for_status().json()
            catalogue.revisions[added["id"]] = [first]
            catalogue.stock[added["id"]] = stock
            catalogue.currency[added["id"]] = currency
            if number >= PLENTIFUL:
                catalogue.scarce.append(added["id"])
        catalogue.offer_next(SCARCE)
        return Administrator(self._stack, http, self.record, self._random(), token)

    async def _customer(self, http: httpx.AsyncClient, number: int) -> Customer:
        """Return a new customer, whose profile has an address."""
        email = f"chaos-{number}-{secrets.token_hex(8)}@example.com"
        body = {"email": email, "password": "a password for the tests"}
        answer = await http.post(f"{self._stack.url('user')}/signup", json=body)
        token = answer.raise_for_status().json()["id_token"]
        headers = {"Authorization": f"Bearer {token}"}
        answer = await http.patch(f"{self._stack.url('user')}/profile", json={"address": HOME}, headers=headers)
        answer.raise_for_status()
        return Customer(self._stack, http, self.record, self._random(), token)

    def _random(self) -> random.Random:
        return random.Random(self._rng.getrandbits(32))

    def report(self, books: Books) -> str:
        """Return the counts of a run, for docs/reliability.md."""
        exchanges, broken = self.record.exchanges, self._shop.broken
        retried = Counter(one.code or "no answer" for one in exchanges if not is_final(one) and not is_5xx(one))
        refusals = {(one.key, one.code) for one in exchanges if is_final(one) and one.code}
        refused = Counter(str(code) for _, code in refusals)
        sold_out = sum(books.stock[name] == 0 for name in self.record.catalogue.scarce)
        return (
            f"{broken.total()} faults ({_listed(broken)}), the clock advanced {len(self.record.jumps)} times; "
            f"{len(exchanges)} requests; answers 5xx: {_listed(server_errors(self.record))}; "
            f"asked again after: {_listed(retried)}; {len(books.bills)} bills for {books.sold.total()} things; "
            f"orders refused: {_listed(refused)}; {sold_out} products sold out, "
            f"{books.released.total()} things put back, {len(books.deliveries)} deliveries"
        )


def _listed(counts: Counter[str]) -> str:
    """Return counts as text: "hang 2, kill 1"."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


async def _few_at_a_time(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for the work of customers, a few of them at a time: in calm the machine is not to be the bottleneck."""
    turns = asyncio.Semaphore(CUSTOMERS_IN_CALM)

    async def in_turn(one: Coroutine[Any, Any, None]) -> None:
        async with turns:
            await one

    await asyncio.gather(*(in_turn(one) for one in work))


@dataclass(frozen=True)
class Emulators:
    """The emulators of this module's shops, on ports that its services use one shop after another."""

    stack: Stack
    supervisor: Supervisor


@pytest.fixture(scope="module")
def own_emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    """Emulators that may be broken. Their functions call Billing in proof mode."""
    folder = tmp_path_factory.mktemp("chaos-emulators")
    stack = Stack(Ports.shifted(free_offset()), folder, project="demo-chaos", mode="proof")
    supervisor = Supervisor()
    with unmeasured():
        try:
            stack.start_emulators(supervisor)
            yield Emulators(stack, supervisor)
        finally:
            supervisor.stop()


@dataclass(frozen=True)
class Backing:
    """Where the services have their data, and what of that can be broken: SQLite cannot.

    `variables` tell the services of it, and `databases` are the URLs for the audit. Both are by service.
    """

    variables: dict[str, dict[str, str]]
    databases: dict[str, str]
    servers: Sequence[Part] = ()
    links: Sequence[Link] = ()


@pytest.fixture(params=["sqlite", "postgresql"])
def backing(request: pytest.FixtureRequest, tmp_path: Path) -> Backing:
    """SQLite, or a PostgreSQL and a Redis that the services reach through links."""
    if request.param == "sqlite":
        return Backing({}, {service: f"sqlite:///{tmp_path / service}.db" for service in SERVICES})
    database: PostgresServer = request.getfixturevalue("own_postgresql")
    store: RedisServer = request.getfixturevalue("own_redis")
    direct = variables_for(database, store)
    links = {server.port: Link(server.port) for server in (database, store)}
    through_links = {
        service: {name: _through(links, url) for name, url in variables.items()}
        for service, variables in direct.items()
    }
    servers = [
        Part(
            name,
            {
                "kill": Fault(server.kill, server.start),
                "hang": Fault(server.hang, server.go_on),
                "drop": dropping(links[server.port]),
            },
        )
        for name, server in (("postgresql", database), ("redis", store))
    ]
    databases = {service: variables["DATABASE_URL"] for service, variables in direct.items()}
    return Backing(through_links, databases, servers, list(links.values()))


def _through(links: Mapping[int, Link], url: str) -> str:
    """Return the URL with the port of a link instead of the port that the link leads to."""
    for port, link in links.items():
        url = url.replace(f":{port}/", f":{link.port}/")
    return url


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.timeout(CHAOS_SECONDS + SETTLE_SECONDS + START_SECONDS)
async def test_every_answer_is_right_and_the_books_balance(
    own_emulators: Emulators, backing: Backing, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever breaks, however and whenever: customers get documented answers only, and each 5xx is an honest 503. Each
    order has one bill at most, at the prices of its time. Nothing is oversold, nothing is sold that is not billed, what
    is held for a refused order is put back, and every delivery arrives.
    """
    ports = own_emulators.stack.ports
    # The two usual ways to run the shop: fresh tokens on one machine, proofs on many.
    mode: Mode = "proof" if backing.servers else "fresh"
    shop_time = ShopTimeControl(tmp_path / "shop-time")
    links = {"user": Link(ports.user), "product": Link(ports.product)}
    auth = Link(ports.signed_auth)
    of_emulators = {field.name: getattr(own_emulators.stack, field.name) for field in fields(Stack)}
    changes = {"data": tmp_path, "mode": mode, "backing": backing.variables}
    stack = ChaosStack(**of_emulators | changes, shop_time=shop_time, links=links, auth=auth)
    shop = ChaosShop(stack, own_emulators.supervisor, backing.servers)
    chaos = Chaos(stack, shop, backing.databases, seed)
    try:
        async with AsyncExitStack() as running:
            for link in (*links.values(), auth, *backing.links):
                await running.enter_async_context(link)
            faults = await chaos.run(CHAOS_SECONDS)
        with capsys.disabled():
            print(f"\nseed {seed}: {chaos.report(await chaos.books())}")  # noqa: T201 - for docs/reliability.md
        assert faults == []
    finally:
        shop.stop()
