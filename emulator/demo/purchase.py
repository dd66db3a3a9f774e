"""The purchase that the demo makes: a customer logs in, chooses, has a bill made, and has it delivered."""

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
"""What the customer buys: name -> quantity."""

ADDRESS = {
    "name": CUSTOMER.name,
    "line1": "12 Harbour Street",
    "city": "Portland",
    "postal_code": "97201",
    "country": "US",
}

ARRIVAL_SECONDS = 60.0
"""The function `deliver` is quick, once its process has started: twice, where the first one was killed."""
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Purchase:
    """What the services answered: the bill, and its delivery."""

    bill: dict[str, Any]
    delivery: dict[str, Any]


def buy(stack: Stack) -> Purchase:
    """Buys the basket over HTTP, and waits until it has arrived.

    Raises Unexpected, also when the bill is not what the catalogue says.
    """
    with logged_in(stack, CUSTOMER) as customer:
        chosen = {product["name"]: product for product in customer.products() if product["name"] in BASKET}
        if missing := BASKET.keys() - chosen.keys():
            raise Unexpected(f"The catalogue lacks {', '.join(sorted(missing))}.")
        items = [{"product_id": chosen[name]["id"], "quantity": count} for name, count in BASKET.items()]
        key = {"Idempotency-Key": secrets.token_urlsafe(16)}
        customer.call("PATCH", "user", "/profile", 200, json={"address": ADDRESS})
        made = customer.call("POST", "billing", "/bills", 201, json={"items": items}, headers=key)
        bill = customer.call("GET", "billing", f"/bills/{made['id']}", 200)
        check_total(bill, {name: chosen[name]["price"]["amount"] * count for name, count in BASKET.items()})
        # Without an address in the request Billing asks User for the one in the profile.
        customer.call("POST", "billing", f"/bills/{bill['id']}/delivery", 202, json={})
        return Purchase(bill, arrived(customer, bill["id"]))


def arrived(customer: ShopClient, bill_id: str, seconds: float = ARRIVAL_SECONDS) -> dict[str, Any]:
    """The delivery of a bill, once it is delivered. Raises Unexpected when it is not in time, or failed."""
    deadline = time.monotonic() + seconds
    while True:
        delivery: dict[str, Any] = customer.call("GET", "billing", f"/bills/{bill_id}/delivery", 200)
        if delivery["status"] == "delivered":
            return delivery
        if delivery["status"] == "failed" or time.monotonic() > deadline:
            raise Unexpected(f"The delivery of bill {bill_id} is {delivery['status']}, where it should be delivered.")
        time.sleep(POLL_SECONDS)


def check_total(bill: dict[str, Any], amounts: dict[str, int]) -> None:
    """Raises Unexpected unless the bill's total is the sum of amounts (name -> minor units)."""
    wanted, total = sum(amounts.values()), bill["total"]["amount"]
    if total != wanted:
        raise Unexpected(f"The bill's total is {total} where the catalogue's prices come to {wanted}.")
