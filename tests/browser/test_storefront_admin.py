"""An administrator keeps the catalogue"""

import secrets

import pytest
from playwright.sync_api import Page, expect

from emulator.run.logins import ADMIN
from emulator.run.shop_client import logged_in
from emulator.run.stack import Stack
from tests.browser.storefront import Storefront
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow


@pytest.fixture
def storefront(page: Page, shop: Stack) -> Storefront:
    """The storefront in a tab of a new browser."""
    return Storefront(page, shop)


def named(shop: Stack, name: str) -> list[tuple[int, int]]:
    """Return price and stock of the products with this name, as Product has them."""
    with logged_in(shop, ADMIN) as client:
        return [
            (product["price"]["amount"], product["stock"]) for product in client.products() if product["name"] == name
        ]


def test_an_administrator_adds_edits_and_deletes_a_product(storefront: Storefront, shop: Stack) -> None:
    """A new product is in the catalogue at once, so is each change of it, and so is its end."""
    name = f"Tea pot {secrets.token_hex(4)}"
    page = storefront.page
    storefront.log_in(ADMIN)
    storefront.link("Manage products").click()
    expect(page.get_by_role("list", name="Products").get_by_role("listitem").first).to_be_visible()
    storefront.look("admin-products")

    storefront.link("Add a product").click()
    storefront.fill({"Name": name, "Price": "19.9x", "Stock": "-1"})
    storefront.button("Add the product").click()
    expect(storefront.field("Price")).to_have_attribute("aria-invalid", "true")
    expect(storefront.field("Stock")).to_have_attribute("aria-invalid", "true")
    storefront.look("admin-product-errors")
    storefront.fill({"Price": "19.99", "Stock": "7", "Description": "It holds tea."})
    storefront.button("Add the product").click()
    expect(storefront.heading("Manage products")).to_be_visible()
    assert named(shop, name) == [(1999, 7)]

    storefront.search(name)
    storefront.link(f"Edit {name}").click()
    expect(storefront.field("Price")).to_have_value("19.99")
    storefront.look("admin-product")
    storefront.fill({"Price": "24.50", "Stock": "3"})
    page.reload()
    expect(storefront.field("Price")).to_have_value("24.50")
    storefront.button("Save").click()
    expect(storefront.heading("Manage products")).to_be_visible()
    assert named(shop, name) == [(2450, 3)]

    storefront.search(name)
    storefront.link(f"Edit {name}").click()
    storefront.button("Delete").click()
    dialog = page.get_by_role("dialog", name=f"Delete {name}?")
    expect(dialog).to_be_visible()
    storefront.look("admin-delete")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert named(shop, name) == [(2450, 3)]
    storefront.button("Delete").click()
    storefront.button("Delete it").click()
    expect(storefront.heading("Manage products")).to_be_visible()
    assert named(shop, name) == []


def test_two_administrators_who_change_the_same_product(storefront: Storefront, shop: Stack) -> None:
    """The second one is told what has changed meanwhile, and nothing is overwritten without being asked."""
    name = f"Tea pot {secrets.token_hex(4)}"
    price = {"amount": 1999, "currency": "USD"}
    with logged_in(shop, ADMIN) as client:
        product = client.call(
            "POST", "product", "/products", 201, json={"name": name, "description": "", "price": price, "stock": 5}
        )
        storefront.log_in(ADMIN)
        storefront.open(f"/admin/products/{product['id']}")
        storefront.fill({"Price": "18.00"})
        changes = {"price": {"amount": 2100, "currency": "USD"}}
        client.call("PATCH", "product", f"/products/{product['id']}", 200, json=changes)
        storefront.button("Save").click()
        expect(storefront.page.get_by_text("Someone has changed this product", exact=False)).to_be_visible()
        storefront.look("admin-conflict")
        assert named(shop, name) == [(2100, 5)]
        storefront.button("Save").click()
        expect(storefront.heading("Manage products")).to_be_visible()
        assert named(shop, name) == [(1800, 5)]


def test_product_that_is_down_loses_nothing_that_was_typed(storefront: Storefront, watch: Watch) -> None:
    """If Product does not answer, the form says so and keeps what was typed."""
    watch.allow("^Failed to load resource")
    storefront.log_in(ADMIN)
    storefront.open("/admin/products/new")
    storefront.fill({"Name": "Tea pot", "Price": "19.99", "Stock": "7"})
    storefront.page.route("**/products", lambda route: route.abort())
    storefront.button("Add the product").click()
    expect(storefront.page.get_by_role("alert")).to_contain_text("The catalogue does not answer.")
    expect(storefront.field("Name")).to_have_value("Tea pot")
