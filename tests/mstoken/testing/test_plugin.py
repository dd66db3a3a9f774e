"""The pytest plugin: a protected route is tested in six lines, without an environment and without an emulator."""

from collections.abc import Callable
from typing import Annotated

import httpx
import pytest
import requests
from fastapi import Depends, FastAPI, WebSocket
from fastapi.testclient import TestClient

from mstoken import Caller, ServiceCaller, TokenVerifier, UserCaller
from mstoken.fastapi import allow, protect
from mstoken.guard import Guard, guards_of
from mstoken.testing import FirebaseProject
from mstoken.testing.credentials import ServiceCredentials, UserCredentials
from mstoken.testing.flaws import BOUND_FLAWS, FRESH_FLAWS, USER_FLAWS, UnknownFlaw
from mstoken.testing.proof_flaws import ProofFlaw
from mstoken.testing.token_flaws import Flaw

AsUser = Callable[..., UserCredentials]
AsService = Callable[..., ServiceCredentials]

app = FastAPI()
protect(app, TokenVerifier("product"))


@app.get("/products")
@app.post("/products")
def products(caller: Annotated[Caller, Depends(allow(users=True, services={"billing"}))]) -> str:
    """Return who is calling."""
    return f"{caller} {caller.role}" if isinstance(caller, UserCaller) else f"{caller} {caller.mode}"


@app.get("/products/{product_id}")
def product(product_id: str, caller: Annotated[ServiceCaller, Depends(allow(services={"billing"}))]) -> str:
    """Return the id, as the app sees it."""
    return product_id


@app.websocket("/changes")
async def changes(websocket: WebSocket, caller: Annotated[Caller, Depends(allow(services={"billing"}))]) -> None:
    """Send who is calling."""
    await websocket.accept()
    await websocket.send_text(str(caller))
    await websocket.close()


@pytest.fixture
def client(firebase: FirebaseProject) -> TestClient:
    """A client of the app under test, whose lifespan does not run."""
    return TestClient(firebase.protect(app))


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


@pytest.mark.parametrize("mode", ["fresh", "proof"])
def test_a_replay(client: TestClient, as_service: AsService, mode: str) -> None:
    """With `reuse` the second request is a replay."""
    billing = as_service("billing", mode=mode, reuse=True)
    assert client.get("/products", auth=billing).is_success
    assert client.get("/products", auth=billing).json()["code"].endswith("_replayed")


@pytest.mark.parametrize("flaw", FRESH_FLAWS, ids=lambda flaw: flaw.name)
def test_every_flaw_of_a_service_token(client: TestClient, as_service: AsService, flaw: Flaw) -> None:
    """The app refuses each attack of the table, with the code of the table."""
    assert client.get("/products", auth=as_service("billing", flaw=flaw.name)).json()["code"] == flaw.code


@pytest.mark.parametrize("flaw", USER_FLAWS, ids=lambda flaw: flaw.name)
def test_every_flaw_of_a_user_token(client: TestClient, as_user: AsUser, flaw: Flaw) -> None:
    """A user's token with the same flaw is refused."""
    assert client.get("/products", auth=as_user(flaw=flaw.name)).json()["code"] == "user_token_invalid"


@pytest.mark.parametrize("flaw", BOUND_FLAWS, ids=lambda flaw: flaw.name)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_flaw_of_a_proof(client: TestClient, as_service: AsService, flaw: ProofFlaw, method: str) -> None:
    """The app refuses each attack on proofs, whatever the method and the path of the call are."""
    billing = as_service("billing", mode="proof", flaw=flaw.name)
    assert client.request(method, "/products", auth=billing).json()["code"] == flaw.code


