"""The Billing service: bills and their deliveries.

It is started by `uvicorn --factory services.billing.app:create_app --http services.common.server:TimedProtocol`.
"""

from functools import partial
from pathlib import Path

from fastapi import FastAPI

from mstoken import ServiceIdentity, TokenVerifier
from services.billing.bills import Bills
from services.billing.deliveries import Deliveries
from services.billing.dispatcher import CORRECT_SECONDS, Dispatcher, Queue
from services.billing.neighbours import Neighbours
from services.billing.order_store import OrderStore
from services.billing.orders import FORGET_SECONDS, RESUME_SECONDS, Orders
from services.billing.outbox import Outbox
from services.billing.reservations import Reservations
from services.billing.routes import add_routes
from services.billing.settings import BillingSettings
from services.billing.store import BillStore, DeliveryStore
from services.billing.tasks import FirebaseQueue
from services.billing.unfinished import MEASURE_SECONDS, UnfinishedWork
from services.common.app import build, own_process
from services.common.background import Repeated
from services.common.database import Database
from services.common.late_writes import LateWrites
from services.common.times import Clock, utc_now

MIGRATIONS = Path(__file__).parent / "migrations"
HAND_OVER_SECONDS = 0.5
"""Seconds between two searches of a process for deliveries that are due."""


@own_process("billing")
def create_app(
    settings: BillingSettings | None = None,
    *,
    verifier: TokenVerifier | None = None,
    neighbours: Neighbours | None = None,
    queue: Queue | None = None,
    clock: Clock = utc_now,
) -> FastAPI:
    """Return the app. Without arguments it is configured from the environment, and configures the log of its process.

    `verifier`, `neighbours` and `queue` replace those that the environment describes. Raises `SettingsError`.
    """
    settings = settings or BillingSettings()
    verifier = verifier or TokenVerifier("billing")
    neighbours = neighbours or Neighbours(settings, ServiceIdentity("billing").prepare())
    database = Database(settings.database_url, MIGRATIONS)
    bills = Bills(BillStore(database))
    late_writes = LateWrites()
    orders = Orders(OrderStore(database), bills, Reservations(neighbours), late_writes, clock=clock)
    deliveries = Deliveries(DeliveryStore(database), neighbours, clock=clock)
    dispatcher = Dispatcher(
        Outbox(database),
        queue or FirebaseQueue(settings.delivery_queue),
        late_writes,
        patience_seconds=settings.delivery_patience_seconds,
        clock=clock,
    )
    unfinished = UnfinishedWork(database, clock=clock)
    return build(
        "Billing",
        "Bills, at the prices of the Product service, and their deliveries.",
        partial(add_routes, orders=orders, bills=bills, deliveries=deliveries, neighbours=neighbours),
        settings=settings,
        verifier=verifier,
        database=database,
        resources=[
            neighbours,
            late_writes,
            Repeated("measure unfinished work", unfinished.measure, every_seconds=MEASURE_SECONDS),
            Repeated("resume orders", orders.resume, every_seconds=RESUME_SECONDS),
            Repeated("forget orders", orders.forget, every_seconds=FORGET_SECONDS),
            Repeated("correct due times", dispatcher.correct_due_times, every_seconds=CORRECT_SECONDS),
            Repeated("hand over deliveries", dispatcher.hand_over_due, every_seconds=HAND_OVER_SECONDS),
        ],
        backlogs=[orders.unfinished, orders.unforgotten, dispatcher.waiting],
    )
