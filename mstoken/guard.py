"""Verifies the calls of an app of Starlette or FastAPI. `mstoken.starlette` and `mstoken.fastapi` are the adapters.

FastAPI reads the body of a request, and looks at its path and its query, before or while it runs dependencies. With a
dependency alone, a stranger would learn what is wrong with a request, and could make the app read a body. So the guard
verifies the calls of FastAPI's routes before they run. It does not import
FastAPI: an app without it has no such routes.
"""

import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Match, Router
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from mstoken.asgi import call_of
from mstoken.callee.callers import Admission, Caller
from mstoken.callee.verification import Verification, checked_verifier
from mstoken.callee.verifier import TokenVerifier
from mstoken.errors import NotProtected
from mstoken.problem import Problem
from mstoken.wire import NONCE_HEADER

_SCOPE_KEY = "mstoken"
"""The member of an ASGI scope that has the `_Protection` of a request."""
_HANDLERS_KEY = "starlette.exception_handlers"
_MAX_LAYERS = 100
"""How many layers of middleware around a mounted app are looked through."""
_FASTAPI = "fastapi.routing"
"""The module of FastAPI's routes. An app that has such routes has imported it."""

Dependant: TypeAlias = Any
"""FastAPI's model of a dependency or of a route: `fastapi.dependencies.models.Dependant`."""


def _every_route(routes: Iterable[BaseRoute]) -> Iterator[Any]:
    """Yield routes, and those of the routers that FastAPI has included.

    Before FastAPI had included routers, `include_router` copied their routes.
    """
    every: Callable[[Iterable[BaseRoute]], Iterator[Any]]
    every = getattr(sys.modules.get(_FASTAPI), "iter_route_contexts", iter)
    return every(routes)


class _Candidate(NamedTuple):
    """A route that a router may select: how it matches a scope, its dependencies, and the app that handles it.

    `matches` is None if nothing but FastAPI can ask: an included route of a class with a method `matches` of its own.
    """

    matches: Callable[[Scope], tuple[Match, Scope]] | None
    dependant: Dependant | None
    app: object

    @classmethod
    def of(cls, route: Any) -> "_Candidate":
        """Return the candidate for a route as `_every_route` returns it."""
        original = getattr(route, "original_route", route)
        matches = route.matches
        api_route = getattr(sys.modules.get(_FASTAPI), "APIRoute", None)
        is_known = (
            api_route is None
            or not isinstance(original, api_route)
            or type(original).matches is api_route.matches
            or getattr(matches, "__self__", None) is original
        )
        return cls(matches if is_known else None, getattr(route, "dependant", None), getattr(route, "app", None))


