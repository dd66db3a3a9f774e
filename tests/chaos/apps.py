"""The services' apps, with a clock that the test advances: leases and reservations expire while processes work."""

from fastapi import FastAPI

from services.billing import app as billing_app
from services.common import logs
from services.product import app as product_app
from tests.chaos.shop_time import ShopTime


def billing() -> FastAPI:
    """Return Billing's app, configured from the environment."""
    logs.configure("billing")
    return billing_app.create_app(clock=ShopTime.from_environment())


def product() -> FastAPI:
    """Return Product's app, configured from the environment."""
    logs.configure("product")
    return product_app.create_app(clock=ShopTime.from_environment())
