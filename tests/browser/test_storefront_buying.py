"""A customer buys, and gets one bill whatever happens on the way"""

import re
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Page, Route, expect

from emulator.run.logins import Login
from emulator.run.stack import Stack
from tests.browser.conftest import NewContext
from tests.browser.storefront import ADDRESS, COUNTRY, MUG, Storefront, bills_of, key_of, sign_up
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow

BILLS = "**/bills"
FAILED_LOAD = "^Failed to load resource"
RESTART_MS = 60_000
"""How long a service may take to start, or to be called again by the others, in milliseconds."""


@pytest.fixture
def customer(shop: Stack) -> Login:
    """A new customer."""
    return sign_up(shop)


@pytest.fixture
def storefront(page: Page, shop: Stack) -> Storefront:
    """The storefront in a tab of a new browser."""
    return Storefront(page, shop)


def test_a_customer_finds_buys_and_gets_a_product(storefront: Storefront, shop: Stack) -> None:
    """From the first page to the delivered parcel, without help: every page is accessible, and fits on a phone."""
    page = storefront.page
    storefront.open()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    storefront.look("welcome")

    page.get_by_role("link", name="Create an account").first.click()
    expect(storefront.heading("Create an account")).to_be_visible()
    storefront.look("sign-up")
    customer = Login("customer", "Wanda Okoro", f"{secrets.token_hex(8)}@example.com", "tulip-engine-river")
    storefront.fill({"Name": customer.name, "E-mail address": customer.email, "Password": customer.password})
    storefront.button("Create the account").click()

    expect(storefront.heading("Shop")).to_be_visible()
    expect(page.get_by_role("list", name="Products").get_by_role("listitem").first).to_be_visible()
    storefront.look("shop")
    storefront.search(MUG)
    storefront.button(f"Add to basket: {MUG}").click()
    expect(storefront.basket(1)).to_be_visible()
    storefront.look("search")

    page.get_by_role("listitem").get_by_role("link", name=MUG).click()
    expect(storefront.heading(MUG)).to_be_visible()
    storefront.look("product")
    storefront.button("Add to basket").click()
    storefront.basket(2).click()

    expect(storefront.heading("Basket")).to_be_visible()
    storefront.look("basket")
    page.reload()
    expect(storefront.basket(2)).to_be_visible()
    storefront.link("Go to the checkout").click()

    expect(storefront.heading("Checkout")).to_be_visible()
    storefront.fill_address()
    page.reload()
    for label, value in ADDRESS.items():
        expect(storefront.field(label)).to_have_value(value)
    expect(storefront.field("Country").locator("option:checked")).to_have_text(COUNTRY)
    expect(storefront.button("Buy now")).to_be_enabled()
    storefront.look("checkout")
    storefront.button("Buy now").click()

    expect(page.get_by_text("Thank you! Your order is placed.")).to_be_visible()
    delivery = page.get_by_role("region", name="Delivery")
    expect(delivery.get_by_text(ADDRESS["Street and number"])).to_be_visible()
    expect(delivery.locator("[aria-current=step]")).to_have_text("Delivered")
    storefront.look("order")
    expect(storefront.basket(0)).to_be_visible()

    storefront.link("Open the invoice").click()
    invoice = page.frame_locator("iframe[title=Invoice]")
    expect(invoice.get_by_text(MUG)).to_be_visible()
    expect(invoice.get_by_text("Wanda Okoro").first).to_be_visible()
    storefront.look("invoice")

    storefront.link("Orders").click()
    expect(page.get_by_role("list", name="Orders").get_by_role("listitem")).to_have_count(1)
    storefront.look("orders")
    storefront.link("Profile").click()
    expect(storefront.field("Street and number")).to_have_value(ADDRESS["Street and number"])
    storefront.look("profile")
    storefront.button("Log out").click()
    expect(storefront.link("Log in").first).to_be_visible()
    assert [bill["lines"][0]["quantity"] for bill in bills_of(shop, customer)] == [2]


def test_a_double_click_makes_one_bill(storefront: Storefront, shop: Stack, customer: Login) -> None:
    """Pressing "Buy now" twice, and Enter in a field as well, buys once."""
    storefront.go_to_checkout(customer)
    storefront.button("Buy now").dblclick()
    expect(storefront.page.get_by_text("Thank you! Your order is placed.")).to_be_visible()
    assert len(bills_of(shop, customer)) == 1


