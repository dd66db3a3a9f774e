"""A call is verified once, before its route runs: in routers, in mounted apps, and for WebSockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from functools import cache
from inspect import signature
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, File, Form, Header, Query, Request, Response, UploadFile, WebSocket
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Host, Match, Mount
from starlette.types import Message, Scope
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from mstoken import Caller, ServiceCaller, UserCaller
from mstoken.callee.nonces import RENEWAL_AGE_SECONDS
from mstoken.errors import CallerNotAllowed, NotProtected, TokenReplayed
from mstoken.fastapi import allow, protect
from mstoken.problem import Problem
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock

ForBilling = Annotated[Caller, Depends(allow(services={"billing"}))]
BILLING = Depends(allow(services={"billing"}))
BILLING_OR_USER = Depends(allow(services={"billing", "user"}))
ADMINS = Depends(allow(users={"admin"}))


class Item(BaseModel):
    """The body of a request."""

    name: str
    price: int


@pytest.fixture
def firebase() -> FakeFirebase:
    return FakeFirebase(base_url="http://product")


async def send(app: Starlette, path: str, method: str = "GET", **request: Any) -> httpx.Response:
    """Return the answer of the app to one request. Errors of the app are raised."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://product") as client:
        return await client.request(method, path, **request)


async def verdict(app: Starlette, path: str, headers: Any = None, method: str = "GET", **request: Any) -> str:
    """Return the code of a refusal, or the text that a route returns."""
    answer = (await send(app, path, method, headers=headers, **request)).json()
    return str(answer.get("code", answer) if isinstance(answer, dict) else answer)


def billing(firebase: FakeFirebase) -> dict[str, str]:
    return firebase.service_headers("billing", to="product")


