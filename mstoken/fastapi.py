"""The adapter for FastAPI. One dependency says who may call a route. Refusals are answered as problem details.

app = FastAPI()
protect(app, TokenVerifier("product"))

@app.get("/products")
async def list_products(caller: Annotated[Caller, Depends(allow(users=True, services={"billing"}))]): ...
"""

import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Container
from contextlib import asynccontextmanager
from copy import deepcopy
from functools import cache
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from pydantic import BaseModel, ConfigDict
from starlette.responses import JSONResponse

from mstoken.callee.callers import Admission, Call, Caller
from mstoken.callee.verifier import TokenVerifier
from mstoken.problem import PROBLEM_MEDIA_TYPE, Problem, problem_details, problem_headers
from mstoken.wire import PROOF_HEADER, SERVICE_TOKEN_HEADER

_SERVICE_TOKEN = APIKeyHeader(
    name=SERVICE_TOKEN_HEADER,
    scheme_name="ServiceToken",
    description="A Firebase ID token of a service identity, made for this service. It is either valid for one call, or "
    "bound to a key; then each call also needs a new proof of that key in the header `DPoP` (RFC 9449).",
    auto_error=False,
)
_USER_TOKEN = HTTPBearer(
    scheme_name="UserToken",
    bearerFormat="JWT",
    description="A Firebase ID token of a signed-in user.",
    auto_error=False,
)


HTTPTOOLS_MODULE = "uvicorn.protocols.http.httptools_impl"
"""The module of uvicorn that parses requests with httptools."""

_log = logging.getLogger("mstoken.http")


class ProblemDetails(BaseModel):
    """Problem details (RFC 9457, section 3.1), with a stable `code`."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str | None = None


@cache
def _problem_schema() -> dict[str, Any]:
    """The JSON schema of `ProblemDetails`. It takes long to make, and an app has dozens of routes that announce it."""
    return ProblemDetails.model_json_schema()


def documented_problem(description: str) -> dict[str, Any]:
    """Return an entry for the `responses` of a route, for an answer with problem details.

    The entry contains the schema, because FastAPI documents a `model` as `application/json` too.
    """
    return {"description": description, "content": {PROBLEM_MEDIA_TYPE: {"schema": deepcopy(_problem_schema())}}}


_ServiceToken = Annotated[str | None, Security(_SERVICE_TOKEN)]
_UserToken = Annotated[HTTPAuthorizationCredentials | None, Security(_USER_TOKEN)]

REFUSALS: dict[int | str, dict[str, Any]] = {
    401: documented_problem("The token is missing, not valid, expired, or was used before."),
    403: documented_problem("The token is valid, but this caller may not make this call."),
    503: documented_problem("Tokens cannot be verified now. Try again after `Retry-After` seconds."),
}
"""The refusals of a route with `allow`, for its `responses`."""


def allow(
    *, users: bool | Collection[str] = False, services: Collection[str] = (), proof: bool = False
) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency that verifies a call and returns its `Caller`, or refuses the call.

    `users` is True to admit every signed-in user, or the set of roles (custom claim `role`) to admit. `services` are
    the names of the services to admit. With `proof` they must send a proof with each call, even if this service does
    not require proofs elsewhere. Raises ValueError when the route is made, if no caller could ever be admitted.
    """
    admission = Admission.of(users, services, proof=proof)

    async def caller(request: Request) -> Caller:
        verifier: TokenVerifier = request.app.state.mstoken_verifier
        call = Call(
            method=request.method,
            path=_path(request),
            service_tokens=request.headers.getlist(SERVICE_TOKEN_HEADER),
            proofs=request.headers.getlist(PROOF_HEADER),
            authorizations=request.headers.getlist("Authorization"),
        )
        return await verifier.authorize(admission, call)

    # The unused parameters put the security schemes into the OpenAPI document.
    if not admission.services:

        async def user_only(request: Request, _user: _UserToken) -> Caller:
            return await caller(request)

        return user_only
    if not admission.users:

        async def service_only(request: Request, _service: _ServiceToken) -> Caller:
            return await caller(request)

        return service_only

    async def user_or_service(request: Request, _user: _UserToken, _service: _ServiceToken) -> Caller:
        return await caller(request)

    return user_or_service


def protect(app: FastAPI, verifier: TokenVerifier) -> None:
    """Use `verifier` for the `allow` dependencies of the app, and open and close it with the app.

    Every `Problem` is answered as `application/problem+json`: this library's refusals, and the application's own
    errors that derive from it. A handler that the application registers for a class below `Problem` takes precedence
    (Starlette, "Exceptions"). Call this once, before the app serves.
    """
    app.state.mstoken_verifier = verifier
    app.add_exception_handler(Problem, _answer)
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        _warn_about_parser(sys.modules)
        async with verifier, inner(app) as state:
            yield state

    app.router.lifespan_context = lifespan


def _warn_about_parser(modules: Container[str]) -> None:
    """Log a warning if the server of this process is uvicorn with its parser httptools.

    uvicorn imports the module of a parser only to use it. An application cannot tell a trailer from a header itself.
    """
    if HTTPTOOLS_MODULE in modules:
        _log.warning(
            "uvicorn parses requests with httptools, which takes trailers for headers and has no limit for the size of "
            "a header. Start uvicorn with --http h11, or set UVICORN_HTTP=h11."
        )


def problem_response(problem: Problem, realm: str) -> JSONResponse:
    """Return the answer to a request that failed with `problem`, as problem details of the service `realm`."""
    headers = problem_headers(problem, realm)
    return JSONResponse(problem_details(problem), problem.status, headers, media_type=PROBLEM_MEDIA_TYPE)


def _path(request: Request) -> str:
    """Return the path as it was sent, without the root path of the server, which a proxy may have added.

    Source: ASGI, "HTTP Connection Scope", `raw_path` and `root_path`.
    """
    scope = request.scope
    sent: str = (scope.get("raw_path") or quote(scope["path"]).encode()).decode("latin-1")
    # If an app is mounted in another one, Starlette keeps the root path of the server in app_root_path.
    root: str = scope.get("app_root_path", scope.get("root_path", "")).rstrip("/")
    return sent.removeprefix(root) if sent.startswith(f"{root}/") else sent


async def _answer(request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)  # noqa: S101 - the handler is registered for problems only
    verifier: TokenVerifier = request.app.state.mstoken_verifier
    return problem_response(problem, verifier.audience)
