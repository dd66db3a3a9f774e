"""The adapter for FastAPI, over HTTP: statuses, challenges, problem details, OpenAPI."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse
from typing_extensions import override

from mstoken import Caller, TokenVerifier
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.errors import VerifierUnavailable
from mstoken.fastapi import REFUSALS, allow, protect
from mstoken.problem import Problem
from mstoken.starlette import HTTPTOOLS_MODULE
from mstoken.testing import FakeFirebase
from mstoken.wire import CLOCK_SKEW_SECONDS
from tests.mstoken.adapter_contract import ADMISSIONS, AdapterContract, Body, Lines, Site
from tests.mstoken.caller.fakes import Project
from tests.mstoken.test_starlette import send


def shop(firebase: FakeFirebase, app: FastAPI | None = None, verifier: TokenVerifier | None = None) -> FastAPI:
    """Return an app with a route for each kind of caller."""
    app = app or FastAPI()

    @app.get("/users", responses=REFUSALS)
    async def users(caller: Annotated[Caller, Depends(allow(users=True))]) -> str:
        return str(caller)

    @app.get("/services", responses=REFUSALS)
    async def services(caller: Annotated[Caller, Depends(allow(services={"billing"}))]) -> str:
        return str(caller)

    @app.get("/both", responses=REFUSALS)
    async def both(caller: Annotated[Caller, Depends(allow(users={"admin"}, services={"billing"}))]) -> str:
        return str(caller)

    protect(app, verifier or firebase.verifier("product"))
    return app


@pytest.fixture
def firebase() -> FakeFirebase:
    return FakeFirebase()


@pytest.fixture
async def client(firebase: FakeFirebase) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=shop(firebase))
    async with httpx.AsyncClient(transport=transport, base_url="http://product") as client:
        yield client


async def test_callers_reach_their_routes(firebase: FakeFirebase, client: httpx.AsyncClient) -> None:
    """Users and services reach the routes that admit them."""
    assert (await client.get("/users", headers=firebase.user_headers("anna"))).json() == "user:anna"
    billing = firebase.service_headers("billing", to="product")
    assert (await client.get("/services", headers=billing)).json() == "svc:billing"
    admin = firebase.user_headers("root", role="admin")
    assert (await client.get("/both", headers=admin)).json() == "user:root"


async def test_a_401_is_a_problem_with_a_challenge(firebase: FakeFirebase, client: httpx.AsyncClient) -> None:
    """The body is as in RFC 9457, the challenge as in RFC 9110, and the answer is not cached."""
    billing = firebase.service_headers("billing", to="product")
    await client.get("/services", headers=billing)
    response = await client.get("/services", headers=billing)
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == 'MsToken realm="product", error="token_replayed"'
    assert response.headers["cache-control"] == "no-store"
    assert response.json() == {
        "type": "about:blank",
        "title": "The service token has been used before",
        "status": 401,
        "code": "token_replayed",
    }


def test_equal_calls_of_allow_are_equal() -> None:
    """So FastAPI asks once for all of them, and an override of one is one of all."""
    one = allow(users={"admin", "clerk"}, services=["billing"])
    other = allow(users=["clerk", "admin"], services={"billing"})
    assert (one, hash(one)) == (other, hash(other))
    different = [
        allow(users=True),
        allow(users={"admin"}),
        allow(services={"billing"}),
        allow(services={"billing"}, proof=True),
        allow(services={"billing"}, acting_for_user=True),
        allow(users=True, services={"billing"}),
    ]
    assert len({*different, one}) == len(different) + 1


async def test_a_second_call_of_protect_replaces_the_verifier(firebase: FakeFirebase) -> None:
    """The one that was replaced is neither used nor opened."""
    first, second = WatchedStore(), WatchedStore()
    app = shop(firebase, verifier=firebase.verifier("other", replay=first))
    protect(app, firebase.verifier("product", replay=second))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://product") as client,
    ):
        billing = firebase.service_headers("billing", to="product")
        assert (await client.get("/services", headers=billing)).json() == "svc:billing"
    assert (first.closed, second.closed) == (False, True)


async def test_protect_is_too_late_when_the_app_serves(firebase: FakeFirebase) -> None:
    """Starlette takes no exception handlers any more. So the mistake is an error, and not a 500 for each refusal."""
    app = FastAPI()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://product") as client:
        await client.get("/")
    with pytest.raises(RuntimeError, match="before the app serves"):
        protect(app, firebase.verifier("product"))


async def test_a_call_without_a_token_gets_a_challenge_for_each_kind(client: httpx.AsyncClient) -> None:
    """The challenges name the tokens that the route accepts."""
    response = await client.get("/both")
    assert response.json()["code"] == "token_missing"
    assert response.headers["www-authenticate"] == 'MsToken realm="product", Bearer realm="product"'
    response = await client.get("/users")
    assert (response.json()["code"], response.headers["www-authenticate"]) == (
        "user_token_missing",
        'Bearer realm="product"',
    )


async def test_a_403_has_no_challenge(firebase: FakeFirebase, client: httpx.AsyncClient) -> None:
    """Another token would not help."""
    response = await client.get("/both", headers=firebase.user_headers("anna"))
    assert (response.status_code, response.json()["code"]) == (403, "caller_not_allowed")
    assert "www-authenticate" not in response.headers


async def test_an_outage_is_a_503_without_a_detail(firebase: FakeFirebase, client: httpx.AsyncClient) -> None:
    """The answer says when to retry, and not what is broken."""
    firebase.down = True
    response = await client.get("/services", headers=firebase.service_headers("billing", to="product"))
    assert (response.status_code, response.json()["code"]) == (503, "verifier_unavailable")
    assert int(response.headers["retry-after"]) >= 1
    assert "detail" not in response.json()


class OutOfStock(Problem):
    """An error of an application."""

    status = 409
    code = "out_of_stock"
    title = "The product is out of stock"
    scheme = "Bearer"


async def test_an_applications_own_problems_are_answered_too(firebase: FakeFirebase) -> None:
    """An application that derives its errors from `Problem` needs no handler of its own for them."""
    app = FastAPI()
    protect(app, firebase.verifier("product"))

    @app.get("/order")
    async def order() -> None:
        raise OutOfStock("Only 2 are left.")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://product") as client:
        response = await client.get("/order")
    assert (response.status_code, response.headers["content-type"]) == (409, "application/problem+json")
    assert response.headers["www-authenticate"] == 'Bearer realm="product"'
    assert (response.json()["code"], response.json()["detail"]) == ("out_of_stock", "Only 2 are left.")


async def test_a_repeated_header_line_is_refused(firebase: FakeFirebase, client: httpx.AsyncClient) -> None:
    """The verifier gets every header line, whatever the case of its name."""
    token = firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
    response = await client.get("/services", headers=[("x-ms-token", token), ("X-MS-Token", token)])
    assert response.json()["code"] == "token_malformed"


async def test_the_openapi_document_names_the_schemes(client: httpx.AsyncClient) -> None:
    """Each route lists the tokens that it accepts. Its refusals are documented as problem details only."""
    document = (await client.get("/openapi.json")).json()
    assert document["paths"]["/users"]["get"]["security"] == [{"UserToken": []}]
    assert document["paths"]["/services"]["get"]["security"] == [{"ServiceToken": []}]
    assert document["paths"]["/both"]["get"]["security"] == [{"UserToken": []}, {"ServiceToken": []}]
    assert document["components"]["securitySchemes"]["ServiceToken"]["name"] == "X-MS-TOKEN"
    for status in ("401", "403", "503"):
        assert document["paths"]["/both"]["get"]["responses"][status]["content"].keys() == {"application/problem+json"}


class WatchedStore(MemoryReplayStore):
    """A replay store that records whether it was closed."""

    closed = False

    async def ready(self) -> str | None:
        if self.closed:
            raise VerifierUnavailable("closed")
        return None

    async def aclose(self) -> None:
        self.closed = True


async def test_the_verifier_is_opened_and_closed_with_the_app(firebase: FakeFirebase) -> None:
    """`protect` keeps the lifespan of the app, and closes the verifier last."""
    store = WatchedStore()
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        events.append("open")
        yield {"mark": "kept"}
        events.append(f"closed before the verifier: {not store.closed}")

    app = FastAPI(lifespan=lifespan)
    protect(app, firebase.verifier("product", replay=store))
    async with app.router.lifespan_context(app) as state:
        assert state == {"mark": "kept"}
        assert not store.closed
    assert store.closed
    assert events == ["open", "closed before the verifier: True"]


async def call_with_proof(app: FastAPI, url: str, firebase: FakeFirebase, root_path: str = "") -> httpx.Response:
    """Call the app as Billing in proof mode. `root_path` is the prefix that a proxy put before its paths."""
    transport = httpx.ASGITransport(app=app, root_path=root_path)
    async with httpx.AsyncClient(transport=transport) as client:
        return await client.get(url, auth=firebase.service_auth("billing", to="product", mode="proof"))


async def test_a_proof_is_for_the_path_as_it_was_sent() -> None:
    """The path is compared with its escapes, and without its query."""
    firebase = FakeFirebase(base_url="http://product")
    app = shop(firebase)

    @app.get("/of/{name}")
    async def of(name: str, caller: Annotated[Caller, Depends(allow(services={"billing"}))]) -> str:
        return name

    response = await call_with_proof(app, "http://product/of/a%2520b%20c?q=%20#there", firebase)
    assert response.json() == "a%20b c"
    assert (await call_with_proof(app, "http://elsewhere/of/a", firebase)).json()["code"] == "proof_invalid"


async def test_a_proof_behind_a_proxy_that_removes_a_prefix() -> None:
    """The prefix is a part of the base URL, whether the server knows it as its root path or not."""
    firebase = FakeFirebase(base_url="https://shop.example.com/product")
    app = shop(firebase)
    # The transport of httpx takes the part of both kinds of proxy: it sets the root path, or removes the prefix.
    for path, root_path in ("/product/services", "/product"), ("/services", ""):
        sent = httpx.URL("https://shop.example.com/product/services")
        auth = firebase.service_auth("billing", to="product", mode="proof")
        headers = next(auth.sync_auth_flow(httpx.Request("GET", sent))).headers
        transport = httpx.ASGITransport(app=app, root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="https://shop.example.com") as client:
            assert (await client.get(path, headers=headers)).json() == "svc:billing"


async def test_a_proof_behind_a_prefix_with_escapes() -> None:
    """The root path is decoded, and the path that was sent is not."""
    firebase = FakeFirebase(base_url="https://shop.example.com/our%20shop")
    url = "https://shop.example.com/our%20shop/services"
    response = await call_with_proof(shop(firebase), url, firebase, root_path="/our shop")
    assert response.json() == "svc:billing"


async def test_a_proof_for_a_mounted_app() -> None:
    """The path of the mount belongs to the path of the call."""
    firebase = FakeFirebase(base_url="http://product")
    outer = FastAPI()
    outer.mount("/v1", shop(firebase))
    assert (await call_with_proof(outer, "http://product/v1/services", firebase)).json() == "svc:billing"


async def test_the_challenge_for_a_proof() -> None:
    """It has the algorithm, and the error if a proof was sent (RFC 9449, section 7.1)."""
    firebase = FakeFirebase(base_url="http://product", require_proof=True)
    transport = httpx.ASGITransport(app=shop(firebase))
    billing = firebase.service_headers("billing", to="product")
    async with httpx.AsyncClient(transport=transport, base_url="http://product") as client:
        missing = await client.get("/services", headers=billing)
        invalid = await client.get("/services", headers=billing | {"DPoP": "no proof"})
    assert (missing.status_code, missing.json()["code"]) == (401, "proof_missing")
    assert missing.headers["www-authenticate"] == 'DPoP realm="product", algs="ES256"'
    assert (invalid.status_code, invalid.json()["code"]) == (401, "proof_invalid")
    assert invalid.headers["www-authenticate"] == 'DPoP realm="product", error="invalid_dpop_proof", algs="ES256"'


async def test_a_caller_uses_the_nonce_of_the_refusal() -> None:
    """The caller retries with the nonce, and uses it for its next call at once (RFC 9449, section 8)."""
    firebase = FakeFirebase(base_url="http://product", nonce_secret="n" * 32)
    answers: list[int] = []

    async def note(response: httpx.Response) -> None:
        answers.append(response.status_code)

    auth = firebase.service_auth("billing", to="product", mode="proof")
    transport = httpx.ASGITransport(app=shop(firebase))
    hooks = {"response": [note]}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://product", event_hooks=hooks, auth=auth
    ) as client:
        assert (await client.get("/services")).json() == "svc:billing"
        assert (await client.get("/services")).json() == "svc:billing"
    # The hook also sees the refusal, which httpx's auth answers with a retry.
    assert answers == [401, 200, 200]


async def test_a_route_can_require_proofs(firebase: FakeFirebase) -> None:
    """A route with `proof=True` refuses fresh tokens."""
    app = FastAPI()

    @app.get("/worth")
    async def worth(caller: Annotated[Caller, Depends(allow(services={"billing"}, proof=True))]) -> str:
        return str(caller)

    protect(app, firebase.verifier("product", base_url="http://product"))
    assert (await call_with_proof(app, "http://product/worth", firebase)).json() == "svc:billing"
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://product") as client:
        response = await client.get("/worth", headers=firebase.service_headers("billing", to="product"))
    assert response.json()["code"] == "proof_missing"


async def test_a_server_that_takes_trailers_for_headers_is_noticed(
    firebase: FakeFirebase, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If uvicorn uses its parser httptools, the app logs a warning when it starts. Otherwise it logs nothing."""
    app = shop(firebase)
    async with app.router.lifespan_context(app):
        pass
    assert not caplog.records
    monkeypatch.setitem(sys.modules, HTTPTOOLS_MODULE, ModuleType(HTTPTOOLS_MODULE))
    async with app.router.lifespan_context(app):
        pass
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "--http h11" in record.getMessage()


