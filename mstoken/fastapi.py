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

from fastapi import FastAPI, Security
from fastapi.openapi.models import APIKey, APIKeyIn
from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.openapi.models import SecurityBase as SecurityModel
from fastapi.security.base import SecurityBase
from pydantic import BaseModel, ConfigDict
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketState

from mstoken.callee.callers import Admission, Caller
from mstoken.callee.verifier import TokenVerifier
from mstoken.guard import Allow, Guard, realm_of
from mstoken.problem import PROBLEM_MEDIA_TYPE, Problem, problem_details, problem_headers
from mstoken.wire import SERVICE_TOKEN_HEADER

_POLICY_VIOLATION = 1008
_TRY_AGAIN_LATER = 1013
"""Codes that close a WebSocket (RFC 6455, section 7.4.1; IANA, "WebSocket Close Code Number Registry")."""
_SERVER_ERROR = 500

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


REFUSALS: dict[int | str, dict[str, Any]] = {
    401: documented_problem("The token is missing, not valid, expired, or was used before."),
    403: documented_problem("The token is valid, but this caller may not make this call."),
    503: documented_problem("Tokens cannot be verified now. Try again after `Retry-After` seconds."),
}
"""The refusals of a route with `allow`, for its `responses`."""


class _Scheme(SecurityBase):
    """A security scheme for the OpenAPI document. It reads no header: the verifier does that."""

    def __init__(self, name: str, model: SecurityModel) -> None:
        self.scheme_name = name
        self.model = model

    async def __call__(self) -> None:
        """Do nothing. FastAPI's own schemes expect a request, which a WebSocket is not."""


_SERVICE_TOKEN = _Scheme(
    "ServiceToken",
    APIKey.model_validate(
        {
            "in": APIKeyIn.header,
            "name": SERVICE_TOKEN_HEADER,
            "description": "A Firebase ID token of a service identity, made for this service. It is either valid for "
            "one call, or bound to a key; then each call also needs a new proof of that key in the header `DPoP` "
            "(RFC 9449).",
        }
    ),
)
_USER_TOKEN = _Scheme(
    "UserToken", HTTPBearerModel(bearerFormat="JWT", description="A Firebase ID token of a signed-in user.")
)


# FastAPI reads the security schemes of a route from the parameters of its dependencies.


class _AllowUsers(Allow):
    async def __call__(self, connection: HTTPConnection, _user: Annotated[None, Security(_USER_TOKEN)]) -> Caller:
        return await self.caller(connection)


class _AllowServices(Allow):
    async def __call__(self, connection: HTTPConnection, _service: Annotated[None, Security(_SERVICE_TOKEN)]) -> Caller:
        return await self.caller(connection)


class _AllowBoth(Allow):
    async def __call__(
        self,
        connection: HTTPConnection,
        _user: Annotated[None, Security(_USER_TOKEN)],
        _service: Annotated[None, Security(_SERVICE_TOKEN)],
    ) -> Caller:
        return await self.caller(connection)


def allow(
    *,
    users: bool | Collection[str] = False,
    services: Collection[str] = (),
    proof: bool = False,
    acting_for_user: bool = False,
) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency that verifies a call and returns its `Caller`, or refuses the call.

    `users` is True to admit every signed-in user, or the set of roles (custom claim `role`) to admit. `services` are
    the names of the services to admit. With `proof` they must send a proof with each call, even if this service does
    not require proofs elsewhere. With `acting_for_user` they may send the token of a user in `Authorization` beside
    their own; then the caller's `user` is that user, whose token must be valid. Without it, `Authorization` beside a
    service token is not looked at.

    The dependency is for HTTP and WebSocket routes, routers and apps. A call is verified and spent once, however many
    of them it passes. All of them must admit the caller, or nothing is spent. The call is verified before the path, the
    query and the body are looked at: without a valid token, a wrong body is a 401. Two results of `allow` with the same
    arguments are equal.

    Raises ValueError when the route is made, if no caller could ever be admitted.
    """
    admission = Admission.of(users, services, proof=proof, acting_for_user=acting_for_user)
    if not admission.services:
        return _AllowUsers(admission)
    return _AllowBoth(admission) if admission.users else _AllowServices(admission)


def protect(app: FastAPI, verifier: TokenVerifier) -> None:
    """Use `verifier` for the `allow` dependencies of the app, and open and close it with the app.

    It also serves the apps that are mounted in this one, except those that `protect` gives a verifier of their own.

    Every `Problem` is answered as `application/problem+json`: this library's refusals, and the application's own
    errors that derive from it. A handler that the application registers for a class below `Problem` takes precedence
    (Starlette, "Exceptions"). Call this before the app serves; later it raises RuntimeError. A second call replaces the
    verifier, for tests.
    """
    if app.middleware_stack is not None and Problem not in app.exception_handlers:
        raise RuntimeError("protect(app, …) must be called before the app serves, where the app is made.")
    guard = Guard.of(app, _answer)  # type: ignore[arg-type] # it answers requests and WebSockets
    is_first = guard.verifier is None
    guard.verifier = verifier
    if is_first:
        _open_with(app, guard)


def _open_with(app: FastAPI, guard: Guard) -> None:
    """Open and close the verifier of the guard with the app."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        _warn_about_parser(sys.modules)
        assert guard.verifier is not None  # noqa: S101 - `protect` has set it
        async with guard.verifier, inner(app) as state:
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


async def _answer(connection: HTTPConnection, problem: Exception) -> JSONResponse | None:
    assert isinstance(problem, Problem)  # noqa: S101 - the handler is registered for problems only
    response = problem_response(problem, realm_of(connection))
    if not isinstance(connection, WebSocket):
        return response
    is_handshake = connection.application_state is WebSocketState.CONNECTING
    if is_handshake and "websocket.http.response" in (connection.scope.get("extensions") or {}):
        await connection.send_denial_response(response)
    elif connection.application_state is not WebSocketState.DISCONNECTED:
        # Before the handshake is accepted, the server answers this with 403 (ASGI, "Websocket", "Close").
        is_ours = problem.status >= _SERVER_ERROR
        await connection.close(_TRY_AGAIN_LATER if is_ours else _POLICY_VIOLATION, problem.code)
    return None