def test_two_tabs_that_buy_the_same_basket_make_one_bill(storefront: Storefront, shop: Stack, customer: Login) -> None:
    """The second tab goes on with the order of the first one, whose answer is not there yet."""
    storefront.go_to_checkout(customer)
    other = Storefront(storefront.page.context.new_page(), shop)
    held: list[Route] = []
    storefront.page.route(
        BILLS, lambda route: held.append(route) if route.request.method == "POST" else route.fallback()
    )
    other.open("/checkout")
    other.fill_address()
    storefront.button("Buy now").click()
    expect(storefront.heading("Placing your order")).to_be_visible()
    other.button("Buy now").click()
    expect(other.page.get_by_text("Thank you! Your order is placed.")).to_be_visible()
    held[0].continue_()
    expect(storefront.page.get_by_text("Thank you! Your order is placed.")).to_be_visible()
    assert len(bills_of(shop, customer)) == 1


@pytest.mark.parametrize("has_arrived", [True, False], ids=["answer lost", "request lost"])
def test_a_lost_answer_makes_one_bill(
    storefront: Storefront, shop: Stack, customer: Login, watch: Watch, has_arrived: bool
) -> None:
    """If the connection breaks during "Buy now", the order is sent again with the same key, and there is one bill."""
    watch.allow(FAILED_LOAD)
    keys: list[str] = []

    def lose_the_first(route: Route) -> None:
        if route.request.method != "POST":
            route.fallback()
            return
        keys.append(key_of(route.request.headers))
        if len(keys) > 1:
            route.continue_()
            return
        if has_arrived:
            route.fetch()
        route.abort("connectionreset")

    storefront.go_to_checkout(customer)
    storefront.page.route(BILLS, lose_the_first)
    storefront.button("Buy now").click()
    expect(storefront.page.get_by_text("Thank you! Your order is placed.")).to_be_visible()
    assert keys == [keys[0]] * 2
    assert len(bills_of(shop, customer)) == 1


def test_a_reload_while_an_order_is_sent_makes_one_bill(
    storefront: Storefront, shop: Stack, customer: Login, watch: Watch
) -> None:
    """After a reload in the middle, the page goes on with the order by itself, and says what it is doing."""
    watch.allow(FAILED_LOAD)
    storefront.go_to_checkout(customer)
    keys: list[str] = []
    is_reloading = False

    def hold(route: Route) -> None:
        if route.request.method == "POST" and not is_reloading:
            route.fetch()
            keys.append(key_of(route.request.headers))
        else:
            route.fallback()

    storefront.page.route(BILLS, hold)
    storefront.button("Buy now").click()
    expect(storefront.heading("Placing your order")).to_be_visible()
    while not keys:
        storefront.page.wait_for_timeout(20)
    assert len(keys) == 1
    storefront.look("placing-the-order")
    is_reloading = True
    storefront.page.reload()
    expect(storefront.page.get_by_text("Thank you! Your order is placed.")).to_be_visible()
    # The page sends the order again after 20 s without an answer, and the pictures may take longer on a busy machine.
    assert len(set(keys)) == 1
    assert len(bills_of(shop, customer)) == 1


def test_a_reload_while_the_answer_arrives_shows_the_order(
    storefront: Storefront, shop: Stack, customer: Login
) -> None:
    """The page that is reloaded still gets the answer. The new page shows the order too, not just an empty basket."""
    storefront.go_to_checkout(customer)
    held: dict[str, Route] = {}
    loaded: list[str] = []

    def hold(route: Route) -> None:
        if route.request.method == "POST" or route.request.resource_type == "document":
            held[route.request.resource_type] = route
        else:
            route.fallback()

    storefront.page.route(BILLS, hold)
    storefront.page.route("**/checkout", hold)
    storefront.button("Buy now").click()
    expect(storefront.heading("Placing your order")).to_be_visible()
    # From here on, Playwright waits for the new page, so only the requests tell what the old one does.
    storefront.page.on("requestfinished", lambda request: loaded.append(request.method + urlsplit(request.url).path))
    storefront.page.evaluate("setTimeout(() => location.reload())")
    while len(held) < 2:
        storefront.page.wait_for_timeout(20)
    held["fetch"].continue_()
    while not any(re.fullmatch(r"GET/bills/\w+", each) for each in loaded):
        storefront.page.wait_for_timeout(20)
    with storefront.page.expect_event("domcontentloaded"):
        held["document"].continue_()
    expect(storefront.page.get_by_text("Thank you! Your order is placed.")).to_be_visible()
    assert len(bills_of(shop, customer)) == 1