def test_uvicorn_imports_only_the_parser_that_it_uses() -> None:
    """So the warning is right: the module that it looks for is that of httptools, and h11 does not import it."""
    assert uvicorn.config.HTTP_PROTOCOLS["httptools"].startswith(f"{HTTPTOOLS_MODULE}:")
    uvicorn.Config(FastAPI(), http="h11", ws="none").load()
    assert HTTPTOOLS_MODULE not in sys.modules


async def test_after_a_store_lost_its_memory_the_retry_of_a_call_succeeds() -> None:
    """A caller with a stock from before the loss sends a new token for each one that is refused as stale."""
    project = Project()
    stocked = await asyncio.to_thread(project.fill_stock)
    store = MemoryReplayStore(complete_since=project.clock(), clock=project.clock)
    app = shop(project.firebase, verifier=project.firebase.verifier("product", replay=store))
    project.clock.advance(CLOCK_SKEW_SECONDS + 1)
    client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), auth=project.identity.to("product"), base_url="http://product"
    )
    async with project.identity, client:
        calls = [await client.get("/services") for _ in range(stocked)]
    assert [call.status_code for call in calls] == [200] * stocked
    refusals = [[refusal.json()["code"] for refusal in call.history] for call in calls]
    assert refusals == [["token_stale"]] * stocked


