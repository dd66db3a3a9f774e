"""The Billing service: bills and their delivery. `uvicorn --factory services.billing.app:create_app`."""

from pathlib import Path

from fastapi import FastAPI

from mstoken import ServiceIdentity, TokenVerifier
from services.billing.bills import Bills
from services.billing.deliveries import Deliveries
from services.billing.neighbours import Neighbours
from services.billing.routes import router
from services.billing.settings import BillingSettings
from services.billing.store import BillStore, DeliveryStore
from services.common.app import build, own_process
from services.common.database import Database

MIGRATIONS = Path(__file__).parent / "migrations"


@own_process("billing")
def create_app(
    settings: BillingSettings | None = None,
    *,
    verifier: TokenVerifier | None = None,
    neighbours: Neighbours | None = None,
) -> FastAPI:
    """The app. Without arguments it is a process of its own: it reads the environment and takes over the log.

    `verifier` and `neighbours` stand in for those that the environment describes. Raises `SettingsError`.
    """
    settings = settings or BillingSettings()
    verifier = verifier or TokenVerifier("billing")
    neighbours = neighbours or Neighbours(settings, ServiceIdentity("billing"))
    database = Database(settings.database_url, MIGRATIONS)
    bills = Bills(BillStore(database), neighbours)
    deliveries = Deliveries(DeliveryStore(database), neighbours)
    return build(
        "Billing",
        router(bills, deliveries, neighbours),
        verifier=verifier,
        database=database,
        resources=[neighbours],
    )