def test_billing_that_is_down_loses_no_order(
    storefront: Storefront, shop: Stack, customer: Login, watch: Watch
) -> None:
    """The page says that Billing does not answer, keeps the order, also over a reload, and sends it when asked to."""
    watch.allow(FAILED_LOAD)
    storefront.go_to_checkout(customer)
    storefront.page.clock.install()
    storefront.page.route(BILLS, lambda route: route.abort() if route.request.method == "POST" else route.fallback())
    storefront.button("Buy now").click()
    expect(storefront.page.get_by_text("The order service does not answer.", exact=False)).to_be_visible()
    storefront.look("billing-down")
    no_answer = storefront.heading("Your order has no answer yet")
    while not no_answer.is_visible():  # Each attempt ends by itself. The time between two of them passes here.
        storefront.page.clock.run_for(1_000)
    storefront.look("order-without-answer")
    storefront.page.unroute(BILLS)
    storefront.button("Try again").click()
    expect(storefront.page.get_by_text("Thank you! Your order is placed.")).to_be_visible()
    assert len(bills_of(shop, customer)) == 1


@contextmanager
def stopped(shop: Stack, service: str) -> Iterator[None]:
    """Stop a service as a machine that hangs: its port is open, and nothing answers. It goes on afterwards."""
    port = str(getattr(shop.ports, service))
    processes = [
        process
        for process in psutil.process_iter(["cmdline"])
        if {f"services.{service}.app:create_app", port} <= set(process.info["cmdline"] or [])
    ]
    assert processes
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def test_product_that_hangs_and_goes_on(storefront: Storefront, shop: Stack, customer: Login) -> None:
    """While Product hangs, an order waits. When Product goes on, the order is finished, with one bill."""
    storefront.go_to_checkout(customer)
    with stopped(shop, "product"):
        storefront.button("Buy now").click()
        expect(storefront.heading("Placing your order")).to_be_visible()
    expect(storefront.page.get_by_text("Thank you! Your order is placed.")).to_be_visible()
    assert len(bills_of(shop, customer)) == 1


def test_product_that_is_down_and_comes_back(
    storefront: Storefront, shop: Stack, customer: Login, watch: Watch, new_context: NewContext
) -> None:
    """While Product's process is gone, pages say so. After its start "Try again" shows the products, and one buys."""
    watch.allow(FAILED_LOAD)
    storefront.go_to_checkout(customer)
    lab = new_context().new_page()
    lab.goto(f"{shop.url('lab')}/faults")
    fault = lab.locator("[data-fault=product-stop]")
    fault.locator("[data-action=begin]").click()
    expect(fault).to_have_attribute("data-state", "on")
    try:
        storefront.open()
        alert = storefront.page.get_by_role("alert")
        expect(alert).to_contain_text("The catalogue does not answer.")
        storefront.look("catalogue-down")
    finally:
        fault.locator("[data-action=end]").click()
        expect(fault).to_have_attribute("data-state", "off", timeout=RESTART_MS)
    storefront.button("Try again").click()
    expect(storefront.page.get_by_role("list", name="Products")).to_be_visible()
    expect(alert).to_be_hidden()
    storefront.open("/checkout")
    expect(storefront.field("Street and number")).to_have_value(ADDRESS["Street and number"])
    storefront.button("Buy now").click()
    expect(storefront.page.get_by_text("Thank you! Your order is placed.")).to_be_visible(timeout=RESTART_MS)
    assert len(bills_of(shop, customer)) == 1


def press_until(page: Page, role: str, name: str) -> None:
    """Press Tab until the element with this role and name has the focus."""
    target = page.get_by_role(role, name=name, exact=True).first  # type: ignore[arg-type] # a role as a text
    expect(target).to_be_visible()
    for _ in range(80):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to the {role} {name!r}.")


def test_a_purchase_by_keyboard_alone(storefront: Storefront, shop: Stack, customer: Login) -> None:
    """With Tab, Enter and typing, without a mouse, a customer logs in, fills the basket and buys."""
    page = storefront.page
    storefront.open()
    press_until(page, "link", "Log in")
    page.keyboard.press("Enter")
    press_until(page, "textbox", "E-mail address")
    page.keyboard.type(customer.email)
    page.keyboard.press("Tab")
    page.keyboard.type(customer.password)
    page.keyboard.press("Enter")
    press_until(page, "searchbox", "Search products")
    page.keyboard.type(MUG)
    storefront.expect_one_product()
    press_until(page, "button", f"Add to basket: {MUG}")
    page.keyboard.press("Enter")
    press_until(page, "link", "Basket 1 item")
    page.keyboard.press("Enter")
    press_until(page, "link", "Go to the checkout")
    page.keyboard.press("Enter")
    for label, value in ADDRESS.items():
        press_until(page, "textbox", label)
        page.keyboard.press("Control+a")
        page.keyboard.type(value)
    press_until(page, "combobox", "Country")
    page.keyboard.type(COUNTRY)
    press_until(page, "button", "Buy now")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Thank you! Your order is placed.")).to_be_visible()
    assert len(bills_of(shop, customer)) == 1