class TestOnce:
    """A call is verified once, however many `allow` dependencies it passes."""

    def app(self, firebase: FakeFirebase, on_route: Any, *, on_router: Any = BILLING, on_app: Any = BILLING) -> FastAPI:
        """Return an app whose one route has `allow` on the app, the router, the inclusion and the route."""
        app = FastAPI(dependencies=[on_app])
        protect(app, firebase.verifier("product"))
        router = APIRouter(dependencies=[on_router])

        @router.get("/items", dependencies=[on_route])
        async def items(caller: ForBilling, again: Annotated[Caller, Depends(allow(services={"billing"}))]) -> str:
            assert caller == again
            return str(caller)

        app.include_router(router, prefix="/v1", dependencies=[BILLING_OR_USER])
        return app

    async def test_on_the_app_the_router_and_the_route(self, firebase: FakeFirebase) -> None:
        """The first call is not refused as a replay, and the second use of the token is."""
        app, headers = self.app(firebase, BILLING), billing(firebase)
        assert await verdict(app, "/v1/items", headers) == "svc:billing"
        assert await verdict(app, "/v1/items", headers) == "token_replayed"

    @pytest.mark.parametrize("place", ["on_app", "on_router", "on_route"])
    async def test_every_admission_is_checked_before_the_token_is_spent(
        self, firebase: FakeFirebase, place: str
    ) -> None:
        """If one of them does not admit the caller, the call is refused, and the token can still be used."""
        headers = billing(firebase)
        closed = self.app(firebase, **{"on_route": BILLING, place: ADMINS})
        assert await verdict(closed, "/v1/items", headers) == "caller_not_allowed"
        verifier = firebase.verifier("product")
        for on_route in ADMINS, BILLING:
            app = self.app(firebase, on_route)
            protect(app, verifier)
            expected = "svc:billing" if on_route is BILLING else "caller_not_allowed"
            assert await verdict(app, "/v1/items", headers) == expected

    async def test_a_proof_that_one_of_them_requires(self, firebase: FakeFirebase) -> None:
        """A fresh token is refused, wherever the requirement stands."""
        app = self.app(firebase, Depends(allow(services={"billing"}, proof=True)))
        assert await verdict(app, "/v1/items", billing(firebase)) == "proof_missing"

    async def test_a_router_for_users_and_a_route_for_services(self, firebase: FakeFirebase) -> None:
        """Nobody passes both. A user is told that the service token is missing."""
        app = self.app(firebase, BILLING, on_router=ADMINS)
        admin = firebase.user_headers("root", role="admin")
        assert await verdict(app, "/v1/items", admin) == "token_missing"
        assert await verdict(app, "/v1/items", billing(firebase)) == "caller_not_allowed"

    async def test_in_dependencies_of_dependencies(self, firebase: FakeFirebase) -> None:
        """An `allow` deep in the tree counts as one on the route."""
        app = FastAPI()
        protect(app, firebase.verifier("product"))

        async def current(caller: ForBilling) -> Caller:
            return caller

        async def tenant(caller: Annotated[Caller, Depends(current)], x: Annotated[int, Query()]) -> str:
            return f"{caller} {x}"

        @app.get("/items")
        async def items(tenant: Annotated[str, Depends(tenant)], caller: ForBilling) -> str:
            return tenant

        assert await verdict(app, "/items?x=no") == "token_missing"
        assert await verdict(app, "/items?x=1", billing(firebase)) == "svc:billing 1"

    async def test_a_request_that_a_program_makes_of_another_is_a_call_of_its_own(self, firebase: FakeFirebase) -> None:
        """A scope with another path and the same token does not count as verified."""
        app, inner = FastAPI(), FastAPI()
        protect(app, firebase.verifier("product"))
        app.mount("/v1", inner)

        @inner.get("/other")
        async def other(caller: ForBilling) -> None: ...

        @inner.get("/batch")
        async def batch(request: Request, caller: ForBilling) -> str:
            async def note(_message: Message) -> None:
                raise AssertionError("the other route has answered")

            scope = dict(request.scope) | {"path": "/v1/other", "raw_path": b"/v1/other"}
            with pytest.raises(TokenReplayed):
                await inner.router(scope, request.receive, note)
            return "refused"

        assert await verdict(app, "/v1/batch", billing(firebase)) == "refused"

    @pytest.mark.parametrize("is_included", [True, False])
    async def test_files_that_a_router_serves(self, firebase: FakeFirebase, is_included: bool, tmp_path: Path) -> None:
        """The admissions of the app and of the router hold for them, and a refused call spends nothing."""
        (tmp_path / "index.html").write_text("hello")
        verifier, headers = firebase.verifier("product"), firebase.service_headers("user", to="product")
        for inner, status in (BILLING, 403), (BILLING_OR_USER, 200):
            app = FastAPI(dependencies=[BILLING_OR_USER] if is_included else [BILLING_OR_USER, inner])
            protect(app, verifier)
            if is_included:
                router = APIRouter(dependencies=[inner])
                router.frontend("/", directory=tmp_path)
                app.include_router(router)
            else:
                app.frontend("/", directory=tmp_path)
            assert (await send(app, "/")).status_code == 401
            assert (await send(app, "/", headers=headers)).status_code == status

    async def test_an_included_route_that_chooses_its_requests_itself(self, firebase: FakeFirebase) -> None:
        """Nor does a call that the inclusion admits, and the route does not, spend anything."""

        class OwnRoute(APIRoute):
            def matches(self, scope: Scope) -> tuple[Match, Scope]:
                return super().matches(scope)

        verifier, headers = firebase.verifier("product"), firebase.service_headers("user", to="product")
        for inner, outcome in (BILLING, "caller_not_allowed"), (BILLING_OR_USER, "reached"):
            app, router = FastAPI(), APIRouter(route_class=OwnRoute)
            protect(app, verifier)
            router.get("/items")(lambda: "reached")
            app.include_router(router, dependencies=[BILLING_OR_USER, inner])
            assert await verdict(app, "/items", headers) == outcome


