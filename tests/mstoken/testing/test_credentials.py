"""The credentials of requests in tests, for any HTTP client."""

import pytest
import requests
from fastapi.testclient import TestClient

from tests.mstoken.testing.conftest import AsService, AsUser


@pytest.mark.parametrize("mode", ["fresh", "proof"])
def test_a_replay(client: TestClient, as_service: AsService, mode: str) -> None:
    """With `reuse` the second request is a replay."""
    billing = as_service("billing", mode=mode, reuse=True)
    assert client.get("/products", auth=billing).is_success
    assert client.get("/products", auth=billing).json()["code"].endswith("_replayed")


def test_headers_for_other_clients(client: TestClient, as_service: AsService, as_user: AsUser) -> None:
    """Clients without `auth` get the header lines of one request; requests takes the credentials as they are."""
    assert client.get("/products", headers=as_service("billing").headers()).is_success
    bound = as_service("billing", mode="proof").headers("POST", "/products")
    assert client.post("/products", headers=bound).is_success
    assert client.get("/products", headers=as_user().headers()).is_success
    prepared = requests.Request("GET", "http://testserver/products?a=1", auth=as_service("billing")).prepare()
    assert client.get("/products", headers=prepared.headers).is_success
    with pytest.raises(ValueError, match="Use auth= of the client"):
        as_service("billing", mode="proof", flaw="two proofs on two lines").headers()
