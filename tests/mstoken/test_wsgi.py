"""Calls in WSGI applications: the contract of adapters with the recipe for Django, and paths behind servers."""

import asyncio
import io
import threading
from collections.abc import Callable
from typing import Any

import pytest
from typing_extensions import override

from mstoken.callee.callers import Admission
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.verifier import TokenVerifier
from mstoken.errors import TokenReplayed, TokenWrongAudience
from mstoken.testing import FakeFirebase
from mstoken.wsgi import WsgiVerifier, call_of, header_lines
from tests.mstoken.adapter_contract import AdapterContract
from tests.mstoken.django_site import DjangoSite

BILLING = Admission.of(services={"billing"})


class TestDjango(AdapterContract):
    """A project of Django with the recipe keeps the promises of every adapter."""

    site_class = DjangoSite
    options_status = 401


def environ(path: str = "/", root: str = "", **variables: str) -> dict[str, Any]:
    """Return the environment of a request, as PEP 3333 says: each character of a path is a byte."""
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": root.encode().decode("latin-1"),
        "PATH_INFO": path.encode().decode("latin-1"),
        "wsgi.input": io.BytesIO(),
        **variables,
    }


@pytest.mark.parametrize("name", ["RAW_URI", "REQUEST_URI"])
@pytest.mark.parametrize(
    ("sent", "root", "path", "of_call"),
    [
        ("/a%2520b%20c%2Fd?q=%20", "", "/a%20b c/d", "/a%2520b%20c%2Fd"),
        ("/product/a%20b", "/product", "/a b", "/a%20b"),
        ("/our%20shop/%C3%B6", "/our shop", "/ö", "/%C3%B6"),
        ("/product", "/product", "", ""),
        ("/a", "/product", "/a", "/a"),
        ("/product/a", "/product", "/product/a", "/product/a"),
        ("/products", "/product", "s", "/products"),
    ],
    ids=["escapes", "below", "escapes below", "itself", "removed by a proxy", "said by a proxy", "not below"],
)
def test_the_path_as_it_was_sent(name: str, sent: str, root: str, path: str, of_call: str) -> None:
    """It has its escapes. The path of the application is removed where the request was sent to a path below it."""
    assert call_of(environ(path, root, **{name: sent})).path == of_call


@pytest.mark.parametrize(("path", "of_call"), [("/a b/ö", "/a%20b/%C3%B6"), ("/a:b@c", "/a:b@c"), ("", "")])
def test_the_path_behind_a_server_that_decodes(path: str, of_call: str) -> None:
    """If the server does not say what was sent, the path gets escapes where they are needed."""
    assert call_of(environ(path, "/product")).path == of_call


def test_a_path_that_is_not_utf_8() -> None:
    """Each byte gets an escape."""
    assert call_of(environ() | {"PATH_INFO": "/\xff"}).path == "/%FF"


@pytest.mark.parametrize(("path", "of_call"), [("/", "/estimate"), ("/of/a", "/estimate/of/a")])
def test_a_prefix_that_a_platform_removed(path: str, of_call: str) -> None:
    """It comes before the path."""
    assert call_of(environ(path), "/estimate").path == of_call


def test_header_lines() -> None:
    """WSGI joins lines with a comma, with or without a space. An empty line is a line."""
    assert header_lines(environ(), "X-MS-TOKEN") == []
    assert header_lines(environ(HTTP_X_MS_TOKEN=""), "X-MS-TOKEN") == [""]
    assert header_lines(environ(HTTP_X_MS_TOKEN="a,b, c"), "X-MS-TOKEN") == ["a", "b", " c"]


def test_another_call_with_the_parts_of_a_request() -> None:
    """A program that makes a second request of the environment makes another call, whose token is used."""
    firebase = FakeFirebase()
    product = WsgiVerifier(firebase.verifier("product"))
    token = firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
    request = environ("/a", HTTP_X_MS_TOKEN=token)
    assert [str(product.caller(request, BILLING)) for _ in range(2)] == ["svc:billing"] * 2
    with pytest.raises(TokenReplayed):
        product.caller(request | {"PATH_INFO": "/b"}, BILLING)
    product.close()


def test_two_services_in_a_process() -> None:
    """What one of them has accepted is not accepted by the other one, although both ask for the same request."""
    firebase = FakeFirebase()
    product, user = WsgiVerifier(firebase.verifier("product")), WsgiVerifier(firebase.verifier("user"))
    request = environ(HTTP_X_MS_TOKEN=firebase.service_headers("billing", to="product")["X-MS-TOKEN"])
    product.caller(request, BILLING)
    with pytest.raises(TokenWrongAudience):
        user.caller(request, BILLING)
    product.close()
    user.close()


def test_a_verifier_that_takes_the_place_of_another() -> None:
    """The work of the first one ends, and the second one is used."""
    firebase = FakeFirebase()
    shelf = WsgiVerifier(firebase.verifier("shelf"))
    shelf.ready()
    assert "mstoken shelf" in {thread.name for thread in threading.enumerate()}
    shelf.replace(firebase.verifier("product"))
    assert "mstoken shelf" not in {thread.name for thread in threading.enumerate()}
    request = environ(HTTP_X_MS_TOKEN=firebase.service_headers("billing", to="product")["X-MS-TOKEN"])
    assert str(shelf.caller(request, BILLING)) == "svc:billing"
    shelf.close()


class AskedWhileItEnds(TokenVerifier):
    """A verifier whose service gets another request while it ends."""

    request: Callable[[], object]

    @override
    async def aclose(self) -> None:
        await super().aclose()
        await asyncio.to_thread(self.request)


def test_a_request_during_the_replacement() -> None:
    """The second verifier serves it. The work of the first one does not begin again."""
    firebase = FakeFirebase()
    first = AskedWhileItEnds("shelf", firebase.settings(), firebase=firebase, replay=MemoryReplayStore())
    shelf = WsgiVerifier(first)
    shelf.ready()
    first.request = shelf.ready
    shelf.replace(firebase.verifier("product"))
    assert shelf.verifier.audience == "product"
    assert {"mstoken shelf", "mstoken product"} & {thread.name for thread in threading.enumerate()} == {
        "mstoken product"
    }
    shelf.close()


def test_who_asks_again_waits_for_nothing() -> None:
    """The answer for the same admission is known: it needs no background thread."""
    firebase = FakeFirebase()
    shelf = WsgiVerifier(firebase.verifier("shelf"))
    request = environ(HTTP_X_MS_TOKEN=firebase.service_headers("billing", to="shelf")["X-MS-TOKEN"])
    shelf.caller(request, BILLING)
    shelf.close()
    assert str(shelf.caller(request, Admission.of(services={"billing"}))) == "svc:billing"
    assert "mstoken shelf" not in {thread.name for thread in threading.enumerate()}


def test_the_readiness_of_a_verifier() -> None:
    """`ready` tells what `TokenVerifier.ready` does."""
    product = WsgiVerifier(FakeFirebase().verifier("product"))
    assert product.ready() == []
    product.close()
