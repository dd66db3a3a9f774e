"""The client of the shop: when it sends a request again."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from emulator.run.errors import Unexpected
from emulator.run.ports import Ports
from emulator.run.shop_client import ShopClient
from emulator.run.stack import Stack


def client_of(answers: Iterator[httpx.Response]) -> ShopClient:
    """Return a client that gets these answers."""
    http = httpx.Client(transport=httpx.MockTransport(lambda _request: next(answers)))
    return ShopClient(Stack(Ports(), Path("unused")), http)


def test_a_busy_service_is_asked_again() -> None:
    """With patience, a request is sent again as the answer asks for: the service is busy, or still works on it."""
    busy, working = (httpx.Response(status, headers={"Retry-After": "0"}, json={}) for status in (503, 409))
    client = client_of(iter([busy, working, httpx.Response(201, json={"id": "b1"})]))
    assert client.call("POST", "billing", "/bills", 201, patience_seconds=10) == {"id": "b1"}


@pytest.mark.parametrize(("status", "patience_seconds"), [(503, 0), (503, 10), (409, 10)])
def test_patience_ends(status: int, patience_seconds: float) -> None:
    """Without patience, with an answer that asks for too long a pause, or with another one, the error comes at once."""
    client = client_of(iter([httpx.Response(status, headers={"Retry-After": "600"}, json={})]))
    with pytest.raises(Unexpected, match=f"was answered with {status} instead of 201"):
        client.call("POST", "billing", "/bills", 201, patience_seconds=patience_seconds)
