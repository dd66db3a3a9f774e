"""The demo's purchase: a customer logs in, chooses products, gets a bill, and has the products delivered."""

import secrets
import time
from dataclasses import dataclass
from typing import Any

from emulator.run.errors import Unexpected
from emulator.run.logins import MAYA
from emulator.run.shop_client import ShopClient, logged_in
from emulator.run.stack import Stack

CUSTOMER = MAYA
BASKET = {"Pour-over kettle, 0.9 l": 1, "House blend beans, 1 kg": 2, "Espresso cups, set of four": 1}
"""What the customer buys: product name -> quantity."""

ADDRESS = {
    "name": CUSTOMER.name,
    "line1": "12 Harbour Street",
    "city": "Portland",
    "postal_code": "97201",
    "country": "US",
}

ARRIVAL_SECONDS = 60.0
"""How long to wait for the delivery, in seconds. `deliver` is quick, but its process may have to start twice."""
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 90.0
"""How long to try to buy, in seconds. On a busy machine, `token` may start too late for the first purchase."""


@dataclass(frozen=True)
class Purchase:
    """The bill and the delivery, as the services returned them."""

    bill: dict[str, Any]
    delivery: dict[str, Any]
    trace_id: str
    """The id of the trace that both belong to, if the shop sends its traces somewhere (docs/telemetry.md)."""


def buy(stack: Stack) -> Purchase:
    """Buy the basket over HTTP, and wait until it is delivered.

    Raises Unexpected, for example if the bill's total does not match the catalogue's prices.
    """
    with logged_in(stack, CUSTOMER) as customer:
        chosen = {product["name"]: product for product in customer.products() if product["name"] in BASKET}
        if missing := BASKET.keys() - chosen.keys():
            raise Unexpected(f"The catalogue has no product named {', '.join(sorted(missing))}.")
        items = [{"product_id": chosen[name]["id"], "quantity": count} for name, count in BASKET.items()]
        key = {"Idempotency-Key": secrets.token_urlsafe(16)}
        customer.call("PATCH", "user", "/profile", 200, json={"address": ADDRESS})
        trace_id = secrets.token_hex(16)
        # Two requests make up the purchase. Both name the same span, so they become one trace (W3C, "Trace Context").
        trace = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
        body, headers = {"items": items}, key | trace
        made = customer.call(
            "POST", "billing", "/bills", 201, patience_seconds=PATIENCE_SECONDS, json=body, headers=headers
        )
        bill = customer.call("GET", "billing", f"/bills/{made['id']}", 200)
        check_total(bill, {name: chosen[name]["price"]["amount"] * count for name, count in BASKET.items()})
        # The request has no address, so Billing asks User for the address in the profile.
        path = f"/bills/{bill['id']}/delivery"
        customer.call("POST", "billing", path, 202, patience_seconds=PATIENCE_SECONDS, json={}, headers=trace)
        return Purchase(bill, wait_for_delivery(customer, bill["id"]), trace_id)


def wait_for_delivery(customer: ShopClient, bill_id: str, seconds: float = ARRIVAL_SECONDS) -> dict[str, Any]:
    """Wait until a bill is delivered, and return the delivery. Raises Unexpected if it fails or takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        delivery: dict[str, Any] = customer.call("GET", "billing", f"/bills/{bill_id}/delivery", 200)
        if delivery["status"] == "delivered":
            return delivery
        if delivery["status"] == "failed" or time.monotonic() > deadline:
            raise Unexpected(f"The delivery of bill {bill_id} is {delivery['status']}; it should be delivered by now.")
        time.sleep(POLL_SECONDS)


def check_total(bill: dict[str, Any], amounts: dict[str, int]) -> None:
    """Raise Unexpected unless the bill's total is the sum of `amounts` (product name -> minor units)."""
    expected, total = sum(amounts.values()), bill["total"]["amount"]
    if total != expected:
        raise Unexpected(f"The bill's total is {total}, but the catalogue's prices add up to {expected}.")
