"""The services as a newer version would be: with one migration more, in the folder that the environment names."""

import os
from pathlib import Path

from fastapi import FastAPI

from services.billing import app as billing_app
from services.product import app as product_app
from services.user import app as user_app

MIGRATIONS_VARIABLE = "NEWER_MIGRATIONS"
"""The variable that names the folder with the migrations of each service."""


def user() -> FastAPI:
    """Return the newer app of User."""
    user_app.MIGRATIONS = _migrations("user")
    return user_app.create_app()


def product() -> FastAPI:
    """Return the newer app of Product."""
    product_app.MIGRATIONS = _migrations("product")
    return product_app.create_app()


def billing() -> FastAPI:
    """Return the newer app of Billing."""
    billing_app.MIGRATIONS = _migrations("billing")
    return billing_app.create_app()


def _migrations(service: str) -> Path:
    return Path(os.environ[MIGRATIONS_VARIABLE]) / service
