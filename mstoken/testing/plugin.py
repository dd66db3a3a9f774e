"""The fixtures of `mstoken[testing]`. pytest finds them by itself, so a test uses them without an import.

    def test_billing_reads_the_products(firebase, as_service):
        client = TestClient(firebase.protect(app))
        assert client.get("/products", auth=as_service("billing")).status_code == 200
        assert client.get("/products", auth=as_service("billing", flaw="expired")).json()["code"] == "token_expired"

`as_user("maya", role="admin")` is a user, and `as_service("billing", mode="proof")` sends proofs.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mstoken.testing.credentials import ServiceCredentials, UserCredentials
    from mstoken.testing.project import FirebaseProject


@pytest.fixture
def firebase() -> "Iterator[FirebaseProject]":
    """A Firebase project in memory, for this test."""
    from mstoken.testing import FirebaseProject  # Not before a test needs it: pytest imports every plugin.

    project = FirebaseProject()
    yield project
    project.release()


@pytest.fixture
def as_user(firebase: "FirebaseProject") -> "Callable[..., UserCredentials]":
    """Returns the credentials of a user. See `FirebaseProject.as_user`."""
    return firebase.as_user


@pytest.fixture
def as_service(firebase: "FirebaseProject") -> "Callable[..., ServiceCredentials]":
    """Returns the credentials of a service. See `FirebaseProject.as_service`."""
    return firebase.as_service