@pytest.mark.parametrize(
    ("flaw", "code"),
    [
        ("token_expired", "token_expired"),
        ("stale", "token_stale"),
        ("wrong_audience", "token_wrong_audience"),
        ("exp has passed", "token_expired"),
        ("identity_disabled", "identity_disabled"),
    ],
)
def test_a_flaw_has_a_name_and_a_code(client: TestClient, as_service: AsService, flaw: str, code: str) -> None:
    """A flaw is known by its name in the table, by the code of the refusal, and by the code without "token_"."""
    assert client.get("/products", auth=as_service("billing", flaw=flaw)).json()["code"] == code


@pytest.mark.parametrize(("mode", "known"), [("fresh", "token_stale"), ("proof", "proof_missing")])
def test_an_unknown_flaw(client: TestClient, as_service: AsService, mode: str, known: str) -> None:
    """A misspelt flaw is an error that lists the codes."""
    with pytest.raises(UnknownFlaw, match=known):
        as_service("billing", mode=mode, flaw="expird")


def test_the_flaws_of_another_service(firebase: FirebaseProject, as_service: AsService) -> None:
    """The flaws are flaws for every service and every caller."""
    other = FastAPI()
    protect(other, TokenVerifier("user"))
    other.get("/", dependencies=[Depends(allow(services={"user"}))])(lambda: None)
    client = TestClient(firebase.protect(other))
    assert client.get("/", auth=as_service("user")).is_success
    for name in ("made for another service", "another service's name under this uid"):
        assert client.get("/", auth=as_service("user", flaw=name)).status_code == 401


def test_an_app_without_a_verifier(firebase: FirebaseProject) -> None:
    """The error says which call is missing."""
    with pytest.raises(ValueError, match=r"no verifier.*protect\(app, TokenVerifier"):
        firebase.protect(FastAPI())


def test_which_service_is_called(firebase: FirebaseProject, as_service: AsService) -> None:
    """It is the only one under test, or the one that the test names."""
    with pytest.raises(ValueError, match="No app is under test"):
        as_service("billing")
    other = FastAPI()
    protect(other, TokenVerifier("user"))
    firebase.protect(other)
    firebase.protect(app)
    with pytest.raises(ValueError, match=r"\(product, user\).*to='product'"):
        as_service("billing")
    client = TestClient(app)
    assert client.get("/products", auth=as_service("billing", to="product")).is_success
    assert client.get("/products", auth=as_service("billing", to="user")).json()["code"] == "token_wrong_audience"


def test_mounted_apps_are_protected_too(firebase: FirebaseProject, as_service: AsService) -> None:
    """An app that is mounted in the app under test has a verifier of this project, also behind middleware."""
    outer, inner = FastAPI(), FastAPI()
    protect(outer, TokenVerifier("shop"))
    protect(inner, TokenVerifier("product"))
    inner.get("/", dependencies=[Depends(allow(services={"billing"}))])(lambda: None)
    outer.mount("/products", inner)
    assert len(list(guards_of(outer))) == 2
    client = TestClient(firebase.protect(outer))
    assert client.get("/products/", auth=as_service("billing", to="product")).is_success
    assert client.get("/products/", auth=as_service("billing", to="shop")).json()["code"] == "token_wrong_audience"


def test_the_app_gets_its_verifier_back() -> None:
    """After the test the app has the verifier that it had before."""
    guard: Guard = next(guards_of(app))
    before = guard.verifier
    project = FirebaseProject()
    project.protect(app)
    project.protect(app)
    assert guard.verifier is not before
    project.release()
    assert guard.verifier is before


def test_settings_of_the_verifier(firebase: FirebaseProject, as_service: AsService) -> None:
    """The app under test can be made to require proofs."""
    client = TestClient(firebase.protect(app, require_proof=True))
    assert client.get("/products", auth=as_service("billing")).json()["code"] == "proof_missing"
    assert client.get("/products", auth=as_service("billing", mode="proof")).is_success


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


def test_websockets(client: TestClient, as_service: AsService) -> None:
    """The handshake of a WebSocket takes the header lines."""
    headers = as_service("billing").headers("GET", "/changes")
    with client.websocket_connect("/changes", headers=headers) as websocket:
        assert websocket.receive_text() == "svc:billing"
