"""Every statement that the stores send finds its rows by an index, in a shop that has run for long.

The statements are collected while all calls of the stores run. A statement that this use does not reach fails the test,
so that a new one is not forgotten.
"""

import ast
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, make_url
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import create_async_engine
from typing_extensions import override

from services.billing.app import MIGRATIONS as BILLING
from services.billing.bills import Bill, BillLine
from services.billing.deliveries import EARLIER_STATUSES, Delivery
from services.billing.errors import OutOfStock
from services.billing.order_store import OrderStore
from services.billing.orders import IdempotencyKey, Lease, Order, OrderItem
from services.billing.outbox import Outbox
from services.billing.store import BillStore, DeliveryStore
from services.billing.unfinished import UnfinishedWork
from services.common.database import Database
from services.common.ids import new_id
from services.common.transactions import Transaction
from services.product.app import MIGRATIONS as PRODUCT
from services.product.catalogue import Catalogue
from services.product.reservations import HOLD, ReservationItem, Reservations
from services.product.store import ProductStore, ReservationStore
from services.user.app import MIGRATIONS as USER
from services.user.attempts import Attempt, Limit
from services.user.profiles import Profile
from services.user.store import AttemptStore, ProfileStore
from tests.services.conftest import NewDatabase
from tests.services.filling import fill, in_billing, in_product, in_user
from tests.services.shop import ADDRESS

pytestmark = [pytest.mark.slow, pytest.mark.both_databases]

ROOT = Path(__file__).parents[2]
BILLS, PRODUCTS, BACKLOG = 100_000, 10_000, 500
"""How many bills, orders, reservations, attempts and networks there are; how many products; and how much waits."""
MAX_STEPS = 20_000
"""SQLite: how many steps of its virtual machine a statement may take. To look at each product takes twice as many."""
MAX_ROWS_REMOVED = 1_000
"""PostgreSQL: how many rows a statement may look at and not use."""
MAX_ROWS = 1_000
"""PostgreSQL: how many rows a step of a statement may have."""

EXECUTIONS = {f"connection.{name}" for name in ("execute", "scalar", "scalars", "stream", "exec_driver_sql")} | {
    "self._database.execute",
    "self._database.fetch",
    "database.fetch",
}
"""How the stores execute statements."""

BEFORE_THE_STORES = ("database.py", "sqlite.py", "postgresql.py", "transactions.py", "migrations.py", "revisions.py")
"""Modules whose statements are not for the tables of a service."""

UID = "user-7"


@dataclass(frozen=True)
class Sent:
    """A statement as the driver got it, with its parameters, or the first of several rows of them."""

    statement: str
    parameters: Any


class WatchedTransaction(Transaction):
    """A transaction that notes from where its statements are executed."""

    def __init__(self, transaction: Transaction, places: set[tuple[str, int]]) -> None:
        self._transaction = transaction
        self._places = places

    @override
    def execute(self, *arguments: Any) -> Any:
        frame = sys._getframe(1)
        self._places.add((frame.f_code.co_filename, frame.f_lineno))
        return self._transaction.execute(*arguments)


class WatchedDatabase(Database):
    """A database whose stores are watched: `places` are the files and lines that have executed statements."""

    def __init__(self, url: str, migrations: Path) -> None:
        super().__init__(url, migrations)
        self.places: set[tuple[str, int]] = set()

    @override
    def fetch(self, *arguments: Any) -> Any:
        frame = sys._getframe(1)
        self.places.add((frame.f_code.co_filename, frame.f_lineno))
        return super().fetch(*arguments)

    @override
    def execute(self, *arguments: Any) -> Any:
        frame = sys._getframe(1)
        self.places.add((frame.f_code.co_filename, frame.f_lineno))
        return super().execute(*arguments)

    @override
    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        async with super().read() as connection:
            yield WatchedTransaction(connection, self.places)

    @override
    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        async with super().write() as connection:
            yield WatchedTransaction(connection, self.places)


