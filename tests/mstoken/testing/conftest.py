"""Fixtures for the tests of `mstoken.testing`."""

from collections.abc import Callable
from typing import TypeAlias

import pytest
from fastapi.testclient import TestClient

from mstoken.testing import FirebaseProject
from mstoken.testing.credentials import ServiceCredentials, UserCredentials
from tests.mstoken.testing.product_app import app

AsUser: TypeAlias = Callable[..., UserCredentials]
AsService: TypeAlias = Callable[..., ServiceCredentials]


@pytest.fixture
def client(firebase: FirebaseProject) -> TestClient:
    """A client of the app under test, whose lifespan does not run."""
    return TestClient(firebase.protect(app))
