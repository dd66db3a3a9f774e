"""The purchase that the demo makes: a customer logs in, chooses, has a bill made, and has it delivered."""

import secrets
from dataclasses import dataclass
from typing import Any

from emulator.errors import Unexpected
from emulator.logins import MAYA
from emulator.shop_client import logged_in
from emulator.stack import Stack

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


@dataclass(frozen=True)
class Purchase:
    """What the services answered: the bill, and its delivery."""

    bill: dict[str, Any]
    delivery: dict[str, Any]


def buy(stack: Stack) -> Purchase:
    """Buys the basket over HTTP. Raises Unexpected, also when the bill is not what the catalogue says."""
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
        delivery = customer.call("POST", "billing", f"/bills/{bill['id']}/delivery", 202, json={})
    return Purchase(bill, delivery)


def check_total(bill: dict[str, Any], amounts: dict[str, int]) -> None:
    """Raises Unexpected unless the bill's total is the sum of amounts (name -> minor units)."""
    wanted, total = sum(amounts.values()), bill["total"]["amount"]
    if total != wanted:
        raise Unexpected(f"The bill's total is {total} where the catalogue's prices come to {wanted}.")