class TestOverrides:
    """`app.dependency_overrides` replaces an `allow` in tests, as it replaces every dependency."""

    async def test_an_equal_allow_finds_the_override(self, firebase: FakeFirebase) -> None:
        """The test need not import the object that the route was made with."""
        app = FastAPI()
        protect(app, firebase.verifier("product"))

        @app.get("/items")
        async def items(caller: ForBilling) -> str:
            return str(caller)

        made_up = ServiceCaller("billing", "svc:billing", "product", "fresh", "an-id", 0)
        app.dependency_overrides[allow(services=["billing"])] = lambda: made_up
        assert await verdict(app, "/items") == "svc:billing"
        app.dependency_overrides = {allow(users=True): lambda: made_up}
        assert await verdict(app, "/items") == "token_missing"

    async def test_an_overridden_dependency_hides_the_allow_below_it(self, firebase: FakeFirebase) -> None:
        """Nothing below it is asked for. What the replacement itself depends on is."""
        app = FastAPI()
        protect(app, firebase.verifier("product"))

        async def current(caller: ForBilling) -> str:
            return str(caller)

        async def anybody() -> str:
            return "anybody"

        async def a_user(caller: Annotated[Caller, Depends(allow(users=True))]) -> str:
            return str(caller)

        @app.get("/items")
        async def items(caller: Annotated[str, Depends(current)]) -> str:
            return caller

        app.dependency_overrides[current] = anybody
        assert await verdict(app, "/items") == "anybody"
        app.dependency_overrides[current] = a_user
        assert await verdict(app, "/items") == "user_token_missing"
        assert await verdict(app, "/items", firebase.user_headers("anna")) == "user:anna"


class UnreadBody:
    """A body that no one may read."""

    def __aiter__(self) -> "UnreadBody":
        return self

    async def __anext__(self) -> bytes:
        raise AssertionError("the body was read")


class CountingRoute(APIRoute):
    """A route class of an app, which counts the requests that its routes handle."""

    handled = 0

    def get_route_handler(self) -> Callable[..., Any]:
        handle = super().get_route_handler()

        async def counting(request: Request) -> Any:
            type(self).handled += 1
            return await handle(request)

        return counting


