"""The adapter for Starlette: the contract of adapters, classes of endpoints, WebSockets, mounted apps."""

from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket
from typing_extensions import override

import mstoken.fastapi
from mstoken import Caller, TokenVerifier
from mstoken.errors import NotProtected
from mstoken.starlette import allow, protect
from mstoken.testing import FakeFirebase
from tests.mstoken.adapter_contract import ADMISSIONS, BASE_URL, AdapterContract, Body, Lines, Site


def send(app: Any, method: str, path: str, lines: Lines = (), body: Body | None = None) -> httpx.Response:
    """Return the answer of the app to one request. Errors of the app are raised."""
    content: dict[str, Any] = {} if body is None else {"content": body.chunks()}
    headers = [*lines, ("Content-Type", "application/json")] if content else list(lines)
    answer = TestClient(app, base_url=BASE_URL).request(method, path, headers=headers, **content)
    return httpx.Response(answer.status_code, headers=answer.headers.multi_items(), content=answer.content)


class StarletteSite(Site):
    """An app of Starlette."""

    def __init__(self, verifier: TokenVerifier) -> None:
        super().__init__(verifier)
        routes = [Route("/open", lambda request: PlainTextResponse("open"))]
        for name, admissions in ADMISSIONS.items():
            endpoint = self._endpoint(name)
            for admission in reversed(admissions):
                endpoint = allow(**admission)(endpoint)
            routes.append(Route(f"/{name}", endpoint, methods=["GET", "POST"]))
        self._app = Starlette(routes=routes)
        protect(self._app, verifier)

    def _endpoint(self, name: str) -> Any:
        async def endpoint(request: Request, caller: Caller) -> Response:
            await request.body()
            if name == "broken":
                raise HTTPException(404)
            return PlainTextResponse(self.serve(name, caller))

        return endpoint

    @property
    @override
    def protected(self) -> Starlette:
        return self._app

    @override
    def send(self, method: str, path: str, lines: Lines = (), body: Body | None = None) -> httpx.Response:
        return send(self._app, method, path, lines, body)


class TestStarlette(AdapterContract):
    """An app of Starlette keeps the promises of every adapter."""

    site_class = StarletteSite


@pytest.fixture
def firebase() -> FakeFirebase:
    return FakeFirebase(base_url=BASE_URL)


def billing(firebase: FakeFirebase) -> Lines:
    return list(firebase.service_headers("billing", to="product").items())


class ProductsEndpoint(HTTPEndpoint):
    """Products, for different callers by method."""

    @allow(users=True)
    def get(self, request: Request, caller: Caller) -> Response:
        return PlainTextResponse(f"read by {caller}")

    @allow(services={"billing"})
    async def post(self, request: Request, caller: Caller) -> Response:
        return PlainTextResponse(f"written by {caller}")


class ChangesEndpoint(WebSocketEndpoint):
    """A WebSocket for Billing."""

    @allow(services={"billing"})
    async def on_connect(self, websocket: WebSocket, caller: Caller) -> None:
        await websocket.accept()
        await websocket.send_text(str(caller))
        await websocket.close()


@allow(services={"billing"})
async def changes(websocket: WebSocket, caller: Caller) -> None:
    """Send who is calling."""
    await websocket.accept()
    await websocket.send_text(str(caller))
    await websocket.close()


@allow(services={"billing"})
def who(request: Request, caller: Caller) -> Response:
    """Answer who is calling, in a thread."""
    return PlainTextResponse(str(caller))


@pytest.fixture
def app(firebase: FakeFirebase) -> Starlette:
    routes = [
        Route("/products", ProductsEndpoint),
        Route("/who", who),
        WebSocketRoute("/changes", changes),
        WebSocketRoute("/changes-of-class", ChangesEndpoint),
    ]
    app = Starlette(routes=routes)
    protect(app, firebase.verifier("product"))
    return app


def test_classes_of_endpoints(app: Starlette, firebase: FakeFirebase) -> None:
    """Each method says who may call it, sync or async."""
    user = list(firebase.user_headers("anna").items())
    assert send(app, "GET", "/products", user).text == "read by user:anna"
    assert send(app, "POST", "/products", billing(firebase)).text == "written by svc:billing"
    assert send(app, "POST", "/products", user).json()["code"] == "token_missing"
    assert send(app, "GET", "/products").json()["code"] == "user_token_missing"


def test_a_sync_endpoint(app: Starlette, firebase: FakeFirebase) -> None:
    """It runs in a thread, as Starlette's own do."""
    assert send(app, "GET", "/who", billing(firebase)).text == "svc:billing"
    assert send(app, "GET", "/who").json()["code"] == "token_missing"


@pytest.mark.parametrize("path", ["/changes", "/changes-of-class"])
def test_websockets(app: Starlette, firebase: FakeFirebase, path: str) -> None:
    """A handshake is verified before it is accepted. It is refused with problem details or with a code."""
    client = TestClient(app, base_url=BASE_URL)
    with client.websocket_connect(path, headers=dict(billing(firebase))) as websocket:
        assert websocket.receive_text() == "svc:billing"
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect(path):
        pass
    assert (refused.value.status_code, refused.value.json()["code"]) == (401, "token_missing")


def test_an_app_without_protect() -> None:
    """The error says what to call."""
    with pytest.raises(NotProtected, match=r"protect\(app, TokenVerifier\(.*mstoken\.starlette"):
        send(Starlette(routes=[Route("/", who)]), "GET", "/")


def test_an_endpoint_that_admits_no_caller() -> None:
    """The error is raised when the endpoint is decorated."""
    with pytest.raises(ValueError, match="refuse every caller"):
        allow()
    with pytest.raises(TypeError, match="has no parameter 'caller'"):
        allow(users=True)(lambda request: Response())


def test_the_verifier_is_opened_and_closed_with_the_app(firebase: FakeFirebase) -> None:
    """`protect` keeps the lifespan of the app."""
    events: list[str] = []

    class Watched(TokenVerifier):
        """A verifier that notes when it is opened and closed."""

        async def open(self) -> None:
            events.append("open")

        async def aclose(self) -> None:
            events.append("closed")

    app = Starlette(routes=[Route("/who", who)])
    protect(app, Watched("product"))
    with TestClient(app):
        assert events == ["open"]
    assert events == ["open", "closed"]


class Item(BaseModel):
    """The body of a request."""

    name: str


def test_mounted_apps(app: Starlette, firebase: FakeFirebase) -> None:
    """Apps of Starlette and of FastAPI that are mounted in the app have its verifier. Bodies are read after tokens."""
    inner = FastAPI()

    @inner.post("/items")
    def add(
        item: Item, caller: Annotated[Caller, Depends(mstoken.fastapi.allow(services={"billing"}))]
    ) -> dict[str, str]:
        return {"item": item.name, "caller": str(caller)}

    app.routes.append(Mount("/of-starlette", Starlette(routes=[Route("/who", who)])))
    app.routes.append(Mount("/of-fastapi", inner))
    assert send(app, "GET", "/of-starlette/who", billing(firebase)).text == "svc:billing"
    assert send(app, "GET", "/of-starlette/who").json()["code"] == "token_missing"
    body = Body(b"not JSON")
    assert send(app, "POST", "/of-fastapi/items", body=body).json()["code"] == "token_missing"
    assert not body.was_read
    added = send(app, "POST", "/of-fastapi/items", billing(firebase), Body(b'{"name": "teapot"}'))
    assert added.json() == {"item": "teapot", "caller": "svc:billing"}
