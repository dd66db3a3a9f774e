"""The demo catalogue (emulator/run/seed/catalogue.json), which an administrator adds with one POST /products each."""

import json
from typing import Any

from emulator.run.logins import ADMIN
from emulator.run.shop_client import logged_in
from emulator.run.stack import SEED, Stack


def catalogue() -> list[dict[str, Any]]:
    """Return the products of the catalogue, as POST /products expects them."""
    by_category: dict[str, list[dict[str, Any]]] = json.loads((SEED / "catalogue.json").read_text())
    return [product for products in by_category.values() for product in products]


def add_catalogue(stack: Stack) -> int:
    """Add the products whose names the shop does not have yet. Return how many were added. Raises Unexpected."""
    with logged_in(stack, ADMIN) as admin:
        present = {product["name"] for product in admin.products()}
        missing = [product for product in catalogue() if product["name"] not in present]
        for product in missing:
            admin.call("POST", "product", "/products", 201, json=product)
    return len(missing)