class FastAPISite(Site):
    """An app of FastAPI. Its routes declare their body, which FastAPI reads."""

    def __init__(self, verifier: TokenVerifier) -> None:
        super().__init__(verifier)
        self._app = FastAPI()
        protect(self._app, verifier)
        self._app.get("/open", response_class=PlainTextResponse)(lambda: "open")
        for name, admissions in ADMISSIONS.items():
            *outer, innermost = [Depends(allow(**admission)) for admission in admissions]
            route = self._route(name, innermost)
            self._app.get(f"/{name}", dependencies=outer, response_class=PlainTextResponse)(route)
            self._app.post(f"/{name}", dependencies=outer, response_class=PlainTextResponse)(route)

    def _route(self, name: str, who: Any) -> Any:
        def route(caller: Caller = who, body: dict[str, str] | None = None) -> str:
            if name == "broken":
                raise HTTPException(404)
            return self.serve(name, caller)

        return route

    @property
    @override
    def protected(self) -> FastAPI:
        return self._app

    @override
    def send(self, method: str, path: str, lines: Lines = (), body: Body | None = None) -> httpx.Response:
        return send(self._app, method, path, lines, body)


class TestFastAPI(AdapterContract):
    """An app of FastAPI keeps the promises of every adapter."""

    site_class = FastAPISite
    head_status = 405
