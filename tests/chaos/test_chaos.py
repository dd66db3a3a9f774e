"""Customers buy while everything is killed at random and comes back; at the end the books balance.

`CHAOS_SECONDS` is how long things are broken (15 by default), `CHAOS_SEED` which things and when. `make chaos` breaks
things for three minutes with each of three seeds, on SQLite and on PostgreSQL with Redis.
"""

import asyncio
import os
import random
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from emulator.run.logins import ADMIN
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.shop_client import logged_in
from emulator.run.stack import SERVICES, Stack
from mstoken.wire import Mode
from tests.backing import BackedStack
from tests.backing import backing as variables_for
from tests.chaos.books import Books, read_books
from tests.chaos.customers import Customer
from tests.chaos.shop import ChaosShop, Part
from tests.needs import COVERAGE_VARIABLE
from tests.postgresql import PostgresServer
from tests.redis_server import RedisServer

CHAOS_SECONDS = float(os.environ.get("CHAOS_SECONDS", "15"))
SEEDS = [int(seed) for seed in os.environ.get("CHAOS_SEED", "1").split(",")]
CUSTOMERS = 12
PRODUCTS = 8
INITIAL_STOCK = int(12 * CHAOS_SECONDS)
SETTLE_PAUSE_SECONDS = 0.5
SETTLE_SECONDS = 420.0
"""For what was under way: reservations that were abandoned are held for minutes, and the queue waits between tries."""


class Chaos:
    """One run: a shop, its customers, and a seed for what goes wrong."""

    def __init__(self, stack: Stack, shop: ChaosShop, urls: dict[str, str], seed: int) -> None:
        self._stack = stack
        self._shop = shop
        self._urls = urls
        self._rng = random.Random(seed)
        self.customers: list[Customer] = []
        self.initial_stock: dict[str, int] = {}

    def stock_up(self) -> None:
        """Products, added by the administrator."""
        with logged_in(self._stack, ADMIN) as admin:
            for number in range(PRODUCTS):
                price = {"amount": 100 + number, "currency": "USD"}
                product = {"name": f"Thing {number}", "description": "", "price": price, "stock": INITIAL_STOCK}
                added = admin.call("POST", "product", "/products", 201, json=product)
                self.initial_stock[added["id"]] = INITIAL_STOCK

    async def run(self, seconds: float) -> None:
        """Everybody buys while things break; then nothing breaks any more, and every order gets its answer."""
        limits = httpx.Limits(max_connections=CUSTOMERS * 2)
        async with httpx.AsyncClient(limits=limits) as client:
            seeds = [self._rng.getrandbits(32) for _ in range(CUSTOMERS)]
            self.customers = [
                Customer(self._stack, client, number, random.Random(seed)) for number, seed in enumerate(seeds)
            ]
            for customer in self.customers:
                await customer.sign_up()
            stop_breaking, stop_buying, stop_mending = asyncio.Event(), asyncio.Event(), asyncio.Event()
            buying = [
                asyncio.create_task(customer.buy_until(stop_buying, list(self.initial_stock)))
                for customer in self.customers
            ]
            mending = asyncio.create_task(self._shop.mend(stop_mending))
            breaking = asyncio.create_task(self._shop.break_things(stop_breaking, self._rng))
            await asyncio.sleep(seconds)
            stop_breaking.set()
            await breaking
            stop_buying.set()
            await asyncio.gather(*buying)
            await self._settle()
            stop_mending.set()
            await mending

    async def _settle(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while (await self.books()).open_ends() and time.monotonic() < deadline:  # noqa: ASYNC110 - others' databases
            await asyncio.sleep(SETTLE_PAUSE_SECONDS)

    async def books(self) -> Books:
        return await read_books(self._urls["product"], self._urls["billing"])

    def report(self, books: Books) -> str:
        """The counts of a run, for docs/reliability.md."""
        seen = [customer.seen for customer in self.customers]
        kills = ", ".join(f"{name} {count}" for name, count in sorted(Counter(self._shop.kills).items()))
        return (
            f"{len(self._shop.kills)} kills ({kills}); "
            f"{sum(len(one.bills) for one in seen)} bills seen by customers, "
            f"{len(books.bills)} issued, "
            f"{sum(one.sold_out for one in seen)} orders sold out; "
            f"{len(books.deliveries)} deliveries, all of {sum(books.sold.values())} things sold"
        )


Backing = tuple[dict[str, dict[str, str]], list[Part]]


@pytest.fixture(params=["sqlite", "postgresql"])
def backing(request: pytest.FixtureRequest) -> Backing:
    """The variables that tell the services where their data is, and the servers that can be killed: SQLite has none."""
    if request.param == "sqlite":
        return {}, []
    database: PostgresServer = request.getfixturevalue("own_postgresql")
    store: RedisServer = request.getfixturevalue("own_redis")
    servers = [Part("postgresql", database.kill, database.start), Part("redis", store.kill, store.start)]
    return variables_for(database, store), servers


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.timeout(CHAOS_SECONDS + SETTLE_SECONDS + 240)
async def test_the_books_balance(
    backing: Backing,
    seed: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every bill that a customer saw is there, no key has two, stock + held + sold is what it was, and every delivery
    that was asked for arrives.
    """
    told, servers = backing
    project = f"demo-chaos-{seed}"
    # As DESIGN has them: fresh tokens on one machine, proofs on many.
    mode: Mode = "proof" if told else "fresh"
    stack = BackedStack(Ports.shifted(free_offset()), tmp_path, project=project, mode=mode, backing=told)
    urls = {
        service: told.get(service, {}).get("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path / service}.db")
        for service in SERVICES
    }
    emulators = Supervisor()
    monkeypatch.delenv(COVERAGE_VARIABLE, raising=False)  # The processes here run nothing that no other test runs.
    try:
        stack.start_emulators(emulators)
        shop = ChaosShop(stack, emulators, servers)
        try:
            chaos = Chaos(stack, shop, urls, seed)
            await asyncio.to_thread(chaos.stock_up)
            await chaos.run(CHAOS_SECONDS)
            books = await chaos.books()
            with capsys.disabled():
                print(f"\nseed {seed}: {chaos.report(books)}")  # noqa: T201 - the report is asked for
            assert books.faults(chaos.initial_stock, [customer.seen for customer in chaos.customers]) == []
            assert any(customer.seen.bills for customer in chaos.customers)
        finally:
            shop.stop()
    finally:
        emulators.stop()
