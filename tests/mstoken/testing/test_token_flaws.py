"""Every flaw of a token, in the credentials of a test."""

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from mstoken import TokenVerifier
from mstoken.fastapi import allow, protect
from mstoken.testing import FirebaseProject
from mstoken.testing.flaws import FRESH_FLAWS, USER_FLAWS
from mstoken.testing.token_flaws import Flaw
from tests.mstoken.testing.conftest import AsService, AsUser


@pytest.mark.parametrize("flaw", FRESH_FLAWS, ids=lambda flaw: flaw.name)
def test_every_flaw_of_a_service_token(client: TestClient, as_service: AsService, flaw: Flaw) -> None:
    """The app refuses each attack of the table, with the code of the table."""
    assert client.get("/products", auth=as_service("billing", flaw=flaw.name)).json()["code"] == flaw.code


@pytest.mark.parametrize("flaw", USER_FLAWS, ids=lambda flaw: flaw.name)
def test_every_flaw_of_a_user_token(client: TestClient, as_user: AsUser, flaw: Flaw) -> None:
    """A user's token with the same flaw is refused."""
    assert client.get("/products", auth=as_user(flaw=flaw.name)).json()["code"] == "user_token_invalid"


def test_the_flaws_of_another_service(firebase: FirebaseProject, as_service: AsService) -> None:
    """The flaws are flaws for every service and every caller."""
    other = FastAPI()
    protect(other, TokenVerifier("user"))
    other.get("/", dependencies=[Depends(allow(services={"user"}))])(lambda: None)
    client = TestClient(firebase.protect(other))
    assert client.get("/", auth=as_service("user")).is_success
    for name in ("made for another service", "another service's name under this uid"):
        assert client.get("/", auth=as_service("user", flaw=name)).status_code == 401