WRONG_REQUESTS: list[dict[str, Any]] = [
    {"content": b'{"name": ', "headers": {"Content-Type": "application/json"}},
    {"content": b"\xff\xfe", "headers": {"Content-Type": "application/json"}},
    {"content": b"not json", "headers": {"Content-Type": "text/plain"}},
    {"json": {"name": 1}},
    {"content": b""},
    {"content": b"x" * 2000, "headers": {"Content-Type": "application/json"}},
    {"content": b"--", "headers": {"Content-Type": "multipart/form-data"}},
    {"content": b"--x\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
    {"content": UnreadBody(), "headers": {"Content-Type": "application/json"}},
    {"content": UnreadBody(), "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
    {"params": {"limit": "many"}, "json": {"name": "a", "price": 1}},
]
"""Requests that are wrong in body, content type, length or query."""


PLACES = ["app", "router", "nested", "mounted", "mounted in Starlette", "route class"]
LIMIT: dict[str, Any] = {"max_body_size": 1000} if "max_body_size" in signature(APIRouter.post).parameters else {}
"""The limit of a route for its bodies. FastAPI has such limits, but the oldest supported version does not."""


@cache
def app_with_bodies(place: str) -> tuple[Starlette, str]:
    """Return an app whose routes take bodies, and stand in one of the `PLACES`, and their prefix."""
    routes = APIRouter(route_class=CountingRoute if place == "route class" else APIRoute)

    @routes.post("/json/{number}", **LIMIT)
    async def json_body(number: int, item: Item, caller: ForBilling, limit: int = 1) -> str:
        return f"{caller} {item.name}"

    @routes.post("/form/{number}")
    async def form(
        number: int,
        name: Annotated[str, Form()],
        file: Annotated[UploadFile, File()],
        x_tenant: Annotated[int, Header()],
        caller: ForBilling,
    ) -> str:
        return f"{caller} {name}"

    app = FastAPI()
    match place:
        case "app":
            app.router.routes.extend(routes.routes)
            return app, ""
        case "nested":
            middle = APIRouter()
            middle.include_router(routes, prefix="/in")
            app.include_router(middle, prefix="/v1")
        case "mounted":
            inner = FastAPI()
            inner.include_router(routes)
            app.mount("/v1/in", inner)
        case "mounted in Starlette":
            app.include_router(routes)
            return Starlette(routes=[Mount("/v1/in", app)]), "/v1/in"
        case _:
            app.include_router(routes, prefix="/v1/in")
    return app, "/v1/in"


class TestBeforeTheBody:
    """Without a valid token, a wrong request is a 401 with its challenge, and the body is not read."""

    @pytest.fixture(params=PLACES)
    def place(self, firebase: FakeFirebase, request: pytest.FixtureRequest) -> tuple[Starlette, str]:
        """An app with the same routes in one of the places in which routes can stand, and their prefix."""
        app, prefix = app_with_bodies(request.param)
        protect(app, firebase.verifier("product"))
        return app, prefix

    async def test_a_wrong_request_without_a_token_is_a_401(self, place: tuple[Starlette, str]) -> None:
        """A stranger does not learn what is wrong with it."""
        app, prefix = place
        for path, wrong in product(("/json/7", "/json/seven", "/form/7", "/form/seven"), WRONG_REQUESTS):
            response = await send(app, prefix + path, "POST", **wrong)
            assert (response.status_code, response.json()["code"]) == (401, "token_missing")
            assert response.headers["www-authenticate"] == 'MsToken realm="product"'

    async def test_a_wrong_request_of_another_service_is_a_403(
        self, place: tuple[Starlette, str], firebase: FakeFirebase
    ) -> None:
        """Nor does a caller that the route does not admit."""
        app, prefix = place
        for wrong in WRONG_REQUESTS:
            headers = wrong.get("headers", {}) | firebase.service_headers("user", to="product")
            response = await send(app, f"{prefix}/json/seven", "POST", **wrong | {"headers": headers})
            assert (response.status_code, response.json()["code"]) == (403, "caller_not_allowed")

    async def test_an_admitted_caller_learns_what_is_wrong(
        self, place: tuple[Starlette, str], firebase: FakeFirebase
    ) -> None:
        """The app answers as it does without this library, and right requests reach the route."""
        app, prefix = place
        wrong = await send(app, f"{prefix}/json/seven", "POST", json={}, headers=billing(firebase))
        assert wrong.status_code == 422
        assert {error["loc"][0] for error in wrong.json()["detail"]} == {"path", "body"}
        long = await send(app, f"{prefix}/json/7", "POST", content=b"x" * 2000, headers=billing(firebase))
        assert long.status_code == (413 if LIMIT else 422)
        right = await send(app, f"{prefix}/json/7", "POST", json={"name": "tea", "price": 1}, headers=billing(firebase))
        assert right.json() == "svc:billing tea"
        sent = billing(firebase) | {"X-Tenant": "1"}
        form = await send(app, f"{prefix}/form/7", "POST", data={"name": "tea"}, files={"file": b"x"}, headers=sent)
        assert form.json() == "svc:billing tea"

    async def test_other_dependencies_run_afterwards(self, firebase: FakeFirebase) -> None:
        """A dependency in front of `allow` neither answers strangers nor works for them."""
        app = FastAPI()
        protect(app, firebase.verifier("product"))
        ran: list[str] = []

        def first() -> None:
            ran.append("first")
            raise ValueError("This item does not exist.")

        @app.get("/items", dependencies=[Depends(first), BILLING])
        def items(x_tenant: Annotated[str, Header()]) -> None: ...

        assert await verdict(app, "/items") == "token_missing"
        assert ran == []

    async def test_other_methods_and_paths_need_no_token(self, firebase: FakeFirebase) -> None:
        """What the OpenAPI document tells everyone is no secret: 404 and 405 stay what they are."""
        app = FastAPI()
        protect(app, firebase.verifier("product"))

        @app.post("/items/")
        async def items(caller: ForBilling) -> None: ...

        assert (await send(app, "/items/")).status_code == 405
        assert (await send(app, "/nothing")).status_code == 404
        assert (await send(app, "/items", "POST")).status_code == 307
        assert (await send(app, "/openapi.json")).status_code == 200

    async def test_a_route_that_is_added_while_the_app_serves(self, firebase: FakeFirebase) -> None:
        """It is guarded too: on the app, and on a router that was included before."""
        app, router, inner = FastAPI(), APIRouter(), APIRouter()
        protect(app, firebase.verifier("product"))
        router.include_router(inner)
        app.include_router(router)
        assert (await send(app, "/later", "POST")).status_code == 404

        async def later(item: Item, caller: ForBilling) -> None: ...

        app.post("/later")(later)
        inner.post("/inner")(later)
        app.router.routes.append(APIRoute("/appended", later, methods=["POST"]))
        for path in "/later", "/inner", "/appended":
            assert await verdict(app, path, method="POST", content=b"{") == "token_missing"

    @pytest.mark.parametrize("is_included", [True, False])
    async def test_a_route_class_that_chooses_its_requests_itself(
        self, firebase: FakeFirebase, is_included: bool
    ) -> None:
        """The guard does not guess which route it selects. If it cannot ask, the dependency verifies the call."""

        class VersionedRoute(APIRoute):
            def matches(self, scope: Scope) -> tuple[Match, Scope]:
                match, child_scope = super().matches(scope)
                wanted = f"v{dict(scope['headers']).get(b'x-version', b'1').decode()}"
                return (match, child_scope) if self.name == wanted else (Match.NONE, {})

        app = FastAPI()
        protect(app, firebase.verifier("product"))
        router = APIRouter() if is_included else app.router
        router.route_class = VersionedRoute

        @router.post("/items", dependencies=[ADMINS])
        async def v1(item: Item) -> str:
            return "for administrators"

        @router.post("/items", dependencies=[BILLING])
        async def v2(item: Item, caller: ForBilling) -> str:
            return f"for {caller}"

        if is_included:
            app.include_router(router, dependencies=[BILLING_OR_USER])
        headers, right = billing(firebase), {"json": {"name": "tea", "price": 1}}
        assert await verdict(app, "/items", headers, "POST", **right) == "caller_not_allowed"
        assert await verdict(app, "/items", headers | {"X-Version": "2"}, "POST", **right) == "for svc:billing"
        assert await verdict(app, "/items", {"X-Version": "2"}, "POST", **right) == "token_missing"
        sent = {"X-Version": "2", "Content-Type": "application/json"}
        wrong = await send(app, "/items", "POST", headers=sent, content=b"{")
        assert wrong.status_code == (422 if is_included else 401)


class TestMounted:
    """The nearest verifier up the chain of mounts serves."""

    def inner(self) -> FastAPI:
        inner = FastAPI()

        @inner.get("/items")
        def items(caller: ForBilling) -> str:
            return str(caller)

        @inner.get("/sold-out")
        def sold_out() -> None:
            raise SoldOut

        return inner

    @pytest.mark.parametrize("depth", [1, 2, 3])
    async def test_an_app_in_a_protected_one(self, firebase: FakeFirebase, depth: int) -> None:
        """The verifier of the outer app serves an app that was mounted in it, however deep."""
        app = self.inner()
        for level in range(depth):
            outer = FastAPI()
            if level == depth - 1:
                protect(outer, firebase.verifier("product"))
            outer.mount("/v1", app)
            app = outer
        path = "/v1" * depth + "/items"
        headers = billing(firebase)
        assert await verdict(app, path, headers) == "svc:billing"
        assert await verdict(app, path, headers) == "token_replayed"
        answer = await send(app, path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'MsToken realm="product"')

    @pytest.mark.parametrize("kind", ["middleware", "mount's middleware", "host", "routes", "router", "included"])
    async def test_whatever_is_around_the_app(self, firebase: FakeFirebase, kind: str) -> None:
        """Middleware, a host or an included router between the two apps makes no difference."""
        app, inner = FastAPI(), self.inner()
        protect(app, firebase.verifier("product"))
        match kind:
            case "middleware":
                app.mount("/v1", GZipMiddleware(inner))
            case "mount's middleware":
                app.router.routes.append(Mount("/v1", inner, middleware=[Middleware(GZipMiddleware)]))
            case "host":
                app.router.routes.append(Host("product", FastAPI(routes=[Mount("/v1", inner)])))
            case "routes":
                app.router.routes.append(Mount("/v1", routes=inner.routes))
            case "router":
                app.mount("/v1", inner.router)
            case _:
                router = APIRouter()
                router.mount("/v1", inner)
                app.include_router(router)
        assert await verdict(app, "/v1/items") == "token_missing"
        assert await verdict(app, "/v1/items", billing(firebase)) == "svc:billing"

    async def test_an_app_with_a_verifier_of_its_own(self, firebase: FakeFirebase) -> None:
        """It is another service: tokens for the outer one are not for it."""
        inner, app = self.inner(), FastAPI()
        protect(inner, firebase.verifier("stock"))
        protect(app, firebase.verifier("product"))
        app.mount("/stock", inner)
        assert await verdict(app, "/stock/items", billing(firebase)) == "token_wrong_audience"
        assert await verdict(app, "/stock/items", firebase.service_headers("billing", to="stock")) == "svc:billing"

    async def test_a_protected_app_in_one_that_is_not(self, firebase: FakeFirebase) -> None:
        """The outer app need not know this library."""
        inner, app = self.inner(), FastAPI()
        protect(inner, firebase.verifier("product"))
        app.mount("/v1", inner)
        assert await verdict(app, "/v1/items", billing(firebase)) == "svc:billing"

    async def test_an_app_that_has_served_before(self, firebase: FakeFirebase) -> None:
        """It served alone, or somebody has run its lifespan. Then Starlette takes no more exception handlers."""
        inner, app = self.inner(), FastAPI()
        with pytest.raises(NotProtected):
            await send(inner, "/items")
        protect(app, firebase.verifier("product"))
        app.mount("/v1", inner)
        assert await verdict(app, "/v1/items") == "token_missing"
        assert await verdict(app, "/v1/sold-out") == "sold_out"

    async def test_a_problem_of_a_mounted_app_is_answered(self, firebase: FakeFirebase) -> None:
        """It is answered as in the outer app, unless the mounted app has a handler of its own."""
        inner, app = self.inner(), FastAPI()
        protect(app, firebase.verifier("product"))
        app.mount("/v1", inner)
        assert await verdict(app, "/v1/sold-out") == "sold_out"

        own = self.inner()
        own.add_exception_handler(CallerNotAllowed, lambda _request, _error: JSONResponse("its own"))
        app.mount("/v2", own)
        assert await verdict(app, "/v2/items", firebase.service_headers("user", to="product")) == "its own"


class SoldOut(Problem):
    """An error of an application."""

    status = 409
    code = "sold_out"
    title = "The product is sold out"


async def test_a_handler_of_the_app_for_every_problem_is_kept(firebase: FakeFirebase) -> None:
    """An app that answers problems in a form of its own answers refusals so too."""
    app = FastAPI()
    app.add_exception_handler(Problem, lambda _request, problem: JSONResponse(f"its own {type(problem).__name__}"))
    protect(app, firebase.verifier("product"))

    @app.get("/items")
    async def items(caller: ForBilling) -> None: ...

    assert await verdict(app, "/items") == "its own TokenMissing"


async def test_an_app_without_protect_says_what_to_do() -> None:
    """The error names the call that is missing. No route with `allow` answers anyone."""
    app = FastAPI()

    @app.get("/items")
    async def items(caller: ForBilling) -> None: ...

    with pytest.raises(NotProtected, match=r'Call protect\(app, TokenVerifier\("…"\)\) of mstoken\.fastapi'):
        await send(app, "/items")


class Handshake:
    """The handshake of a WebSocket with an app, and what the app sent."""

    def __init__(self, *, with_response: bool = True) -> None:
        self._extensions: dict[str, Any] = {"websocket.http.response": {}} if with_response else {}
        self.sent: list[MutableMapping[str, Any]] = []

    async def __call__(self, app: FastAPI, path: str, headers: dict[str, str] | None = None) -> str:
        """Return the type of the first message that the app sent."""
        encoded = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        scope: Scope = {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": encoded,
            "subprotocols": [],
            "extensions": self._extensions,
        }
        received: list[Message] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
        messages = iter(received)
        self.sent = []

        async def receive() -> Message:
            return next(messages)

        async def note(message: Message) -> None:
            self.sent.append(message)

        await app(scope, receive, note)
        return str(self.sent[0]["type"])

    @property
    def answer(self) -> tuple[int, str]:
        """The status and the code of the answer to a handshake."""
        start, *rest = self.sent
        body = b"".join(message["body"] for message in rest)
        return start["status"], json.loads(body)["code"]


class TestWebSockets:
    """A handshake is verified as a request is, before it is accepted."""

    @pytest.fixture(params=["app", "router", "mounted"])
    def app(self, firebase: FakeFirebase, request: pytest.FixtureRequest) -> FastAPI:
        """A WebSocket route for Billing at /v1/feed, and one for users at /v1/chat."""
        app = FastAPI()
        protect(app, firebase.verifier("product"))
        place = APIRouter(prefix="/v1", dependencies=[BILLING_OR_USER]) if request.param != "mounted" else FastAPI()

        @place.websocket("/feed")
        async def feed(websocket: WebSocket, caller: ForBilling, limit: int = 1) -> None:
            await websocket.accept()
            await websocket.send_text(str(caller))
            raise SoldOut

        @app.websocket("/v1/chat")
        async def chat(websocket: WebSocket, caller: Annotated[Caller, Depends(allow(users=True))]) -> None:
            await websocket.accept()
            await websocket.send_text(str(caller))

        if isinstance(place, FastAPI):
            app.mount("/v1", place)
        else:
            app.include_router(place)
        return app

    async def test_an_admitted_caller_is_accepted(self, firebase: FakeFirebase, app: FastAPI) -> None:
        """The route knows the caller. The token is spent by the handshake."""
        handshake, headers = Handshake(), billing(firebase)
        assert await handshake(app, "/v1/feed", headers) == "websocket.accept"
        assert handshake.sent[1]["text"] == "svc:billing"
        assert await handshake(app, "/v1/feed", headers) == "websocket.http.response.start"
        assert handshake.answer == (401, "token_replayed")
        assert await handshake(app, "/v1/chat", firebase.user_headers("anna")) == "websocket.accept"
        assert handshake.sent[1]["text"] == "user:anna"

    async def test_other_callers_are_refused_before_it_is_accepted(self, firebase: FakeFirebase, app: FastAPI) -> None:
        """The answer to the handshake is the one that a request would get."""
        handshake = Handshake()
        await handshake(app, "/v1/feed")
        assert handshake.answer == (401, "token_missing")
        assert (b"www-authenticate", b'MsToken realm="product"') in handshake.sent[0]["headers"]
        await handshake(app, "/v1/feed", firebase.service_headers("user", to="product"))
        assert handshake.answer == (403, "caller_not_allowed")
        firebase.down = True
        await handshake(app, "/v1/feed", firebase.service_headers("other", to="product"))
        assert handshake.answer == (503, "verifier_unavailable")

    async def test_a_server_that_cannot_answer_a_handshake(self, firebase: FakeFirebase, app: FastAPI) -> None:
        """The handshake is closed, which the server answers with 403. The reason is the code of the refusal."""
        handshake = Handshake(with_response=False)
        assert await handshake(app, "/v1/feed") == "websocket.close"
        assert handshake.sent == [{"type": "websocket.close", "code": 1008, "reason": "token_missing"}]
        firebase.down = True
        await handshake(app, "/v1/feed", firebase.service_headers("other", to="product"))
        assert handshake.sent == [{"type": "websocket.close", "code": 1013, "reason": "verifier_unavailable"}]

    async def test_a_problem_after_the_handshake_closes_the_connection(
        self, firebase: FakeFirebase, app: FastAPI
    ) -> None:
        """No answer of HTTP can be sent any more."""
        handshake = Handshake()
        await handshake(app, "/v1/feed", billing(firebase))
        assert handshake.sent[2:] == [{"type": "websocket.close", "code": 1008, "reason": "sold_out"}]

    async def test_a_proof_is_for_the_handshake(self, firebase: FakeFirebase, app: FastAPI) -> None:
        """Its method is GET, and its URL that of the HTTP request (RFC 6455, section 4.1)."""
        auth = firebase.service_auth("billing", to="product", mode="proof")
        handshake = Handshake()
        for url, outcome in (
            ("http://product/v1/feed", "websocket.accept"),
            ("http://product/v1/chat", "websocket.http.response.start"),
        ):
            headers = next(auth.sync_auth_flow(httpx.Request("GET", url))).headers
            assert await handshake(app, "/v1/feed", dict(headers)) == outcome
        assert handshake.answer == (401, "proof_invalid")

    async def test_an_app_without_protect_says_what_to_do(self) -> None:
        """The error is the same as for a request."""
        app = FastAPI()

        @app.websocket("/feed")
        async def feed(websocket: WebSocket, caller: ForBilling) -> None: ...

        with pytest.raises(NotProtected):
            await Handshake()(app, "/feed")


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[int]:
    """Serve an app with uvicorn in this event loop, and yield the port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http="h11", ws="websockets-sansio", log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


@pytest.mark.skipif(
    tuple(map(int, uvicorn.__version__.split(".")[:2])) < (0, 53),
    reason="uvicorn before 0.53 answers a refused handshake with two lines Content-Length",
)
async def test_a_websocket_on_a_real_server(firebase: FakeFirebase) -> None:
    """A server such as uvicorn offers to answer handshakes, and clients see the status and the challenge."""
    app = FastAPI()
    protect(app, firebase.verifier("product"))

    @app.websocket("/feed")
    async def feed(websocket: WebSocket, caller: ForBilling) -> None:
        await websocket.accept()
        await websocket.send_text(str(caller))
        await websocket.close()

    async with served(app) as port:
        url = f"ws://127.0.0.1:{port}/feed"
        async with connect(url, additional_headers=billing(firebase), proxy=None) as connection:
            assert await connection.recv() == "svc:billing"
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, proxy=None)
    assert refused.value.response.status_code == 401
    assert refused.value.response.headers["WWW-Authenticate"] == 'MsToken realm="product"'


class TestPaths:
    """A proof is for the path that was sent, on every server."""

    @pytest.mark.parametrize("raw_path", ["as sent", "none", "missing"])
    @pytest.mark.parametrize(
        "sent",
        [
            "/of/a",
            "/of/a@b:c",
            "/of/a;b=c,d",
            "/of/!$&'()*+",
            "/of/-._~",
            "/of/a%20b%25",
            "/of/%C3%B6",
            "/of/%5B%5D%7C",
        ],
    )
    async def test_a_server_that_does_not_tell_how_the_path_was_sent(
        self, firebase: FakeFirebase, raw_path: str, sent: str
    ) -> None:
        """The characters that RFC 3986 leaves bare in a path have no escape. `raw_path` is optional in ASGI."""
        app = FastAPI()
        protect(app, firebase.verifier("product"))

        @app.get("/of/{name}")
        async def of(name: str, caller: ForBilling) -> str:
            return str(caller)

        async def server(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
            if raw_path == "none":
                scope["raw_path"] = None
            elif raw_path == "missing":
                del scope["raw_path"]
            await app(scope, receive, send)

        auth = firebase.service_auth("billing", to="product", mode="proof")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=server)) as client:
            response = await client.get(f"http://product{sent}", auth=auth)
        assert response.json() == "svc:billing", response.text


async def test_a_caller_that_goes_on_calling_is_refused_for_its_nonce_only_once() -> None:
    """Answers carry the next nonce in time, also those that a route makes itself and those of a mounted app."""
    clock = FakeClock()
    firebase = FakeFirebase(clock=clock, base_url="http://product", nonce_secret="n" * 32)
    app, mounted = FastAPI(), FastAPI()
    protect(app, firebase.verifier("product"))
    app.mount("/v2", mounted)

    @app.get("/items")
    async def items(caller: ForBilling) -> Response:
        return Response("items")

    @mounted.get("/items")
    async def mounted_items(caller: ForBilling) -> str:
        return "items"

    answers: list[tuple[int, bool]] = []

    async def note(response: httpx.Response) -> None:
        answers.append((response.status_code, "DPoP-Nonce" in response.headers))

    auth = firebase.service_auth("billing", to="product", mode="proof")
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, auth=auth, event_hooks={"response": [note]}) as client:
        for path in ("/items", "/v2/items", "/items", "/v2/items"):
            assert (await client.get(f"http://product{path}")).status_code == 200
            clock.advance(RENEWAL_AGE_SECONDS)
    assert answers == [(401, True), (200, False), (200, True), (200, True), (200, True)]


async def test_users_are_known_to_routes_with_several_admissions(firebase: FakeFirebase) -> None:
    """A role that the route asks for is asked for, although the router admits every user."""
    app = FastAPI(dependencies=[Depends(allow(users=True, services={"billing"}))])
    protect(app, firebase.verifier("product"))

    @app.get("/items")
    async def items(caller: Annotated[Caller, Depends(allow(users={"admin"}))]) -> str:
        assert isinstance(caller, UserCaller)
        return str(caller)

    assert await verdict(app, "/items", firebase.user_headers("anna")) == "caller_not_allowed"
    assert await verdict(app, "/items", firebase.user_headers("root", role="admin")) == "user:root"
