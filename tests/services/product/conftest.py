"""Fixtures for the tests of the Product service."""

from pathlib import Path

import pytest

from services.product.app import MIGRATIONS


@pytest.fixture
def schema() -> Path | None:
    """Databases have the Product service's tables."""
    return MIGRATIONS
