"""The adapter for Starlette. One decorator says who may call an endpoint. Refusals are answered as problem details.

app = Starlette(routes=[Route("/products", list_products)])
protect(app, TokenVerifier("product"))

@allow(users=True, services={"billing"})
async def list_products(request: Request, caller: Caller) -> Response: ...
"""

import inspect
import logging
import sys
from collections.abc import AsyncIterator, Callable, Collection, Container, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

from mstoken.callee.callers import Admission
from mstoken.callee.views import CALLER, admission_of, note_admission
from mstoken.extras import needed_by
from mstoken.problem import Problem, problem_answer

with needed_by("mstoken.starlette", "starlette"):
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import HTTPConnection
    from starlette.responses import Response
    from starlette.websockets import WebSocket, WebSocketState

    from mstoken.callee.verifier import TokenVerifier
    from mstoken.guard import Allow, Guard, realm_of

_POLICY_VIOLATION = 1008
_TRY_AGAIN_LATER = 1013
"""Codes that close a WebSocket (RFC 6455, section 7.4.1; IANA, "WebSocket Close Code Number Registry")."""
_SERVER_ERROR = 500

HTTPTOOLS_MODULE = "uvicorn.protocols.http.httptools_impl"
"""The module of uvicorn that parses requests with httptools."""

_log = logging.getLogger("mstoken.http")


def allow(
    *,
    users: bool | Collection[str] = False,
    services: Collection[str] = (),
    proof: bool = False,
    acting_for_user: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Coroutine[Any, Any, Any]]]:
    """Return a decorator for an endpoint that gets its verified `Caller` in the parameter `caller`.

    An endpoint is a function, sync or async, that gets a request or a WebSocket. It may be a method of a class:
    `get`, `post` and others of an `HTTPEndpoint`, `on_connect` of a `WebSocketEndpoint`.

    The parameters are those of `mstoken.fastapi.allow`. A call is verified and spent once, before the endpoint runs, so
    before it reads the body. A refused call does not reach the endpoint. Raises ValueError when the endpoint is
    decorated, if no caller could ever be admitted, and TypeError if the endpoint does not take its caller.
    """
    admission = Admission.of(users, services, proof=proof, acting_for_user=acting_for_user)

    def decorate(endpoint: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
        inner = admission_of(endpoint)
        also = () if inner is None else (inner,)
        is_async = inspect.iscoroutinefunction(endpoint)

        @wraps(endpoint)
        async def answer(*args: Any, **kwargs: Any) -> Any:
            # A method gets its instance first.
            kwargs[CALLER] = await Allow(admission).caller(args[-1], also)
            if is_async:
                return await endpoint(*args, **kwargs)
            return await run_in_threadpool(endpoint, *args, **kwargs)

        note_admission(answer, endpoint, admission)
        return answer

    return decorate


def protect(app: Starlette, verifier: TokenVerifier) -> None:
    """Use `verifier` for every `allow` in the app, and open and close it with the app.

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
    guard.replace(verifier)
    if is_first:
        _open_with(app, guard)


def _open_with(app: Starlette, guard: Guard) -> None:
    """Open and close the verifier of the guard with the app."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Any]:
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


def problem_response(problem: Problem, realm: str) -> Response:
    """Return the answer to a request that failed with `problem`, as problem details of the service `realm`."""
    status, headers, body = problem_answer(problem, realm)
    return Response(body, status, headers)


async def _answer(connection: HTTPConnection, problem: Exception) -> Response | None:
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
