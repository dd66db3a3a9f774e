"""Fixtures for the tests of the services: a Firebase in memory, and the Product service over it."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from mstoken.testing import FakeFirebase
from services.product.app import create_app
from services.product.settings import ProductSettings
from tests.services.shop import serving


@pytest.fixture
def firebase() -> FakeFirebase:
    """A Firebase project in memory."""
    return FakeFirebase()


@pytest.fixture
async def product(firebase: FakeFirebase, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The Product service, with nothing in it."""
    settings = ProductSettings(database_url=f"sqlite+aiosqlite:///{tmp_path / 'product.db'}")
    async with serving(create_app(settings, verifier=firebase.verifier("product"))) as client:
        yield client
