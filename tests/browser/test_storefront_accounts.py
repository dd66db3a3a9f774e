"""Sign-up, log-in, and sessions that end"""

import pytest
from playwright.sync_api import Page, expect

from emulator.run.logins import ADMIN, MAYA, Login
from emulator.run.shop_client import logged_in
from emulator.run.stack import Stack
from tests.browser.conftest import NewContext
from tests.browser.storefront import Storefront, sign_up
from tests.browser.watch import Watch

pytestmark = pytest.mark.slow

FAILED_LOAD = "^Failed to load resource"


@pytest.fixture
def storefront(page: Page, shop: Stack) -> Storefront:
    """The storefront in a tab of a new browser."""
    return Storefront(page, shop)


@pytest.fixture
def customer(shop: Stack) -> Login:
    """A new customer."""
    return sign_up(shop)


def test_what_is_wrong_with_a_sign_up_is_said_beside_the_field(storefront: Storefront, watch: Watch) -> None:
    """The page says what to correct, at the field, and keeps what was typed. The first wrong field has the focus."""
    watch.allow(FAILED_LOAD)
    storefront.open("/signup")
    storefront.fill({"Name": "Wanda", "E-mail address": "wanda", "Password": "short"})
    storefront.button("Create the account").click()
    email, password = storefront.field("E-mail address"), storefront.field("Password")
    expect(email).to_have_accessible_description("Enter an e-mail address, such as name@example.com.")
    expect(email).to_be_focused()
    expect(password).to_have_attribute("aria-invalid", "true")
    storefront.look("sign-up-errors")

    storefront.fill({"E-mail address": MAYA.email, "Password": "tulip-engine-river"})
    storefront.button("Create the account").click()
    expect(storefront.page.get_by_text("There is an account with this e-mail address.", exact=False)).to_be_visible()
    expect(storefront.field("Name")).to_have_value("Wanda")


def test_a_wrong_password_is_said_in_words(storefront: Storefront, customer: Login, watch: Watch) -> None:
    """A refused log-in says so, and the e-mail address is still there."""
    watch.allow(FAILED_LOAD)
    storefront.open("/login")
    storefront.fill({"E-mail address": customer.email, "Password": "not-the-password"})
    storefront.button("Log in").click()
    expect(storefront.page.get_by_role("alert")).to_contain_text("The e-mail address or the password is wrong.")
    expect(storefront.field("E-mail address")).to_have_value(customer.email)
    storefront.look("log-in-refused")


def test_a_demo_user_logs_in_with_one_press(storefront: Storefront) -> None:
    """A first-time visitor of a demo shop need not type anything."""
    storefront.open()
    storefront.page.get_by_role("button", name=MAYA.name).first.click()
    expect(storefront.heading("Shop")).to_be_visible()


def test_a_log_out_in_another_tab_ends_this_one(storefront: Storefront, shop: Stack, customer: Login) -> None:
    """Tabs of one browser share the session: after a log-out in one, the other one is logged out at once."""
    storefront.log_in(customer)
    other = Storefront(storefront.page.context.new_page(), shop)
    other.open("/profile")
    other.button("Log out").click()
    expect(other.link("Log in").first).to_be_visible()
    storefront.page.bring_to_front()
    expect(storefront.link("Log in").first).to_be_visible()
    expect(storefront.page.get_by_role("list", name="Products")).to_be_hidden()


@pytest.mark.parametrize("is_loaded_again", [False, True], ids=["next page", "reload"])
def test_a_session_that_was_ended_elsewhere(
    storefront: Storefront, shop: Stack, customer: Login, watch: Watch, is_loaded_again: bool
) -> None:
    """After a log-out on another device, the page says that the session has ended, and goes on after a log-in."""
    watch.allow(FAILED_LOAD)
    storefront.log_in(customer)
    storefront.put_into_basket()
    with logged_in(shop, customer) as elsewhere:
        elsewhere._http.post(f"{shop.url('user')}/logout").raise_for_status()
    if is_loaded_again:
        storefront.open("/orders")
    else:
        storefront.link("Orders").click()
    expect(storefront.page.get_by_text("Your session has ended.", exact=False)).to_be_visible()
    storefront.look("session-ended")
    storefront.fill({"E-mail address": customer.email, "Password": customer.password})
    storefront.button("Log in").click()
    expect(storefront.heading("Your orders")).to_be_visible()
    expect(storefront.basket(1)).to_be_visible()


def test_customers_do_not_see_each_other(
    storefront: Storefront, shop: Stack, new_context: NewContext, customer: Login, watch: Watch
) -> None:
    """A customer gets no pages of an administrator, and an unknown page says so."""
    watch.allow(FAILED_LOAD)
    storefront.log_in(customer)
    storefront.open("/admin/products")
    expect(storefront.heading("For administrators")).to_be_visible()
    storefront.look("for-administrators")
    storefront.open("/orders/unknown")
    expect(storefront.page.get_by_text("There is nothing at this address.")).to_be_visible()
    storefront.open("/no/such/page")
    expect(storefront.heading("Page not found")).to_be_visible()
    storefront.look("page-not-found")
    administrator = Storefront(new_context().new_page(), shop)
    administrator.log_in(ADMIN)
    expect(administrator.link("Manage products")).to_be_visible()
