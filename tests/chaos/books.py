"""The books of a shop, read from its databases: do they balance?"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import func, select

from services.billing import store as billing
from services.billing.app import MIGRATIONS as BILLING_MIGRATIONS
from services.common.database import Database
from services.product import store as product
from services.product.app import MIGRATIONS as PRODUCT_MIGRATIONS

BilledLine: TypeAlias = tuple[str, str, int, int]
"""A line of a bill: product id, name, price of one in minor units, quantity."""


@dataclass(frozen=True)
class Books:
    """What the databases of Product and Billing hold."""

    stock: dict[str, int]
    held: Counter[str]
    sold: Counter[str]
    released: Counter[str]
    """What was held for orders that were refused then, and is back in stock."""
    orders: dict[tuple[str, str], list[tuple[str, str]]]
    """(user, idempotency key) -> (id, status) of each order."""
    bills: dict[str, tuple[str, str, str, list[BilledLine]]]
    """id -> user, status, currency and lines."""
    deliveries: dict[str, tuple[str, str, dict[str, Any]]]
    """Id of the bill -> id, status and address."""
    waiting: int
    """Deliveries in the outbox."""

    def open_ends(self) -> list[str]:
        """Return what still has to come to its end, once nothing is broken any more."""
        statuses = [status for found in self.orders.values() for _, status in found]
        ends = {
            "orders that are pending": statuses.count("pending"),
            "products held": sum(self.held.values()),
            "deliveries under way": sum(status != "delivered" for _, status, _ in self.deliveries.values()),
            "deliveries in the outbox": self.waiting,
        }
        return [f"{count} {what}" for what, count in ends.items() if count]

    def faults(self, initial_stock: dict[str, int]) -> list[str]:
        """Return every way in which the books do not balance."""
        found = self.open_ends()
        billed: Counter[str] = Counter()
        for _, _, _, lines in self.bills.values():
            for name, _, _, quantity in lines:
                billed[name] += quantity
        for name, stock in initial_stock.items():
            now = self.stock[name] + self.held[name] + self.sold[name]
            if now != stock:
                found.append(f"of {name} there were {stock}, and stock + held + sold is {now}")
            if self.stock[name] < 0:
                found.append(f"the stock of {name} is below zero")
            if billed[name] > stock:
                found.append(f"of {name} {billed[name]} are on bills, and there were {stock}: it was oversold")
            if self.sold[name] != billed[name]:
                found.append(f"of {name} {self.sold[name]} are sold, and {billed[name]} are on issued bills")
        issued = {name for orders in self.orders.values() for name, status in orders if status == "issued"}
        if issued != self.bills.keys():
            found.append(f"issued orders without a bill, or bills without one: {sorted(issued ^ self.bills.keys())}")
        return found


async def read_books(product_url: str, billing_url: str) -> Books:
    """Return the books as the databases at these addresses have them now."""
    stock, by_status = await _read_product(Database(product_url, PRODUCT_MIGRATIONS))
    held, sold, released = (by_status.get(status, Counter()) for status in ("held", "committed", "released"))
    return Books(stock, held, sold, released, *await _read_billing(Database(billing_url, BILLING_MIGRATIONS)))


async def _read_product(database: Database) -> tuple[dict[str, int], dict[str, Counter[str]]]:
    """Return the stock of each product, and how many of it are in reservations, by their status."""
    lines, reservations = product.reservation_lines.c, product.reservations.c
    by_status = (
        select(reservations.status, lines.product_id, func.sum(lines.quantity))
        .join_from(product.reservation_lines, product.reservations, reservations.bill_id == lines.bill_id)
        .group_by(reservations.status, lines.product_id)
    )
    async with database.read() as connection:
        stocks = await connection.execute(select(product.products.c.id, product.products.c.stock))
        stock = {row.id: int(row.stock) for row in stocks}
        counted: dict[str, Counter[str]] = {}
        for status, product_id, quantity in await connection.execute(by_status):
            counted.setdefault(status, Counter())[product_id] = int(quantity)
    await database.close()
    return stock, counted


async def _read_billing(
    database: Database,
) -> tuple[
    dict[tuple[str, str], list[tuple[str, str]]],
    dict[str, tuple[str, str, str, list[BilledLine]]],
    dict[str, tuple[str, str, dict[str, Any]]],
    int,
]:
    orders: dict[tuple[str, str], list[tuple[str, str]]] = {}
    bills: dict[str, tuple[str, str, str, list[BilledLine]]] = {}
    lines = billing.bill_lines.c
    async with database.read() as connection:
        for row in await connection.execute(select(billing.orders)):
            orders.setdefault((row.uid, row.idempotency_key), []).append((row.id, row.status))
        for row in await connection.execute(select(billing.bills)):
            bills[row.id] = (row.uid, row.status, row.currency, [])
        ordered = select(billing.bill_lines).order_by(lines.bill_id, lines.position)
        for row in await connection.execute(ordered):
            bills[row.bill_id][3].append((row.product_id, row.name, row.unit_amount, row.quantity))
        found = await connection.execute(select(billing.deliveries))
        deliveries = {row.bill_id: (row.id, str(row.status), row.address) for row in found}
        waiting = (await connection.execute(select(func.count()).select_from(billing.outbox))).scalar_one()
    await database.close()
    return orders, bills, deliveries, int(waiting)
