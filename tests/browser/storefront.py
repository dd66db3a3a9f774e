"""The storefront as its customers use it: what they see and press, by the names that a screen reader says."""

import json
import secrets
from typing import Any

import httpx
from playwright.sync_api import Locator, Page, expect

from emulator.run.logins import Login
from emulator.run.shop_client import logged_in
from emulator.run.stack import Stack
from tests.browser.checks import axe, screenshot
from tests.waiting import WAIT_SECONDS

ADDRESS = {
    "Full name": "Wanda Okoro",
    "Street and number": "12 Harbour Street",
    "Postal code": "97201",
    "City": "Portland",
}
COUNTRY = "United States"
MUG = "Enamel mug"
SMALL = 360
"""The width of a small phone, in CSS pixels."""


def sign_up(shop: Stack, name: str = "Wanda Okoro") -> Login:
    """Return a new customer."""
    login = Login("customer", name, f"{secrets.token_hex(8)}@example.com", secrets.token_urlsafe(12))
    body = {"email": login.email, "password": login.password, "displayName": name}
    # At Firebase itself, because /signup allows 30 new accounts an hour for one address.
    httpx.post(
        f"{shop.settings.identity_toolkit_url}/accounts:signUp?key=any", json=body, timeout=WAIT_SECONDS
    ).raise_for_status()
    return login


def bills_of(shop: Stack, customer: Login) -> list[dict[str, Any]]:
    """Return the bills of a customer, as Billing has them."""
    with logged_in(shop, customer) as client:
        bills: list[dict[str, Any]] = client.call("GET", "billing", "/bills", 200)["items"]
    return bills


class Storefront:
    """The storefront in one tab."""

    def __init__(self, page: Page, shop: Stack) -> None:
        self.page = page
        self._shop = shop

    def open(self, path: str = "/") -> None:
        """Load a page of the storefront."""
        self.page.goto(self._shop.url("hosting") + path)

    def heading(self, name: str) -> Locator:
        """Return the heading of the page with this name."""
        return self.page.get_by_role("heading", name=name, level=1)

    def link(self, name: str) -> Locator:
        """Return the link with this name."""
        return self.page.get_by_role("link", name=name, exact=True)

    def button(self, name: str) -> Locator:
        """Return the button with this name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def field(self, label: str) -> Locator:
        """Return the field with this label. Labels of optional fields go on."""
        return self.page.get_by_label(label, exact=False).first

    def basket(self, count: int) -> Locator:
        """Return the link to the basket, while so many items are in it."""
        return self.link(f"Basket {count} {'item' if count == 1 else 'items'}")

    def fill(self, values: dict[str, str]) -> None:
        """Type into fields."""
        for label, value in values.items():
            self.field(label).fill(value)

    def fill_address(self) -> None:
        """Type an address, when the form has what the profile knows: it would come in the middle of the typing."""
        expect(self.field("Full name")).not_to_have_value("")
        self.fill(ADDRESS)
        self.field("Country").select_option(COUNTRY)

    def log_in(self, login: Login) -> None:
        """Log in, and wait for the products."""
        self.open("/login")
        self.fill({"E-mail address": login.email, "Password": login.password})
        self.button("Log in").click()
        expect(self.heading("Shop")).to_be_visible()

    def search(self, words: str) -> None:
        """Type words that only one product has, and wait until it is the only one: the list is drawn again then."""
        self.page.get_by_role("searchbox", name="Search products").fill(words)
        self.expect_one_product()

    def expect_one_product(self) -> None:
        """Wait until the list of products has one product."""
        expect(self.page.get_by_role("list", name="Products").get_by_role("listitem")).to_have_count(1)

    def put_into_basket(self, product: str = MUG) -> None:
        """Search for a product, and put one of it into the basket."""
        self.open(f"/?q={product}")
        self.button(f"Add to basket: {product}").click()
        expect(self.basket(1)).to_be_visible()

    def go_to_checkout(self, login: Login) -> None:
        """Log in, put a product into the basket, and enter the address. Then only "Buy now" is left to do."""
        self.log_in(login)
        self.put_into_basket()
        self.open("/checkout")
        self.fill_address()
        expect(self.button("Buy now")).to_be_enabled()

    def look(self, name: str) -> None:
        """Check the page as it is now with axe, and that it fits on a phone. Take screenshots of it."""
        axe(self.page)
        screenshot(self.page, f"storefront-{name}")
        before = self.page.viewport_size
        self.page.set_viewport_size({"width": SMALL, "height": 800})
        width = self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= SMALL, f"{self.page.url} is {width} pixels wide"
        if before:
            self.page.set_viewport_size(before)


def key_of(request_headers: dict[str, str]) -> str:
    """Return the Idempotency-Key of a request."""
    return request_headers["idempotency-key"]


def problem(status: int, code: str, **more: Any) -> dict[str, Any]:
    """Return what to fulfill a route with: problem details of a service, which the page may read."""
    body = {"type": "about:blank", "title": code, "status": status, "code": code, **more}
    headers = {"Content-Type": "application/problem+json", "Access-Control-Allow-Origin": "*"}
    return {"status": status, "headers": headers, "body": json.dumps(body)}
