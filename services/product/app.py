"""The Product service: the catalogue and reservations.

It is started by `uvicorn --factory services.product.app:create_app --http services.common.server:TimedProtocol`.
"""

from functools import partial
from pathlib import Path

from fastapi import FastAPI

from mstoken import TokenVerifier
from services.common.app import build, own_process
from services.common.background import Repeated
from services.common.database import Database
from services.common.times import Clock, utc_now
from services.product.catalogue import Catalogue
from services.product.reservations import FORGET_SECONDS, SWEEP_SECONDS, Reservations
from services.product.routes import add_routes
from services.product.settings import ProductSettings
from services.product.store import ProductStore, ReservationStore

MIGRATIONS = Path(__file__).parent / "migrations"


@own_process("product")
def create_app(
    settings: ProductSettings | None = None, *, verifier: TokenVerifier | None = None, clock: Clock = utc_now
) -> FastAPI:
    """Return the app. Without arguments it is configured from the environment, and configures the log of its process.

    `verifier` replaces the one that the environment describes. Raises `SettingsError`.
    """
    settings = settings or ProductSettings()
    database = Database(settings.database_url, MIGRATIONS)
    catalogue = Catalogue(ProductStore(database), clock=clock)
    reservations = Reservations(ReservationStore(database), clock=clock)
    return build(
        "Product",
        "The products of the shop, and reservations of them for bills.",
        partial(add_routes, catalogue=catalogue, reservations=reservations),
        settings=settings,
        verifier=verifier or TokenVerifier("product"),
        database=database,
        resources=[
            Repeated("release expired", reservations.release_expired, every_seconds=SWEEP_SECONDS),
            Repeated("forget reservations", reservations.forget, every_seconds=FORGET_SECONDS),
        ],
        backlogs=[reservations.overdue, reservations.unforgotten],
    )
