"""Projects of Django whose views are protected by the recipes in docs/guide/frameworks.md."""

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import httpx
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import clear_url_caches, path
from typing_extensions import override
from werkzeug.datastructures import Headers
from werkzeug.test import Client

from mstoken import Caller, TokenVerifier
from mstoken.asgi import AsgiVerifier
from mstoken.callee.callers import Admission
from mstoken.wsgi import WsgiVerifier
from tests.mstoken.adapter_contract import ADMISSIONS, Body, Lines, Site
from tests.mstoken.test_starlette import send

PAGE = Path(__file__).parents[2] / "docs/guide/frameworks.md"
URLS = ModuleType("urls_of_the_django_site")
"""The module with the paths of the site that was made last."""

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        LOGGING_CONFIG=None,
        MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
        ROOT_URLCONF=URLS,
        SECRET_KEY="for tests",
    )
    django.setup()


def recipe(module: str) -> dict[str, Any]:
    """Return the names of the sample `module` on the page, which has run."""
    found = re.search(rf"^```python\n# {module}\.py\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert found is not None, f"{PAGE} has no sample {module}.py"
    namespace: dict[str, Any] = {"__name__": module}
    exec(compile(found[1], f"{module}.py", "exec"), namespace)
    return namespace


def serve_paths(views: dict[str, Callable[..., Any]]) -> None:
    """Serve the views at paths of their names, and /open, in place of those of the site before."""
    paths = [path(name, view) for name, view in views.items()]
    vars(URLS)["urlpatterns"] = [*paths, path("open", lambda request: HttpResponse("open"))]
    clear_url_caches()


class DjangoSite(Site):
    """A project of Django with WSGI. The route with two admissions asks for the second one in its view."""

    def __init__(self, verifier: TokenVerifier) -> None:
        super().__init__(verifier)
        names = recipe("protection")
        self._product: WsgiVerifier = names["product"]
        self._product.replace(verifier)
        serve_paths({name: names["allow"](**every[-1])(self._view(name)) for name, every in ADMISSIONS.items()})

    def _view(self, name: str) -> Callable[..., Any]:
        def view(request: Any, caller: Caller) -> Any:
            assert isinstance(request.body, bytes)
            for admission in ADMISSIONS[name]:
                assert self._product.caller(request.environ, Admission.of(**admission)) == caller
            text = self.serve(name, caller)
            return HttpResponse(text, status=404 if name == "broken" else 200)

        return view

    @property
    @override
    def protected(self) -> WsgiVerifier:
        return self._product

    @override
    def send(self, method: str, path: str, lines: Lines = (), body: Body | None = None) -> httpx.Response:
        content: dict[str, Any] = {} if body is None else {"input_stream": body, "content_length": len(body.content)}
        answer = Client(WSGIHandler()).open(path, method=method, headers=Headers(list(lines)), **content)
        return httpx.Response(answer.status_code, headers=list(answer.headers), content=answer.get_data())


class AsyncDjangoSite(Site):
    """A project of Django with ASGI. The route with two admissions asks for the second one in its view."""

    def __init__(self, verifier: TokenVerifier) -> None:
        super().__init__(verifier)
        names = recipe("async_protection")
        self._product: AsgiVerifier = names["product"]
        self._product.replace(verifier)
        serve_paths({name: names["allow"](**every[-1])(self._view(name)) for name, every in ADMISSIONS.items()})

    def _view(self, name: str) -> Callable[..., Any]:
        async def view(request: Any, caller: Caller) -> Any:
            for admission in ADMISSIONS[name]:
                assert await self._product.caller(request.scope, Admission.of(**admission)) == caller
            text = self.serve(name, caller)
            return HttpResponse(text, status=404 if name == "broken" else 200)

        return view

    @property
    @override
    def protected(self) -> AsgiVerifier:
        return self._product

    @override
    def send(self, method: str, path: str, lines: Lines = (), body: Body | None = None) -> httpx.Response:
        return send(ASGIHandler(), method, path, lines, body)
