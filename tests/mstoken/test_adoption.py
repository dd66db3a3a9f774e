"""An app that was built without this library gets service identities with the lines of the README, and no others."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.base import RequestResponseEndpoint

from mstoken import Caller
from mstoken.fastapi import allow, protect
from mstoken.testing import FakeFirebase

ORIGIN = "https://shop.example.com"
SESSION = {"Authorization": "Bearer session-7"}
"""A credential of the app's own, with the scheme that users' tokens have here too."""


class OutOfPaper(Exception):
    """An error of the app."""


class Report(BaseModel):
    """The body of a request."""

    title: str
    pages: int


def own_session(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials, Security(HTTPBearer())]
) -> Iterator[str]:
    """The app's own authentication."""
    if not credentials.credentials.startswith("session-"):
        raise HTTPException(401, "no session")
    request.app.state.events.append("session begins")
    yield credentials.credentials
    request.app.state.events.append("session ends")


Session = Annotated[str, Depends(own_session)]


def sessions(session: Session) -> str:
    return session


def existing_app(events: list[str], archive: FastAPI) -> FastAPI:
    """Return an app with everything that apps have, and `archive` mounted in it. It knows nothing of this library."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, str]]:
        events.append("started")
        yield {"printer": "ready"}
        events.append("ended")

    app = FastAPI(lifespan=lifespan)
    app.state.events = events
    app.add_middleware(GZipMiddleware, minimum_size=500)
    app.add_middleware(CORSMiddleware, allow_origins=[ORIGIN], allow_methods=["*"], allow_headers=["*"])

    @app.middleware("http")
    async def stamp(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["X-Served-By"] = "reports"
        return response

    @app.exception_handler(HTTPException)
    async def on_http(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return JSONResponse({"oops": error.detail}, error.status_code)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_request: Request, _error: Exception) -> JSONResponse:
        return JSONResponse({"oops": "invalid"}, 400)

    @app.exception_handler(OutOfPaper)
    def on_paper(_request: Request, _error: Exception) -> JSONResponse:
        return JSONResponse({"oops": "paper"}, 507)

    @app.exception_handler(Exception)
    async def on_defect(_request: Request, _error: Exception) -> JSONResponse:
        return JSONResponse({"oops": "defect"}, 500)

    app.get("/sessions")(sessions)

    @app.get("/paper")
    def paper() -> None:
        raise OutOfPaper

    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError

    printing = APIRouter(prefix="/printing")

    @printing.get("/{copies}")
    def copies(copies: int, request: Request, session: Session) -> dict[str, Any]:
        return {"printer": request.state.printer, "copies": copies, "session": session, "text": "x" * 1000}

    app.include_router(printing)

    @archive.post("/reports")
    def archived(report: Report) -> str:
        return report.title

    app.mount("/archive", archive)
    return app


@pytest.fixture
def firebase() -> FakeFirebase:
    return FakeFirebase()


@pytest.fixture
def events() -> list[str]:
    """What happened in the app."""
    return []


@pytest.fixture
def app(events: list[str], firebase: FakeFirebase) -> FastAPI:
    """The app, which now says who may call each route: with the lines of the README."""
    archive = FastAPI()
    app = existing_app(events, archive)
    protect(app, firebase.verifier("product"))

    @app.get("/prices")
    def prices(caller: Annotated[Caller, Depends(allow(users=True, services={"billing"}))]) -> list[str]:
        return [f"{number} for {caller}" for number in range(100)]

    only_billing = [Depends(allow(services={"billing"}))]
    internal = APIRouter(prefix="/internal", dependencies=only_billing)
    internal.get("/sessions")(sessions)
    app.include_router(internal)

    @archive.post("/private", dependencies=only_billing)
    def private(report: Report, caller: Annotated[Caller, Depends(allow(services={"billing"}))]) -> str:
        return f"{report.title} for {caller}"

    return app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app, which runs."""
    async with app.router.lifespan_context(app) as state:
        transport = httpx.ASGITransport(app=with_state(app, state), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://product") as client:
            yield client


def with_state(app: FastAPI, state: Any) -> Any:
    """Return the app, with the state of its lifespan in each scope, as servers do (ASGI, "Lifespan State")."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"state": dict(state)}, receive, send)

    return serve


def billing(firebase: FakeFirebase) -> dict[str, str]:
    return firebase.service_headers("billing", to="product")


async def test_services_and_users_are_admitted_by_sync_routes(
    client: httpx.AsyncClient, firebase: FakeFirebase
) -> None:
    """The answer is still compressed, stamped, and readable by the storefront."""
    for headers, name in ((billing(firebase), "svc:billing"), (firebase.user_headers("anna"), "user:anna")):
        response = await client.get("/prices", headers=headers | {"Origin": ORIGIN})
        assert response.json()[99] == f"99 for {name}"
        assert response.headers["content-encoding"] == "gzip"
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["x-served-by"] == "reports"


async def test_a_refusal_passes_the_middleware_of_the_app(client: httpx.AsyncClient) -> None:
    """A page of the storefront can read the 401, which no handler of the app has changed."""
    response = await client.get("/prices", headers={"Origin": ORIGIN})
    assert (response.status_code, response.json()["code"]) == (401, "token_missing")
    assert response.headers["www-authenticate"] == 'MsToken realm="product", Bearer realm="product"'
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["x-served-by"] == "reports"


async def test_a_preflight_request_needs_no_token(client: httpx.AsyncClient) -> None:
    """The browser asks without credentials (Fetch, "CORS-preflight request")."""
    asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-ms-token"}
    response = await client.options("/prices", headers=asks)
    assert (response.status_code, response.headers["access-control-allow-headers"]) == (200, "x-ms-token")


async def test_the_scheme_of_the_app_works_as_before(
    client: httpx.AsyncClient, firebase: FakeFirebase, events: list[str]
) -> None:
    """Its own Bearer credential is needed where it was, and beside a service token where both are."""
    assert (await client.get("/sessions")).status_code == 401
    assert (await client.get("/sessions", headers=SESSION)).json() == "session-7"
    assert (await client.get("/internal/sessions", headers=SESSION)).json()["code"] == "token_missing"
    assert (await client.get("/internal/sessions", headers=SESSION | billing(firebase))).json() == "session-7"
    wrong = {"Authorization": "Bearer other"} | billing(firebase)
    assert (await client.get("/internal/sessions", headers=wrong)).json() == {"oops": "no session"}
    assert events == ["started", *["session begins", "session ends"] * 2]


async def test_the_mounted_app_admits_services(client: httpx.AsyncClient, firebase: FakeFirebase) -> None:
    """Its open routes stay open. A wrong body is a 401 without a token, and a 422 with one."""
    report = {"title": "June", "pages": 3}
    assert (await client.post("/archive/reports", json=report)).json() == "June"
    assert (await client.post("/archive/private", json={})).json()["code"] == "token_missing"
    assert (await client.post("/archive/private", json={}, headers=billing(firebase))).status_code == 422
    answer = await client.post("/archive/private", json=report, headers=billing(firebase))
    assert answer.json() == "June for svc:billing"


async def test_the_handlers_of_the_app_answer_its_errors(client: httpx.AsyncClient) -> None:
    """Each error is answered as before."""
    assert (await client.get("/paper")).json() == {"oops": "paper"}
    assert (await client.get("/nowhere")).json() == {"oops": "Not Found"}
    assert (await client.get("/printing/many", headers=SESSION)).json() == {"oops": "invalid"}
    broken = await client.get("/broken")
    assert (broken.status_code, broken.json()) == (500, {"oops": "defect"})


async def test_the_lifespan_of_the_app_runs_once(app: FastAPI, events: list[str]) -> None:
    """Its state reaches the routes."""
    async with app.router.lifespan_context(app) as state:
        transport = httpx.ASGITransport(app=with_state(app, state))
        async with httpx.AsyncClient(transport=transport, base_url="http://product") as client:
            printed = (await client.get("/printing/2", headers=SESSION)).json()
    assert (printed["printer"], printed["copies"]) == ("ready", 2)
    assert (events[0], events[-1]) == ("started", "ended")


async def test_the_openapi_document_has_the_schemes_of_both(client: httpx.AsyncClient) -> None:
    """Neither takes the name of the other."""
    document = (await client.get("/openapi.json")).json()
    assert set(document["components"]["securitySchemes"]) == {"HTTPBearer", "ServiceToken", "UserToken"}
    assert document["paths"]["/sessions"]["get"]["security"] == [{"HTTPBearer": []}]
    assert document["paths"]["/internal/sessions"]["get"]["security"] == [{"ServiceToken": []}, {"HTTPBearer": []}]
