"""services/billing/migrations: the data of older releases"""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from mstoken import UserCaller
from services.billing.app import MIGRATIONS
from services.billing.bills import Bills
from services.billing.dispatcher import Dispatcher
from services.billing.order_store import OrderStore
from services.billing.orders import IdempotencyKey
from services.billing.outbox import Outbox
from services.billing.store import BillStore
from services.common.database import Database
from services.common.late_writes import LateWrites
from tests.services.billing.fakes import FakeQueue
from tests.services.databases import on
from tests.services.shop import ADDRESS

pytestmark = pytest.mark.both_databases

BILL = "INSERT INTO bills VALUES (:id, 'maya', 'issued', :at, 'USD', :id, 'a fingerprint')"
DELIVERY = "INSERT INTO deliveries VALUES (:id, :id, :status, :address, :at, :at)"
MAYA = UserCaller("maya", None, None, None, 0, 0)
STATUSES = ("requested", "dispatched", "delivered", "failed")


@pytest.fixture
def schema() -> Path | None:
    """The databases are empty, because the tests migrate them."""
    return None


def migrations(connection: Connection) -> Config:
    """Return Billing's migrations, which Alembic runs on this connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def first_release(connection: Connection) -> None:
    """Make the database of the first release, with a delivery in each status. The status is also its id."""
    command.upgrade(migrations(connection), "0001")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    is_sqlite = connection.dialect.name == "sqlite"
    for status in STATUSES:
        row = {
            "id": status,
            "status": status,
            "address": json.dumps(ADDRESS),
            "at": at.isoformat(" ") if is_sqlite else at,
        }
        connection.execute(text(BILL), row)
        connection.execute(text(DELIVERY), row)


async def test_deliveries_from_before_the_outbox(database_url: str) -> None:
    """Deliveries that had not ended before there was an outbox are handed over, and no others."""
    await on(database_url, first_release)
    database, queue = Database(database_url, MIGRATIONS), FakeQueue()
    await database.open()
    await Dispatcher(Outbox(database), queue, LateWrites(), patience_seconds=600).hand_over_due()
    await database.close()
    assert sorted(delivery_id for delivery_id, _ in queue.accepted) == ["dispatched", "requested"]


async def test_bills_from_before_the_orders(database_url: str) -> None:
    """A bill from before there were orders keeps its lines, its delivery and its key, also after a downgrade."""
    database = Database(database_url, MIGRATIONS)
    await on(database_url, first_release)
    line = text("INSERT INTO bill_lines VALUES ('failed', 0, 'kettle', 'Kettle', 4990, 2)")
    await on(database_url, lambda connection: connection.execute(line))
    await database.open()
    bill = await Bills(BillStore(database)).get("failed", MAYA)
    assert (bill.total, bill.lines[0].name) == (9980, "Kettle")
    order = await OrderStore(database).under_key("maya", "failed")
    assert order is not None
    assert (order.id, order.status, order.key) == ("failed", "issued", IdempotencyKey("failed", "a fingerprint"))
    await database.close()

    def go_back(connection: Connection) -> None:
        connection.execute(text("DELETE FROM orders WHERE id = 'delivered'"))
        command.downgrade(migrations(connection), "0001")
        bills = connection.execute(text("SELECT id, idempotency_key, fingerprint FROM bills ORDER BY id"))
        assert [tuple(row) for row in bills] == [
            ("delivered", "delivered", ""),
            ("dispatched", "dispatched", "a fingerprint"),
            ("failed", "failed", "a fingerprint"),
            ("requested", "requested", "a fingerprint"),
        ]
        lines = connection.execute(text("SELECT bill_id, unit_amount FROM bill_lines"))
        assert [tuple(row) for row in lines] == [("failed", 4990)]
        deliveries = connection.execute(text("SELECT bill_id FROM deliveries ORDER BY id"))
        assert list(deliveries.scalars()) == sorted(STATUSES)

    await on(database_url, go_back)
