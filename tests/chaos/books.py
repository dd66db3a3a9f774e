"""The books of a shop, read from its databases: do they balance?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from services.billing import store as billing
from services.billing.app import MIGRATIONS as BILLING_MIGRATIONS
from services.common.database import Database
from services.product import store as product
from services.product.app import MIGRATIONS as PRODUCT_MIGRATIONS
from tests.chaos.customers import Seen


@dataclass(frozen=True)
class Books:
    """What the databases of Product and Billing hold."""

    stock: dict[str, int]
    held: Counter[str]
    sold: Counter[str]
    billed: Counter[str]
    orders: dict[str, str]
    bills: Counter[str]
    keys: Counter[tuple[str, str]]
    deliveries: dict[str, str]
    waiting: int

    def open_ends(self) -> list[str]:
        """What has still to come to its end, now that nothing is broken any more."""
        ends = {
            "orders that are pending": sum(status == "pending" for status in self.orders.values()),
            "products held": sum(self.held.values()),
            "deliveries under way": sum(status != "delivered" for status in self.deliveries.values()),
            "deliveries in the outbox": self.waiting,
        }
        return [f"{count} {what}" for what, count in ends.items() if count]

    def faults(self, initial_stock: dict[str, int], customers: Sequence[Seen]) -> list[str]:
        """Every way in which the books do not balance; none if they do."""
        found = self.open_ends()
        for name, stock in initial_stock.items():
            now = self.stock[name] + self.held[name] + self.sold[name]
            if now != stock:
                found.append(f"of {name} there were {stock}, and stock + held + sold is {now}")
            if self.stock[name] < 0:
                found.append(f"the stock of {name} is below zero")
            if self.sold[name] != self.billed[name]:
                found.append(f"of {name} {self.sold[name]} are sold, and {self.billed[name]} stand on issued bills")
        issued = {name for name, status in self.orders.items() if status == "issued"}
        if issued != set(self.bills):
            found.append(
                f"{len(issued ^ set(self.bills))} orders are issued without a bill, or bills have no such order"
            )
        found += [f"the key {key} has {count} bills" for key, count in self.keys.items() if count > 1]
        for seen in customers:
            found += seen.odd
            for bill in seen.bills.values():
                if not self.bills[bill["id"]]:
                    found.append(f"a customer saw the bill {bill['id']}, which there is not")
            found += [f"the delivery of {one} was lost" for one in seen.delivered_to if one not in self.deliveries]
        return found


async def read_books(product_url: str, billing_url: str) -> Books:
    """The books as the databases at these addresses have them now."""
    stock, held, sold = await _read_product(Database(product_url, PRODUCT_MIGRATIONS))
    orders, bills, keys, billed, deliveries, waiting = await _read_billing(Database(billing_url, BILLING_MIGRATIONS))
    return Books(stock, held, sold, billed, orders, bills, keys, deliveries, waiting)


async def _read_product(database: Database) -> tuple[dict[str, int], Counter[str], Counter[str]]:
    lines, reservations = product.reservation_lines.c, product.reservations.c
    by_status = (
        select(reservations.status, lines.product_id, func.sum(lines.quantity))
        .join_from(product.reservation_lines, product.reservations, reservations.bill_id == lines.bill_id)
        .group_by(reservations.status, lines.product_id)
    )
    async with database.read() as connection:
        stocks = await connection.execute(select(product.products.c.id, product.products.c.stock))
        stock = {row.id: int(row.stock) for row in stocks}
        counted: dict[str, Counter[str]] = {"held": Counter(), "committed": Counter()}
        for status, product_id, quantity in await connection.execute(by_status):
            counted.setdefault(status, Counter())[product_id] = int(quantity)
    await database.close()
    return stock, counted["held"], counted["committed"]


async def _read_billing(
    database: Database,
) -> tuple[dict[str, str], Counter[str], Counter[tuple[str, str]], Counter[str], dict[str, str], int]:
    orders, lines = billing.orders.c, billing.bill_lines.c
    billed_for = select(lines.product_id, func.sum(lines.quantity)).group_by(lines.product_id)
    async with database.read() as connection:
        rows = (await connection.execute(select(orders.id, orders.status, orders.uid, orders.idempotency_key))).all()
        bills = Counter((await connection.execute(select(billing.bills.c.id))).scalars())
        billed = Counter({name: int(quantity) for name, quantity in await connection.execute(billed_for)})
        found = await connection.execute(select(billing.deliveries.c.bill_id, billing.deliveries.c.status))
        deliveries = {row.bill_id: str(row.status) for row in found}
        waiting = (await connection.execute(select(func.count()).select_from(billing.outbox))).scalar_one()
    await database.close()
    statuses = {row.id: str(row.status) for row in rows}
    keys = Counter((row.uid, row.idempotency_key) for row in rows if row.status == "issued")
    return statuses, bills, keys, billed, deliveries, int(waiting)
