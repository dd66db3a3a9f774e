"""The service Product under test, in both modes."""

import pytest

from tests.mstoken.callee.harness import Product, ProductWithProofs


@pytest.fixture
def product() -> Product:
    return Product()


@pytest.fixture
def bound() -> ProductWithProofs:
    return ProductWithProofs()