class _Protection:
    """The verifier that serves one request, and its verification of the request."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self.verifier = verifier
        self._verification: Verification | None = None

    def adding_nonce(self, send: Send) -> Send:
        """Return `send` with the next nonce in the answer, if the caller should use another one (RFC 9449, 8.2)."""

        async def send_with_nonce(message: Message) -> None:
            nonce = self._verification.next_nonce if self._verification else None
            if nonce is not None and message["type"] in ("http.response.start", "websocket.accept"):
                message.setdefault("headers", [])
                MutableHeaders(scope=message).setdefault(NONCE_HEADER, nonce)
            await send(message)

        return send_with_nonce

    def verification(self, connection: HTTPConnection) -> Verification:
        """Return the verification of this connection, the same one for all who ask.

        A program can make another request of the scope of this one. That is another call.
        """
        call = call_of(connection.scope)
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

    async def caller(self, connection: HTTPConnection, also: Iterable[Admission] = ()) -> Caller:
        """Return the caller of a connection. Raises its `Refusal`, and `NotProtected` if no app has a verifier.

        `also` are further admissions that must admit the caller, or nothing is spent. Those of FastAPI are known.
        """
        protection: _Protection | None = connection.scope.get(_SCOPE_KEY)
        if protection is None:
            raise NotProtected
        known = _admissions_of(_dependant_of(connection.scope), connection.scope)
        return await protection.verification(connection).caller(self.admission, chain(also, known))


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
        self._candidates: list[_Candidate] = []
        self._version: object = None

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

    def replace(self, verifier: TokenVerifier) -> None:
        """Use `verifier` from now on. Raise TypeError if it is not a `TokenVerifier`."""
        self.verifier = checked_verifier(verifier)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI, "Applications")."""
        if scope["type"] in ("http", "websocket"):
            if self.verifier is not None:
                scope[_SCOPE_KEY] = protection = _Protection(self.verifier)
                send = protection.adding_nonce(send)
            # A mounted app that has served before takes no more handlers. Starlette keeps those that it has here.
            handlers, _ = scope.get(_HANDLERS_KEY, ({}, {}))
            handlers.setdefault(Problem, self._answer)
            await self._verify(scope)
        await self._inner(scope, receive, send)

    async def _verify(self, scope: Scope) -> None:
        selected = self._selected(scope)
        if selected is None:
            return
        if selected.dependant is None:
            self._cover(selected.app)
            return
        protection: _Protection | None = scope.get(_SCOPE_KEY)
        admissions = _admissions_of(selected.dependant, scope)
        first = next(admissions, None)
        if protection is not None and first is not None:
            await protection.verification(HTTPConnection(scope)).caller(first, admissions)

    def _selected(self, scope: Scope) -> _Candidate | None:
        """Return the route that the router will select. Return None if there is none, and if it cannot be told."""
        version = _version_of(self._router)
        if version is None or version != self._version:
            self._candidates = [_Candidate.of(route) for route in _every_route(self._router.routes)]
            self._version = version
        for candidate in self._candidates:
            if candidate.matches is None:
                return None
            if candidate.matches(scope)[0] is Match.FULL:
                return candidate
        return None

    def _cover(self, app: object) -> None:
        """Guard a mounted app."""
        inner = _without_middleware(app)
        if inner is not None:
            self.of(inner, self._answer)


def guards_of(app: object) -> Iterator[Guard]:
    """Yield the guard of an app and those of the apps that are mounted in it, if they have a verifier of their own."""
    inner = _without_middleware(app)
    if inner is None:
        return
    router = inner.router if isinstance(inner, Starlette) else inner
    guard = router.middleware_stack
    if isinstance(guard, Guard) and guard.verifier is not None:
        yield guard
    for route in _every_route(router.routes):
        yield from guards_of(getattr(route, "app", None))


def _without_middleware(app: object) -> Starlette | Router | None:
    """Return the app or the router in `app`, whatever middleware is around it, or None if there is none."""
    for _ in range(_MAX_LAYERS):
        if app is None or isinstance(app, Starlette | Router):
            return app
        app = getattr(app, "app", None)
    return None


def realm_of(connection: HTTPConnection) -> str:
    """Return the name of the service that serves a connection, or an empty text if no app has a verifier."""
    protection: _Protection | None = connection.scope.get(_SCOPE_KEY)
    return protection.verifier.audience if protection else ""


def _version_of(router: Router) -> object:
    """Return what changes when a router gets a route, or None if FastAPI does not tell.

    FastAPI keeps the routes of included routers by the same number.
    """
    version: Callable[[], int] | None = getattr(router, "_get_routes_version", None)
    return (version(), len(router.routes)) if version is not None else None


def _dependant_of(scope: Scope) -> Dependant | None:
    """Return the dependencies of the route that FastAPI has selected.

    FastAPI tells of an included route in a member of the scope, and of files (`frontend`) not at all.
    """
    included = (scope.get("fastapi") or {}).get("effective_route_context")
    files = getattr(getattr(scope.get("app"), "router", None), "_frontend_routes", None)
    found = (getattr(place, "dependant", None) for place in (included, scope.get("route"), files))
    return next((dependant for dependant in found if dependant is not None), None)


def _admissions_of(dependant: Dependant | None, scope: Scope) -> Iterator[Admission]:
    """Yield the admissions of the `Allow` dependencies of a route that are not overridden."""
    if dependant is not None:
        yield from _admissions(dependant, getattr(scope.get("app"), "dependency_overrides", {}))


def _admissions(dependant: Dependant, overrides: Mapping[Hashable, object]) -> Iterator[Admission]:
    for dependency in dependant.dependencies:
        if overrides and dependency.call in overrides:
            continue
        if isinstance(dependency.call, Allow):
            yield dependency.call.admission
        yield from _admissions(dependency, overrides)
