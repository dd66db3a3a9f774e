"""How much slower a shop with 100,000 bills and 10,000 products is than an empty one.

    .venv/bin/python -m tests.services.measure_growth

Both shops run in this process, on SQLite and then on PostgreSQL, with their data in memory. Their requests take turns,
so that a busy machine slows both equally. It shows the median of each kind of request and the ratio; the target is 1.2.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from itertools import count
from pathlib import Path

from rich.console import Console

from mstoken.testing import FakeFirebase
from services.billing.app import MIGRATIONS as BILLING
from services.product.app import MIGRATIONS as PRODUCT
from tests.conftest import MEMORY
from tests.postgresql import running_postgresql
from tests.services.billing.conftest import Shop, open_shop
from tests.services.conftest import NewDatabase, migrate, run_in_thread, sqlite_url
from tests.services.shop import BASE_URL, answered
from tests.services.test_queries import BILLS, IN_BILLING, IN_PRODUCT, fill

ROUNDS = 100
PAGE = 20
DEEP_PAGE = 1000
FEW_BILLS = 25
"""The bills of the empty shop: enough for a whole page."""


def main() -> None:
    """Measure, and show the results."""
    console = Console(highlight=False)
    console.print(f"{'':39} {'empty':>9} {BILLS:>9,}  bills")
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)))
        folder.chmod(0o755)  # PostgreSQL runs as another user.
        server = closing.enter_context(running_postgresql(folder))
        numbers = count()
        makers = {
            "sqlite": lambda: sqlite_url(folder / f"{next(numbers)}.db"),
            "postgresql": lambda: server.url(server.make_database()),
        }
        for kind, make in makers.items():
            for line in asyncio.run(_measure(kind, make)):
                console.print(line)


async def _measure(kind: str, make: Callable[[], str]) -> list[str]:
    async with AsyncExitStack() as closing:
        works = {}
        for name, is_full in ("empty", False), ("full", True):
            databases = _databases(kind, make, is_full)
            shop = await closing.enter_async_context(open_shop(databases, FakeFirebase(base_url=BASE_URL)))
            works[name] = await _works(shop)
        seconds: dict[tuple[str, str], list[float]] = {}
        for turn in range(ROUNDS):
            for request in works["empty"]:
                for name, requests in sorted(works.items(), reverse=turn % 2 == 1):
                    began = time.perf_counter()
                    await requests[request]()
                    seconds.setdefault((request, name), []).append(time.perf_counter() - began)
    lines = []
    for request in works["empty"]:
        before, after = (statistics.median(seconds[request, name]) * 1000 for name in ("empty", "full"))
        lines.append(f"{kind:10} {request:28} {before:6.2f} ms {after:6.2f} ms  {after / before:.2f}")
    return lines


def _databases(kind: str, make: Callable[[], str], is_full: bool) -> NewDatabase:
    """Return a function that makes the databases of an empty shop, or of one that has run for long."""
    rows = {BILLING: IN_BILLING, PRODUCT: IN_PRODUCT}

    def new_database(migrations: Path | None = None) -> str:
        url = make()
        if migrations is not None:
            run_in_thread(migrate(url, migrations))
        if is_full and migrations in rows:
            # What is pending or due would be worked on meanwhile.
            statements = (one for one in rows[migrations] if not one.startswith("INSERT INTO outbox"))
            settled = [one.replace("'pending'", "'issued'").replace("'held'", "'sold'") for one in statements]
            run_in_thread(fill(url, kind, settled))
        return url

    return new_database


async def _works(shop: Shop) -> dict[str, Callable[[], Awaitable[None]]]:
    """Return the kinds of requests. The deep page of the empty shop is its first one."""
    kettle = await shop.offer(stock=1_000_000)
    for _ in range(FEW_BILLS):
        answered(await shop.order((kettle["id"], 1)), 201)
    is_full = len(await shop.bills(shop.admin)) == 100
    cursor: dict[str, str] = {}
    for _ in range(DEEP_PAGE // 5 if is_full else 0):
        page = await shop.billing.get("/bills", params={"limit": "100", **cursor}, headers=shop.admin)
        cursor = {"cursor": answered(page)["next_cursor"]}

    async def order() -> None:
        answered(await shop.order((kettle["id"], 1)), 201)

    async def first_page() -> None:
        answered(await shop.billing.get("/bills", headers=shop.maya))

    async def first_page_of_all() -> None:
        answered(await shop.billing.get("/bills", headers=shop.admin))

    async def deep_page_of_all() -> None:
        page = answered(await shop.billing.get("/bills", params=cursor, headers=shop.admin))
        assert len(page["items"]) == PAGE

    async def search() -> None:
        answered(await shop.product.get("/products", params={"q": "kett"}, headers=shop.maya))

    return {
        "POST /bills": order,
        "GET /bills, page 1": first_page,
        "GET /bills of all, page 1": first_page_of_all,
        f"GET /bills of all, page {DEEP_PAGE}": deep_page_of_all,
        "GET /products?q=": search,
    }


if __name__ == "__main__":
    main()