@contextmanager
def collecting() -> Iterator[dict[str, Sent]]:
    """Collect the statements that all engines send, by their text."""
    sent: dict[str, Sent] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, is_many: bool) -> None:
        if not statement.startswith(("BEGIN", "SELECT pg_advisory")):
            sent.setdefault(statement, Sent(statement, parameters[0] if is_many else parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def use_billing(database: Database) -> None:
    """Make every call of Billing's stores, in each of their forms."""
    now = datetime.now(UTC)  # After the database was filled: its rows are due by then.
    orders, bills, deliveries = OrderStore(database), BillStore(database), DeliveryStore(database)
    lease = Lease("mine", now + timedelta(seconds=30))
    made = []
    for number in range(3):
        key = IdempotencyKey(f"k{number}", "x")
        order = Order(new_id(), UID, key, [OrderItem("a", 1)], now)
        assert await orders.add(order, lease, forget_before=now - timedelta(days=1))
        made.append(order)
    again = replace(made[0], id=new_id())
    assert not await orders.add(again, lease, forget_before=now - timedelta(days=1))
    assert await orders.under_key(UID, "k0") is not None
    due = await orders.due(at=now, limit=50)
    assert await orders.take(due[0], lease, at=now) is not None
    assert await orders.renew(due[0], lease)
    assert await orders.free(due[0], lease, at=now)
    assert await orders.refuse(made[0].id, lease, OutOfStock())
    assert await orders.abandon(made[0].id, lease)
    bill = Bill(made[1].id, UID, "issued", now, "USD", [BillLine("a", "x", 1, 1), BillLine("b", "x", 1, 1)])
    assert await orders.issue(bill, lease)
    await orders.waiting()
    await orders.forgettable(before=now - timedelta(days=1))
    assert await orders.forget(before=now - timedelta(days=1), limit=100) == 100

    middle = f"{BILLS // 2:032x}"
    for uid in UID, None:
        assert await bills.get(bill.id, uid) == bill
        assert len(await bills.find(uid=uid, before=None, limit=21)) == 21
        assert len(await bills.find(uid=uid, before=middle, limit=21)) == 21
    delivery = Delivery(new_id(), bill.id, "requested", ADDRESS, now, now)
    assert await deliveries.add(delivery)
    assert await deliveries.of_bill(bill.id) == delivery

    outbox = Outbox(database)
    until = now + timedelta(seconds=30)
    await UnfinishedWork(database).read()
    claims = await outbox.claim("lease", now=now, until=until, limit=8)
    assert await outbox.handed_over(claims[0], due_again=now + timedelta(minutes=10))
    assert await outbox.postpone(claims[1], until=now + timedelta(minutes=1))
    assert await outbox.give_back("lease", until=until, now=now)
    await outbox.waiting(at=now)
    await outbox.bring_forward(now=now, latest=now + timedelta(days=1))
    [claim] = await outbox.claim("lease", now=now, until=now + timedelta(days=2), limit=1)
    await outbox.bring_forward(now=now, latest=now + timedelta(days=1))
    await deliveries.advance(claim.delivery_id, to="delivered", from_any_of=EARLIER_STATUSES["delivered"], at=now)


async def use_product(database: Database) -> None:
    """Make every call of Product's stores, in each of their forms."""
    now = datetime.now(UTC)  # After the database was filled: its rows are due by then.
    store, catalogue = ProductStore(database), Catalogue(ProductStore(database))
    first = await catalogue.add("Kettle", "", 100, "USD", 10)
    second = await catalogue.add("Pot", "", 100, "USD", 10)
    await catalogue.get(first.id)
    await catalogue.change(first.id, {"name": "Blue kettle"})
    middle = f"{PRODUCTS // 2:032x}"
    for words in None, "rare", "word123", "steel prod rare":
        for after in None, middle:
            assert await store.find(ids=None, words=words, after=after, limit=21) or words == "word123"
    ids = [f"{number:032x}" for number in range(1, 100)]
    await store.find(ids=ids, words=None, after=None, limit=21)
    await store.find(ids=ids, words="rare", after=middle, limit=21)

    reservations, store_of_bills = Reservations(ReservationStore(database)), ReservationStore(database)
    items = [ReservationItem(first.id, 1), ReservationItem(second.id, 1)]
    sold, released = new_id(), new_id()
    for bill_id in sold, released:
        await reservations.hold(bill_id, items)
    await reservations.commit(sold)
    await catalogue.remove(second.id)
    await reservations.release(released)
    assert await store_of_bills.expired(at=now, limit=100)
    await store_of_bills.waiting(at=now)
    await store_of_bills.forgettable(before=now - timedelta(days=1))
    assert await store_of_bills.forget(before=now - timedelta(days=1), limit=100) == 100
    assert await store_of_bills.forget_products(before=now - timedelta(days=1), limit=100) == 100
    assert timedelta(hours=1) > HOLD


async def use_user(database: Database) -> None:
    """Make every call of User's stores."""
    profiles, attempts = ProfileStore(database), AttemptStore(database)
    await profiles.add(Profile("maya"))
    assert await profiles.get("maya")
    await profiles.change("maya", {"display_name": "Maya"})
    limit = Limit(10, 1000, 30, 900)
    attempt = Attempt(new_id(), 200_000, "account-7", "subject-7")
    assert await attempts.add(attempt, {"subject-7": limit, "subject-8": limit}) == 0
    await attempts.knows_network("account-7", f"{7:032x}", since=0)
    await attempts.log_in_succeeded(attempt, keep_networks=10, since=0)
    await attempts.add(attempt, {"subject-9": limit})
    assert await attempts.remove(attempt)
    await attempts.forgettable(before=BILLS)
    assert await attempts.forget(before=BILLS, limit=100) == 100
    assert await attempts.forget_networks(before=BACKLOG, limit=100) == 100


def statements_of(service: str) -> set[tuple[str, int, int]]:
    """Return the places in a service's code that execute a statement: file, first line, and last line."""
    folders = [ROOT / "services" / service, ROOT / "services" / "common"]
    found = set()
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        if "migrations" in path.parts or path.name in BEFORE_THE_STORES:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in EXECUTIONS:
                found.add((str(path), node.lineno, node.end_lineno or node.lineno))
    return found


def sqlite_complaints(url: str, sent: Sent) -> list[str]:
    """Return what is slow about a statement: a table that is read as a whole, or too many steps."""
    connection = sqlite3.connect(make_url(url).database or "", isolation_level=None)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sent.statement}", sent.parameters)]
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 100
        return 0

    connection.set_progress_handler(count, 100)
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(sent.statement, sent.parameters).fetchall()
    except sqlite3.IntegrityError:
        pass  # The row is there since the first time.
    finally:
        connection.set_progress_handler(None, 0)
        connection.execute("ROLLBACK")
        connection.close()
    scans = [line for line in plan if line.startswith("SCAN") and "INDEX" not in line and "subquery" not in line]
    scans = [line for line in scans if not line.startswith(("SCAN anon", "SCAN CONSTANT", "SCAN (subquery"))]
    return [*scans, *([f"{steps} steps"] if steps > MAX_STEPS else [])]


async def postgresql_complaints(url: str, sent: Sent) -> list[str]:
    """Return what is slow about a statement: a table that is read as a whole, or rows that are read and not used."""
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {sent.statement}"
            try:
                plan = (await connection.exec_driver_sql(explain, sent.parameters)).scalar_one()
            except Exception as error:
                if "UniqueViolation" in repr(error):
                    return []  # The row is there since the first time.
                raise
            finally:
                await connection.rollback()
    finally:
        await engine.dispose()
    return list(_complaints_of((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))


def _complaints_of(node: dict[str, Any]) -> Iterator[str]:
    if node["Node Type"] == "Seq Scan":
        yield f"Seq Scan on {node['Relation Name']}"
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    if removed * node.get("Actual Loops", 1) > MAX_ROWS_REMOVED:
        yield f"{removed} rows removed from {node.get('Relation Name')}"
    rows = node["Actual Rows"] * node["Actual Loops"]
    if rows > MAX_ROWS:
        yield f"{rows} rows of {node['Node Type']}"
    for child in node.get("Plans", ()):
        yield from _complaints_of(child)


async def complaints(kind: str, url: str, sent: dict[str, Sent]) -> dict[str, list[str]]:
    """Return what is slow about the statements, by their text. Statements with nothing slow are left out."""
    found: dict[str, list[str]] = {}
    for one in sent.values():
        slow = sqlite_complaints(url, one) if kind == "sqlite" else await postgresql_complaints(url, one)
        if slow:
            found[one.statement] = slow
    return found


@pytest.mark.parametrize("service", ["billing", "product", "user"])
async def test_every_statement_finds_its_rows_by_an_index(
    new_database: NewDatabase, database_kind: str, service: str
) -> None:
    """With 100,000 bills and 10,000 products, no statement of a store reads a table as a whole."""
    migrations, rows, use = {
        "billing": (BILLING, in_billing(BACKLOG), use_billing),
        "product": (PRODUCT, in_product(PRODUCTS, BACKLOG), use_product),
        "user": (USER, in_user(BACKLOG), use_user),
    }[service]
    url = new_database(migrations)
    await fill(url, database_kind, BILLS, rows)
    database = WatchedDatabase(url, migrations)
    await database.open()
    with collecting() as sent:
        await use(database)
    await database.close()
    forgotten = [
        f"{Path(file).relative_to(ROOT)}:{first}"
        for file, first, last in statements_of(service)
        if not any(place == file and first <= line <= last for place, line in database.places)
    ]
    assert forgotten == [], f"Let use_{service} make these calls too."
    assert await complaints(database_kind, url, sent) == {}


async def test_a_search_for_what_all_products_have_looks_at_few_of_them(
    new_database: NewDatabase, database_kind: str
) -> None:
    """If each of 10,000 products has the words, no page of a search looks at all of them, not even the last page."""
    url = new_database(PRODUCT)
    await fill(url, database_kind, PRODUCTS, in_product(PRODUCTS, BACKLOG))
    database = Database(url, PRODUCT)
    await database.open()
    store = ProductStore(database)
    ids = [f"{number:032x}" for number in range(PRODUCTS + 1)]
    for words in "steel", "ste prod":
        for after, count in (0, 21), (PRODUCTS // 2, 21), (PRODUCTS - 7, 7), (PRODUCTS, 0):
            with collecting() as sent:
                found = await store.find(ids=None, words=words, after=ids[after], limit=21)
            assert [product.id for product in found] == ids[after + 1 : after + 1 + count]
            assert await complaints(database_kind, url, sent) == {}
        with collecting() as sent:
            assert len(await store.find(ids=ids[5000:5100], words=words, after=None, limit=21)) == 21
        assert await complaints(database_kind, url, sent) == {}
    await database.close()
