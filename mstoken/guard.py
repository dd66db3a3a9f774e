"""Verifies the calls of FastAPI's routes before they run. `mstoken.fastapi` is the adapter that apps use.

FastAPI reads the body of a request, and looks at its path and its query, before or while it runs dependencies. With a
dependency alone, a stranger would learn what is wrong with a request, and could make the app read a body.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import fastapi.routing
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Match, Router
from starlette.types import ASGIApp, ExceptionHandler, Receive, Scope, Send

from mstoken import uri
from mstoken.callee.callers import Admission, Call, Caller
from mstoken.callee.verification import Verification
from mstoken.callee.verifier import TokenVerifier
from mstoken.errors import NotProtected
from mstoken.problem import Problem
from mstoken.wire import PROOF_HEADER, SERVICE_TOKEN_HEADER

_SCOPE_KEY = "mstoken"
"""The member of an ASGI scope that has the `_Protection` of a request."""
_MAX_LAYERS = 100
"""How many layers of middleware around a mounted app are looked through."""

# Since FastAPI has included routers, this returns their routes too. Before, `include_router` copied the routes.
_every_route: Callable[[Iterable[BaseRoute]], Iterator[Any]] = getattr(fastapi.routing, "iter_route_contexts", iter)


class _Protection:
    """The verifier that serves one request, and its verification of the request."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self.verifier = verifier
        self._verification: Verification | None = None

    def verification(self, connection: HTTPConnection) -> Verification:
        """Return the verification of this connection, the same one for all who ask.

        A program can make another request of the scope of this one. That is another call.
        """
        call = _call(connection)
        if self._verification is None or self._verification.call != call:
            self._verification = Verification(self.verifier, call)
        return self._verification


@dataclass(frozen=True)
class Allow:
    """A dependency that returns the caller of a request or of a WebSocket handshake, or refuses it.

    Two that admit the same callers are equal. So FastAPI asks once for both of them, and each of them finds its entry
    in `app.dependency_overrides`.
    """

    admission: Admission

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Return the caller of a connection. Raises its `Refusal`, and `NotProtected` if no app has a verifier."""
        protection: _Protection | None = connection.scope.get(_SCOPE_KEY)
        if protection is None:
            raise NotProtected
        also = _admissions_of(connection.scope.get("route"), connection.scope)
        return await protection.verification(connection).caller(self.admission, also)


class Guard:
    """Verifies a call before the route runs that the call is for, if the route has an `Allow` dependency.

    The guard is between the router and the exception handlers of its app. So a refusal is answered as every error of
    the app is: by its handlers, and through its middleware. The guard only decides when a call is verified. Where it
    finds no admission, the dependency verifies the call.
    """

    def __init__(self, router: Router, answer: ExceptionHandler) -> None:
        self.verifier: TokenVerifier | None = None
        """The verifier of the app, if it has one of its own. An app that is mounted in another one may have none."""
        self._router = router
        self._answer = answer
        self._inner: ASGIApp = router.middleware_stack

    @classmethod
    def of(cls, app: Starlette | Router, answer: ExceptionHandler) -> "Guard":
        """Return the guard of an app or of a router. If it has none, it gets one, and `answer` for every `Problem`."""
        if isinstance(app, Starlette):
            if Problem not in app.exception_handlers:
                app.add_exception_handler(Problem, answer)
            app = app.router
        if not isinstance(app.middleware_stack, cls):
            app.middleware_stack = cls(app, answer)
        return app.middleware_stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI, "Applications")."""
        if scope["type"] in ("http", "websocket"):
            if self.verifier is not None:
                scope[_SCOPE_KEY] = _Protection(self.verifier)
            await self._verify(scope)
        await self._inner(scope, receive, send)

    async def _verify(self, scope: Scope) -> None:
        route = self._selected(scope)
        if getattr(route, "dependant", None) is None:
            self._cover(getattr(route, "app", None))
            return
        protection: _Protection | None = scope.get(_SCOPE_KEY)
        admissions = _admissions_of(route, scope)
        first = next(admissions, None)
        if protection is not None and first is not None:
            await protection.verification(HTTPConnection(scope)).caller(first, admissions)

    def _selected(self, scope: Scope) -> Any:
        """Return the route that the router will select. Return None if there is none, and if it cannot be told."""
        for route in _every_route(self._router.routes):
            original = getattr(route, "original_route", route)
            if isinstance(original, APIRoute) and type(original).matches is not APIRoute.matches:
                return None  # FastAPI calls a method of the app's own with a scope that only FastAPI can make.
            if route.matches(scope)[0] is Match.FULL:
                return route
        return None

    def _cover(self, app: object) -> None:
        """Guard a mounted app, whatever middleware is around it."""
        for _ in range(_MAX_LAYERS):
            if isinstance(app, Starlette | Router):
                self.of(app, self._answer)
                return
            app = getattr(app, "app", None)


def realm_of(connection: HTTPConnection) -> str:
    """Return the name of the service that serves a connection, or an empty text if no app has a verifier."""
    protection: _Protection | None = connection.scope.get(_SCOPE_KEY)
    return protection.verifier.audience if protection else ""


def _admissions_of(route: Any, scope: Scope) -> Iterator[Admission]:
    """Yield the admissions of the `Allow` dependencies of a route that are not overridden."""
    dependant = getattr(route, "dependant", None)
    if dependant is not None:
        yield from _admissions(dependant, getattr(scope.get("app"), "dependency_overrides", {}))


def _admissions(dependant: Dependant, overrides: Mapping[Hashable, object]) -> Iterator[Admission]:
    for dependency in dependant.dependencies:
        if overrides and dependency.call in overrides:
            continue
        if isinstance(dependency.call, Allow):
            yield dependency.call.admission
        yield from _admissions(dependency, overrides)


def _call(connection: HTTPConnection) -> Call:
    headers = connection.headers
    return Call(
        # The handshake of a WebSocket is a GET (RFC 6455, section 4.1). Its scope does not say so.
        method=connection.scope.get("method", "GET"),
        path=_path(connection.scope),
        service_tokens=headers.getlist(SERVICE_TOKEN_HEADER),
        proofs=headers.getlist(PROOF_HEADER),
        authorizations=headers.getlist("Authorization"),
    )


def _path(scope: Scope) -> str:
    """Return the path as it was sent, without the root path of the server, which a proxy may have added.

    A server need not tell how the path was sent. Then it has escapes where they are needed.

    Source: ASGI, "HTTP Connection Scope", `raw_path` and `root_path`.
    """
    raw: bytes | None = scope.get("raw_path")
    sent = raw.decode("latin-1") if raw else uri.escaped(scope["path"])
    # If an app is mounted in another one, Starlette keeps the root path of the server in app_root_path.
    root: str = scope.get("app_root_path", scope.get("root_path", "")).rstrip("/")
    return sent.removeprefix(root) if sent.startswith(f"{root}/") else sent
