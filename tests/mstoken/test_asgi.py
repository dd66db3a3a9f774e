"""Calls in ASGI applications: the contract of adapters with the async recipe for Django, and the parts of a scope."""

from typing import Any

import pytest

from mstoken.asgi import AsgiVerifier, call_of
from mstoken.callee.callers import Admission
from mstoken.errors import TokenReplayed
from mstoken.testing import FakeFirebase
from tests.mstoken.adapter_contract import AdapterContract
from tests.mstoken.django_site import AsyncDjangoSite

BILLING = Admission.of(services={"billing"})


class TestAsyncDjango(AdapterContract):
    """A project of Django with the async recipe keeps the promises of every adapter. Django reads each body first."""

    site_class = AsyncDjangoSite
    options_status = 401
    reads_body_first = True


def scope(path: str = "/", **members: Any) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "headers": [], **members}


@pytest.mark.parametrize(
    ("members", "of_call"),
    [
        ({"raw_path": b"/a%2520b"}, "/a%2520b"),
        ({}, "/a%2520b"),
        ({"raw_path": b"/product/a", "root_path": "/product"}, "/a"),
        ({"raw_path": b"/a", "root_path": "/product"}, "/a"),
        ({"raw_path": b"/products", "root_path": "/product"}, "/products"),
        ({"raw_path": b"/v1/a", "root_path": "/v1", "app_root_path": ""}, "/v1/a"),
    ],
)
def test_the_path_as_it_was_sent(members: dict[str, Any], of_call: str) -> None:
    """It has its escapes. The root path of the server is removed, and that of a mount is not."""
    assert call_of(scope("/a%20b", **members)).path == of_call


def test_header_lines() -> None:
    """Each line is a value."""
    call = call_of(scope(headers=[(b"x-ms-token", b"a"), (b"dpop", b"\xff"), (b"x-ms-token", b"b, c")]))
    assert (call.service_tokens, call.proofs, call.authorizations) == (["a", "b, c"], ["\xff"], [])


def test_a_handshake_is_a_get() -> None:
    """The scope of a WebSocket has no method (RFC 6455, section 4.1)."""
    assert call_of({"type": "websocket", "path": "/", "headers": []}).method == "GET"


async def test_another_call_with_the_parts_of_a_request() -> None:
    """A program that makes a second request of the scope makes another call, whose token is used."""
    firebase = FakeFirebase()
    product = AsgiVerifier(firebase.verifier("product"))
    token = firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
    request = scope(headers=[(b"x-ms-token", token.encode())])
    assert [str(await product.caller(request, BILLING)) for _ in range(2)] == ["svc:billing"] * 2
    with pytest.raises(TokenReplayed):
        await product.caller(request | {"path": "/b"}, BILLING)
