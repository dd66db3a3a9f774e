"""The pytest plugin: a protected route is tested in six lines, without an environment and without an emulator."""

import httpx
from fastapi.testclient import TestClient

from mstoken.testing import FirebaseProject
from tests.mstoken.testing.conftest import AsService, AsUser
from tests.mstoken.testing.product_app import app


def test_six_lines(firebase: FirebaseProject, as_service: AsService) -> None:
    """This is what the documentation shows."""
    client = TestClient(firebase.protect(app))
    assert client.get("/products", auth=as_service("billing")).json() == "svc:billing fresh"
    assert client.get("/products", auth=as_service("billing", flaw="expired")).json()["code"] == "token_expired"


def test_each_request_has_new_credentials(client: TestClient, as_service: AsService) -> None:
    """The same credentials serve any number of requests, in both modes and with each method."""
    for mode in ("fresh", "proof"):
        billing = as_service("billing", mode=mode)
        for method in ("GET", "POST", "GET"):
            assert client.request(method, "/products", auth=billing).json() == f"svc:billing {mode}"
        assert client.get("/products/a%2Fb%20c?limit=1", auth=billing).status_code == 404
        assert client.get("/products/b%20c?limit=1", auth=billing).json() == "b c"


def test_the_lifespan_of_the_app_may_run(firebase: FirebaseProject, as_service: AsService) -> None:
    """The app can be used with its lifespan too."""
    with TestClient(firebase.protect(app)) as client:
        assert client.get("/products", auth=as_service("billing")).is_success


async def test_an_async_client(firebase: FirebaseProject, as_service: AsService) -> None:
    """An async client of httpx calls the app, with proofs too, whatever its base URL is."""
    transport = httpx.ASGITransport(app=firebase.protect(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://product.test") as client:
        for mode in ("fresh", "proof"):
            assert (await client.get("/products", auth=as_service("billing", mode=mode))).is_success


def test_users(client: TestClient, as_user: AsUser) -> None:
    """A user has the claims that the test names."""
    assert client.get("/products", auth=as_user()).json() == "user:maya None"
    assert client.get("/products", auth=as_user("ben", role="admin")).json() == "user:ben admin"
    assert client.get("/products/kettle", auth=as_user()).json()["code"] == "token_missing"


def test_a_caller_that_the_route_does_not_admit(client: TestClient, as_service: AsService) -> None:
    """The rules of the routes are those of the app."""
    assert client.get("/products", auth=as_service("delivery")).json()["code"] == "caller_not_allowed"


def test_websockets(client: TestClient, as_service: AsService) -> None:
    """The handshake of a WebSocket takes the header lines."""
    headers = as_service("billing").headers("GET", "/changes")
    with client.websocket_connect("/changes", headers=headers) as websocket:
        assert websocket.receive_text() == "svc:billing"
