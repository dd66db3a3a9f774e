"""A shop with up to a million bills and 100,000 products, next to an empty one: pages, searches and purchases.

All services of all shops run in this process, with their data in SQLite and then in PostgreSQL. The shops take turns.
The databases are in memory, if there is room: a disk that is busy with something else would hide what is looked for.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import count
from pathlib import Path

from bench.growth.names import (
    DEEP_PAGE_OF_ALL,
    EMPTY,
    FIRST_PAGE,
    FIRST_PAGE_OF_ALL,
    PAGE,
    POST_BILLS,
    SEARCH,
    SEARCH_COMMON,
    in_shop,
)
from bench.results import Measurement, Plan
from mstoken.testing import FakeFirebase
from services.billing.app import MIGRATIONS as BILLING
from services.common.pages import cursor_after
from services.product.app import MIGRATIONS as PRODUCT
from tests.postgresql import PostgresServer, programs
from tests.services.billing.conftest import Shop, open_shop
from tests.services.conftest import NewDatabase, migrate, run_in_thread, sqlite_url
from tests.services.filling import fill, in_billing, in_product
from tests.services.shop import BASE_URL, answered

SIZES = (0, 1_000, 25_000)
LARGE_SIZES = (0, 1_000, 10_000, 100_000, 1_000_000)
"""How many bills there are. There is one product for ten bills."""
BILLS_FOR_A_PRODUCT = 10
ROUNDS, LARGE_ROUNDS = 15, 60
PAGE_ITEMS, DEEP_PAGE = 20, 1_000

MEMORY = Path("/dev/shm")  # noqa: S108 - only a folder of our own in it is used
MEMORY_BYTES = 6_000_000_000
"""Free bytes that it must have for the largest shops."""

Request = Callable[[], Awaitable[None]]


def measure_sqlite(plan: Plan) -> list[Measurement]:
    """Measure the shops on SQLite."""
    with tempfile.TemporaryDirectory(dir=_memory() or plan.folder) as name:
        return on_sqlite(plan, Path(name), *_extent(plan))


def measure_postgresql(plan: Plan) -> list[Measurement]:
    """Measure the shops on PostgreSQL, if this machine has it."""
    if programs() is None:
        plan.leave_out("Growth of a shop on PostgreSQL: PostgreSQL is not installed (Debian: apt install postgresql)")
        return []
    server = PostgresServer(_memory())
    try:
        server.start()
        make = partial(_new_database, server)
        return asyncio.run(_shops(plan, "PostgreSQL", make, *_extent(plan)))
    finally:
        server.remove()


def _extent(plan: Plan) -> tuple[Sequence[int], int]:
    """Return how many bills the shops have, and the number of rounds."""
    return (LARGE_SIZES, LARGE_ROUNDS) if plan.is_large else (SIZES, ROUNDS)


def _memory() -> Path | None:
    """Return a folder in memory with enough room for the largest shops, or None."""
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES else None


def _new_database(server: PostgresServer) -> str:
    return server.url(server.make_database())


def on_sqlite(plan: Plan, folder: Path, sizes: Sequence[int], rounds: int) -> list[Measurement]:
    """Measure shops with so many bills each, on SQLite files in `folder`."""
    numbers = count()
    return asyncio.run(_shops(plan, "SQLite", lambda: sqlite_url(folder / f"{next(numbers)}.db"), sizes, rounds))


async def _shops(
    plan: Plan, database: str, make: Callable[[], str], sizes: Sequence[int], rounds: int
) -> list[Measurement]:
    """Measure shops on a kind of database. `make` makes a database and returns its URL."""
    async with AsyncExitStack() as closing:
        works: dict[int, dict[str, Request]] = {}
        for size in sizes:
            plan.say(f"{database}, {size:,} bills")
            databases = _databases(database.lower(), make, size)
            shop = await closing.enter_async_context(open_shop(databases, FakeFirebase(base_url=BASE_URL)))
            works[size] = await _works(shop, size)
        times: dict[tuple[str, int], list[float]] = {}
        for turn in range(rounds + 1):
            for request in works[sizes[-1]]:
                for size, requests in sorted(works.items(), reverse=turn % 2 == 1):
                    if request not in requests:
                        continue
                    began = time.perf_counter()
                    await requests[request]()
                    took = time.perf_counter() - began
                    if turn:
                        times.setdefault((request, size), []).append(took * 1000)
    return [
        Measurement(in_shop(request, database), PAGE, "ms", values, _stored(request, size))
        for (request, size), values in times.items()
    ]


def _stored(request: str, size: int) -> int:
    """Return how many bills or products the request is about."""
    return max(1, size // BILLS_FOR_A_PRODUCT) if request in (SEARCH, SEARCH_COMMON) else size or EMPTY


def _databases(kind: str, make: Callable[[], str], size: int) -> NewDatabase:
    """Return a function that makes the databases of a shop with so many bills."""
    rows: dict[Path, Sequence[str]] = {
        BILLING: in_billing(backlog=0),
        PRODUCT: in_product(size // BILLS_FOR_A_PRODUCT, backlog=0),
    }

    def new_database(migrations: Path | None = None) -> str:
        url = make()
        if migrations is not None:
            run_in_thread(migrate(url, migrations))
        if size and migrations in rows:
            run_in_thread(fill(url, kind, size, list(rows[migrations])))
        return url

    return new_database


async def _works(shop: Shop, size: int) -> dict[str, Request]:
    """Return the kinds of requests. The deep page of the empty shop is its first one; a small shop has none."""
    kettle = await shop.offer(stock=1_000_000)
    for _ in range(EMPTY):
        answered(await shop.order((kettle["id"], 1)), 201)
    # The ids of the bills that were there before are their numbers. The newest bill is the first in the list.
    deep_id = size - (DEEP_PAGE - 1) * PAGE_ITEMS + EMPTY
    cursor = {"cursor": cursor_after(f"{deep_id:032x}")} if deep_id > PAGE_ITEMS else {}

    async def order() -> None:
        answered(await shop.order((kettle["id"], 1)), 201)

    async def first_page() -> None:
        answered(await shop.billing.get("/bills", headers=shop.maya))

    async def first_page_of_all() -> None:
        answered(await shop.billing.get("/bills", headers=shop.admin))

    async def deep_page_of_all() -> None:
        page = answered(await shop.billing.get("/bills", params=cursor, headers=shop.admin))
        if len(page["items"]) != PAGE_ITEMS:
            raise RuntimeError(f"Page {DEEP_PAGE} of {size} bills has {len(page['items'])} items.")

    async def search() -> None:
        answered(await shop.product.get("/products", params={"q": "kett"}, headers=shop.maya))

    async def search_common() -> None:
        answered(await shop.product.get("/products", params={"q": "steel"}, headers=shop.maya))

    works: dict[str, Request] = {
        POST_BILLS: order,
        FIRST_PAGE: first_page,
        FIRST_PAGE_OF_ALL: first_page_of_all,
        SEARCH: search,
    }
    if size:
        works[SEARCH_COMMON] = search_common
    if cursor or not size:
        works[DEEP_PAGE_OF_ALL] = deep_page_of_all
    return works
