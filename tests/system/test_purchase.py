"""A purchase in a shop that runs in processes, over HTTP, with sign-ins at the Auth emulator."""

import re
import secrets
from collections.abc import Callable
from typing import Any

from emulator.demo.calls import service_calls
from emulator.run.events import CallEvent
from emulator.run.logins import Login
from emulator.run.shop_client import ShopClient, logged_in
from emulator.run.stack import SERVICES, Stack

JWT = re.compile(r"eyJ[\w-]{10,}\.[\w-]{10,}\.")
ADDRESS = {"name": "Wanda Okoro", "line1": "1 Quay", "city": "Cork", "postal_code": "T12", "country": "IE"}


def buy(client: ShopClient, product: dict[str, Any], quantity: int) -> dict[str, Any]:
    """Get a bill for a quantity of a product."""
    body = {"items": [{"product_id": product["id"], "quantity": quantity}]}
    key = {"Idempotency-Key": secrets.token_hex(16)}
    bill: dict[str, Any] = client.call("POST", "billing", "/bills", 201, json=body, headers=key)
    return bill


def calls_of_product(stack: Stack) -> list[CallEvent]:
    """Return the calls of services in Product's log."""
    return [call for call in service_calls(stack) if call.process == "product"]


def test_a_customer_buys_something(
    either_stack: Stack, offer: Callable[[Stack], dict[str, Any]], customer: Login
) -> None:
    """A bill's total is price times quantity, the bill is found again, and its delivery can be requested."""
    product = offer(either_stack)
    with logged_in(either_stack, customer) as client:
        bill = buy(client, product, 3)
        assert bill["total"] == {"amount": 5997, "currency": "USD"}
        assert client.call("GET", "billing", f"/bills/{bill['id']}", 200) == bill
        assert [found["id"] for found in client.call("GET", "billing", "/bills", 200)["items"]] == [bill["id"]]
        path = f"/bills/{bill['id']}/delivery"
        assert client.call("POST", "billing", path, 202, json={"address": ADDRESS})["status"] == "requested"
        assert client.call("GET", "billing", path, 200)["status"] == "requested"


def test_the_call_behind_a_bill_is_logged(
    either_stack: Stack, offer: Callable[[Stack], dict[str, Any]], customer: Login
) -> None:
    """Product's log has Billing's call, with the mode, the age of the token or proof, and the id that was spent."""
    earlier = len(calls_of_product(either_stack))  # Other tests of the session have used this stack.
    with logged_in(either_stack, customer) as client:
        buy(client, offer(either_stack), 1)
    call = calls_of_product(either_stack)[earlier]
    assert (call.caller, call.verdict) == ("svc:billing", "accepted")
    assert (call.audience, call.mode) == ("product", either_stack.mode)
    assert call.age_seconds is not None
    assert 0 <= call.age_seconds < 60
    assert call.one_time_id is not None
    assert re.fullmatch(r"([\w-]{43}\.)?[\w-]{22}", call.one_time_id)


def test_no_secret_reaches_a_log(
    stack: Stack, emulators: Stack, offer: Callable[[Stack], dict[str, Any]], customer: Login
) -> None:
    """After a purchase no log of a service or an emulator contains a token or the customer's password."""
    with logged_in(stack, customer) as client:
        buy(client, offer(stack), 1)
    logs = [path.read_text() for data in (stack.data, emulators.data) for path in data.glob("logs/*.log")]
    assert len(logs) >= len(SERVICES)
    for text in logs:
        assert not JWT.search(text)
        assert customer.password not in text
