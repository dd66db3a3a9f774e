"""Calls that Product and Billing refuse over HTTP, and the codes of the refusals."""

import asyncio
import base64
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from emulator.attacks.emulator_forge import EmulatorForge
from emulator.run.logins import Login
from emulator.run.shop_client import TIMEOUT_SECONDS, logged_in
from emulator.run.stack import Stack
from mstoken import ServiceIdentity, Settings
from mstoken.emulator.keys import Key
from mstoken.testing.forge import Forge
from tests.waiting import WAIT_SECONDS, wait_until

LOG_OUT_SECONDS = 30.0
RACERS = 50


@pytest.fixture
def billing(auth_emulator: Settings) -> Iterator[ServiceIdentity]:
    """Billing's identity, held by this process."""
    with ServiceIdentity("billing", auth_emulator) as identity:
        yield identity


@pytest.fixture
def user_token(stack: Stack, customer: Login) -> str:
    """A customer's ID token."""
    body = {"email": customer.email, "password": customer.password}
    answer = httpx.post(f"{stack.url('user')}/login", json=body, timeout=TIMEOUT_SECONDS)
    return str(answer.json()["id_token"])


def answer(stack: Stack, *headers: tuple[str, str]) -> tuple[int, str]:
    """Send GET /products to Product with these header lines. Return the status and the code of the answer."""
    response = httpx.get(f"{stack.url('product')}/products", headers=list(headers), timeout=TIMEOUT_SECONDS)
    return response.status_code, str(response.json().get("code", ""))


def forge(stack: Stack) -> Forge:
    """Return what an attacker uses to forge tokens."""
    return EmulatorForge(f"http://{stack.auth_host}", stack.project, Key())


def claims_of(token: str) -> dict[str, Any]:
    """Return the claims of a token without verifying it."""
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return claims


def test_billing_may_list_products(stack: Stack, billing: ServiceIdentity) -> None:
    """A call with Billing's token for Product is served. So the other calls are refused for their own reasons."""
    assert answer(stack, ("X-MS-TOKEN", billing.token_sync("product"))) == (200, "")


def test_no_token(stack: Stack) -> None:
    """A call without any token is refused as token_missing."""
    assert answer(stack) == (401, "token_missing")


def test_a_users_token_in_the_service_header(stack: Stack, user_token: str) -> None:
    """A user's token in X-MS-TOKEN is refused as token_not_service."""
    assert answer(stack, ("X-MS-TOKEN", user_token)) == (401, "token_not_service")


def test_a_services_token_as_a_bearer_token(stack: Stack, billing: ServiceIdentity) -> None:
    """A service's token in Authorization is refused as user_token_invalid."""
    header = ("Authorization", f"Bearer {billing.token_sync('product')}")
    assert answer(stack, header) == (401, "user_token_invalid")


def test_a_token_for_another_service(stack: Stack, billing: ServiceIdentity) -> None:
    """A token made for User is refused by Product as token_wrong_audience."""
    assert answer(stack, ("X-MS-TOKEN", billing.token_sync("user"))) == (401, "token_wrong_audience")


def test_an_old_token(stack: Stack, billing: ServiceIdentity) -> None:
    """A token issued more than 60 seconds ago is refused as token_stale."""
    claims = claims_of(billing.token_sync("product"))
    claims |= {name: claims[name] - 62 for name in ("iat", "auth_time")}
    token = forge(stack).signed(claims | {"exp": claims["iat"] + 3600})
    assert answer(stack, ("X-MS-TOKEN", token)) == (401, "token_stale")


def test_a_forged_token(stack: Stack, billing: ServiceIdentity) -> None:
    """A token that is right except for its signature is refused as token_untrusted, on a laptop too."""
    claims = claims_of(billing.token_sync("product"))
    assert answer(stack, ("X-MS-TOKEN", forge(stack).signed(claims))) == (200, "")
    fresh = claims_of(billing.token_sync("product"))
    assert answer(stack, ("X-MS-TOKEN", forge(stack).self_signed(fresh))) == (401, "token_untrusted")
    assert answer(stack, ("X-MS-TOKEN", forge(stack).unsigned(fresh, "none"))) == (401, "token_untrusted")


def test_a_used_token(stack: Stack, billing: ServiceIdentity) -> None:
    """A token's second use is refused as token_replayed."""
    header = ("X-MS-TOKEN", billing.token_sync("product"))
    assert answer(stack, header) == (200, "")
    assert answer(stack, header) == (401, "token_replayed")


