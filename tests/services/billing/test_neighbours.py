"""services/billing/neighbours.py: Product and User out of reach, slow, hostile or strange"""

import asyncio

import httpx
import pytest

from mstoken.compact import unverified
from mstoken.testing import FakeFirebase
from services.billing.faults import NeighbourUnavailable
from services.billing.neighbours import Neighbours
from services.billing.settings import BillingSettings
from services.common.ids import new_id
from tests.services.billing.conftest import Shop
from tests.services.shop import KETTLE, answered, refused


class SlowTransport(httpx.AsyncBaseTransport):
    """A network that never answers, and never times out by itself."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


@pytest.mark.parametrize(
    "fate",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("too slow"),
        httpx.RemoteProtocolError("gone"),
        httpx.Response(500),
        httpx.Response(503, json={"code": "verifier_unavailable"}),
        httpx.Response(429),
    ],
)
async def test_product_does_not_answer(shop: Shop, fate: httpx.Response | Exception) -> None:
    """While Product cannot be reached, or cannot serve, there is no bill, and the caller hears when to try again."""
    shop.to_product.meets(fate)
    response = await shop.order((new_id(), 1))
    refused(response, 503, "product_unavailable")
    assert response.headers["Retry-After"] == "2"
    shop.to_product.fate = None
    assert await shop.bills() == []


async def test_product_is_slow(shop: Shop) -> None:
    """A Product that does not come to an end is given up on."""
    shop.to_product.fate = SlowTransport()
    async with asyncio.timeout(5):
        refused(await shop.order((new_id(), 1)), 503, "product_unavailable")


@pytest.mark.parametrize(
    "fate",
    [
        httpx.Response(401, json={"code": "token_untrusted"}),
        httpx.Response(403, json={"code": "caller_not_allowed"}),
        httpx.Response(404),
        httpx.Response(422),
        httpx.Response(302, headers={"Location": "http://elsewhere/"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"items": [{"id": "x"}]}),
        httpx.Response(200, json={"items": [KETTLE | {"id": "x", "price": {"amount": 10**20, "currency": "USD"}}]}),
        httpx.Response(200, json={"items": [KETTLE | {"id": "x", "price": {"amount": -1, "currency": "USD"}}]}),
        httpx.Response(200, json={"items": [KETTLE | {"id": "x", "stock": "many"}]}),
    ],
)
async def test_product_refuses_or_makes_no_sense(shop: Shop, fate: httpx.Response) -> None:
    """A Product that lets Billing in no more, or answers nonsense, makes no bill, and is no fault of the caller's."""
    shop.to_product.meets(fate)
    response = await shop.order((new_id(), 1))
    refused(response, 502, "product_failed")
    shop.to_product.fate = None
    assert await shop.bills() == []


async def test_billing_may_not_sign_in(shop: Shop) -> None:
    """A Billing whose identity is disabled cannot ask Product, and waiting will not help its callers."""
    shop.firebase.disable("svc:billing")
    refused(await shop.order((new_id(), 1)), 502, "product_failed")
    assert shop.to_product.requests == []


async def test_billing_cannot_sign_in_now(firebase: FakeFirebase) -> None:
    """An outage of Firebase is told from a refusal: trying again may help."""
    firebase.down = True
    async with Neighbours(BillingSettings(), firebase.identity("billing")) as neighbours:
        with pytest.raises(NeighbourUnavailable) as caught:
            await neighbours.offers([new_id()])
    assert caught.value.code == "product_unavailable"


async def test_each_call_has_a_token_of_its_own(shop: Shop) -> None:
    """Each call carries a fresh service token for its neighbour, and never the user's."""
    bill = await shop.bill()
    await shop.bill()
    answered(await shop.billing.get("/bills", headers=shop.maya))
    await shop.billing.get(f"/bills/{bill['id']}/invoice", headers=shop.maya)
    requests = shop.to_product.requests + shop.to_user.requests
    claims = [unverified(request.headers["X-MS-TOKEN"]).payload["ms"] for request in requests]
    assert [(claim["svc"], claim["aud"]) for claim in claims] == [
        ("billing", "product"),
        ("billing", "product"),
        ("billing", "user"),
    ]
    assert len({claim["jti"] for claim in claims}) == 3
    assert not [request for request in requests if "Authorization" in request.headers]


async def test_the_request_id_goes_along(shop: Shop) -> None:
    """One id finds a purchase in the logs of all the services that it touches."""
    kettle = await shop.offer()
    answered(await shop.order((kettle["id"], 1), by=shop.maya | {"X-Request-ID": "purchase-1"}), 201)
    assert [request.headers["X-Request-ID"] for request in shop.to_product.requests] == ["purchase-1"]


async def test_a_uid_stays_one_part_of_the_path(shop: Shop) -> None:
    """A uid with a slash in it asks for no other path."""
    neighbours = Neighbours(BillingSettings(), shop.firebase.identity("billing"), transports={"user": shop.to_user})
    shop.to_user.meets(httpx.Response(404))
    async with neighbours:
        assert await neighbours.customer("../products?x") is None
    assert shop.to_user.requests[0].url.raw_path == b"/users/..%2Fproducts%3Fx"
