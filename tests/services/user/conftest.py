"""Fixtures for the tests of the User service."""

from pathlib import Path

import pytest

from services.user.app import MIGRATIONS


@pytest.fixture
def schema() -> Path | None:
    """Databases have the User service's tables."""
    return MIGRATIONS