async def test_a_race_with_one_token(either_stack: Stack, billing: ServiceIdentity) -> None:
    """Of 50 requests at the same time with one token, exactly one is served, also with two workers."""
    headers = {"X-MS-TOKEN": billing.token_sync("product")}
    url = f"{either_stack.url('product')}/products"
    # Each request has a connection of its own, so that both workers get some.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(limits=limits, timeout=TIMEOUT_SECONDS) as client:
        responses = await asyncio.gather(*(client.get(url, headers=headers) for _ in range(RACERS)))
    codes = Counter(response.json().get("code", "served") for response in responses)
    assert codes == {"served": 1, "token_replayed": RACERS - 1}


def test_two_header_lines(stack: Stack, billing: ServiceIdentity) -> None:
    """Two X-MS-TOKEN lines are refused as token_malformed, even if both tokens are good."""
    lines = [("X-MS-TOKEN", billing.token_sync("product")) for _ in range(2)]
    assert answer(stack, *lines) == (401, "token_malformed")


@pytest.mark.parametrize("text", ["a.b." + "c" * 9 * 1024, "no token at all", "eyJhbGciOiJub25lIn0.e30"])
def test_a_value_that_is_not_a_token(stack: Stack, text: str) -> None:
    """A header of nine KiB, and text that is not a JWT, are refused as token_malformed."""
    assert answer(stack, ("X-MS-TOKEN", text)) == (401, "token_malformed")


def test_a_customer_cannot_see_the_bill_of_another(
    stack: Stack, offer: Callable[[Stack], dict[str, Any]], customer: Login, stranger: Login
) -> None:
    """A bill does not exist for other customers: they get 404, and an empty list."""
    items = {"items": [{"product_id": offer(stack)["id"], "quantity": 1}]}
    key = {"Idempotency-Key": secrets.token_hex(16)}
    with logged_in(stack, customer) as owner, logged_in(stack, stranger) as other:
        bill = owner.call("POST", "billing", "/bills", 201, json=items, headers=key)
        other.call("GET", "billing", f"/bills/{bill['id']}", 404)
        other.call("POST", "billing", f"/bills/{bill['id']}/delivery", 404, json={})
        assert other.call("GET", "billing", "/bills", 200)["items"] == []
        owner.call("GET", "billing", f"/bills/{bill['id']}", 200)


def test_only_an_administrator_adds_products(
    stack: Stack, billing: ServiceIdentity, customer: Login, offer: Callable[[Stack], dict[str, Any]]
) -> None:
    """A customer and Billing's identity get 403, caller_not_allowed, when they add a product."""
    added = offer(stack)
    product = {name: added[name] for name in ("name", "description", "price", "stock")}
    service = {"X-MS-TOKEN": billing.token_sync("product")}
    with logged_in(stack, customer) as client:
        refused = client.call("POST", "product", "/products", 403, json=product)
    assert refused["code"] == "caller_not_allowed"
    response = httpx.post(f"{stack.url('product')}/products", json=product, headers=service, timeout=WAIT_SECONDS)
    assert (response.status_code, response.json()["code"]) == (403, "caller_not_allowed")


def test_after_log_out_every_service_refuses_the_token(stack: Stack, user_token: str) -> None:
    """After a log-out User refuses the earlier ID token at once, and the other services within seconds."""
    routes = {"user": "/profile", "product": "/products", "billing": "/bills"}
    headers = {"Authorization": f"Bearer {user_token}"}

    def code(service: str) -> str:
        response = httpx.get(stack.url(service) + routes[service], headers=headers, timeout=TIMEOUT_SECONDS)
        return str(response.json().get("code", "served"))

    def is_refused(service: str) -> bool:
        return code(service) == "user_token_revoked"

    assert {service: code(service) for service in routes} == dict.fromkeys(routes, "served")
    # Firebase revokes tokens of earlier seconds, so the log-out must be in a later second than the log-in.
    wait_until(lambda: time.time() >= claims_of(user_token)["iat"] + 1)
    httpx.post(f"{stack.url('user')}/logout", headers=headers, timeout=TIMEOUT_SECONDS).raise_for_status()
    assert is_refused("user")
    for service in ("product", "billing"):
        wait_until(partial(is_refused, service), LOG_OUT_SECONDS)
