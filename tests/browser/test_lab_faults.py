"""The lab's page Faults: every fault begins, customers notice it or not, it ends, and the shop heals."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from emulator.run.stack import Stack
from tests.browser.checks import axe, screenshot
from tests.waiting import WAIT_SECONDS

HEAL_MS = 45_000
"""How long a shop may take to heal, in milliseconds, on a busy machine."""


def post(shop: Stack, path: str) -> httpx.Response:
    """Send what a button of the page sends."""
    return httpx.post(f"{shop.url('lab')}/faults/{path}", headers={"Origin": shop.url("lab")}, timeout=HEAL_MS / 1000)


@pytest.fixture(scope="module")
def buying(shop: Stack) -> Iterator[Stack]:
    """A customer buys once a second during all tests of this file."""
    assert post(shop, "load/start").is_success
    yield shop
    assert post(shop, "load/stop").is_success


@pytest.fixture
def faults(page: Page, buying: Stack) -> Iterator[Page]:
    """The page, with bills on it. What is still broken at the end of a test is repaired."""
    page.goto(f"{buying.url('lab')}/faults")
    expect(page.locator(".good-bar").first).to_be_visible()
    yield page
    for end in page.locator('.fault[data-state="on"] [data-action="end"]').all():
        end.click()
    expect(page.locator('.fault:not([data-state="off"])')).to_have_count(0, timeout=HEAL_MS)


def card(page: Page, fault: str) -> Locator:
    """Return the card of a fault."""
    return page.locator(f'[data-fault="{fault}"]')


def begin(page: Page, fault: str) -> None:
    """Push the button of a fault, and wait until it is on."""
    card(page, fault).locator('[data-action="begin"]').click()
    expect(card(page, fault)).to_have_attribute("data-state", "on", timeout=HEAL_MS)


def end(page: Page, fault: str) -> None:
    """End a fault with its button, and wait until it is off."""
    card(page, fault).locator('[data-action="end"]').click()
    expect(card(page, fault)).to_have_attribute("data-state", "off", timeout=HEAL_MS)


def latest(page: Page, title: str) -> Locator:
    """Return the row of what customers noticed last, which is about the fault `title`."""
    row = page.locator("#notices tbody tr").first
    expect(row.locator("th")).to_have_text(title, timeout=HEAL_MS)
    return row


def test_customers_notice_that_product_is_down(faults: Page) -> None:
    """Their purchases fail with 503, and heal when Product is back. The page shows both, live."""
    begin(faults, "product-stop")
    row = latest(faults, "Product is down")
    expect(row).to_contain_text("503 product_unavailable", timeout=HEAL_MS)
    expect(row).to_contain_text("still on")
    expect(faults.locator(".band")).not_to_have_count(0)
    expect(card(faults, "product-stop")).to_contain_text("on, ends by itself in")
    axe(faults)
    screenshot(faults, "lab-faults-on")
    end(faults, "product-stop")
    expect(latest(faults, "Product is down")).to_contain_text("after", timeout=HEAL_MS)
    axe(faults)
    screenshot(faults, "lab-faults-healed")


def test_customers_do_not_notice_a_new_key(faults: Page) -> None:
    """Product fetches the certificates when it meets a key that was not announced."""
    card(faults, "rotate").get_by_role("button", name="Rotate now").click()
    expect(latest(faults, "New signing key, without notice")).to_contain_text("noticed nothing", timeout=HEAL_MS)


def test_customers_do_not_notice_that_firebase_is_down_for_a_moment(faults: Page) -> None:
    """Product verifies from memory, and Billing has tokens in stock. Afterwards purchases go on."""
    begin(faults, "auth-stop")
    end(faults, "auth-stop")
    row = latest(faults, "Firebase Auth is down")
    expect(row).to_contain_text("bill issued", timeout=HEAL_MS)


def test_a_slow_firebase_can_be_ended(faults: Page) -> None:
    """The delay begins and ends with its buttons."""
    begin(faults, "auth-slow")
    end(faults, "auth-slow")
    expect(latest(faults, "Firebase Auth is slow")).to_contain_text("bill issued", timeout=HEAL_MS)


def test_a_key_with_notice_says_that_it_waits(faults: Page) -> None:
    """The announcement comes first. The fault is over when the key signs."""
    card(faults, "rotate-notice").get_by_role("button", name="Announce and rotate").click()
    expect(card(faults, "rotate-notice")).to_contain_text("beginning …")
    expect(card(faults, "rotate-notice")).to_have_attribute("data-state", "off", timeout=HEAL_MS)
    expect(latest(faults, "New signing key, with notice")).to_contain_text("noticed nothing", timeout=HEAL_MS)


def test_a_fault_that_is_on_cannot_begin_again(faults: Page, shop: Stack) -> None:
    """Another page may be open. Nothing outside of the lab can begin one, and unknown ones are not found."""
    begin(faults, "auth-slow")
    answer = post(shop, "auth-slow/begin")
    assert (answer.status_code, answer.json()) == (409, {"error": "Firebase Auth is slow: this fault is on now."})
    for headers in {}, {"Origin": "https://evil.example"}:
        for path in "product-stop/begin", "load/start":
            assert (
                httpx.post(f"{shop.url('lab')}/faults/{path}", headers=headers, timeout=WAIT_SECONDS).status_code == 403
            )
    for path in "nothing/begin", "auth-slow/nothing", "load/nothing":
        assert post(shop, path).status_code == 404
    end(faults, "auth-slow")


def test_the_load_ends_and_begins_with_its_button(faults: Page) -> None:
    """What was bought stays on the page until the next load begins."""
    faults.get_by_role("button", name="Stop buying").click()
    expect(faults.get_by_role("button", name="Start buying")).to_be_visible(timeout=HEAL_MS)
    axe(faults)
    faults.get_by_role("button", name="Start buying").click()
    expect(faults.get_by_role("button", name="Stop buying")).to_be_visible(timeout=HEAL_MS)
    expect(faults.locator(".good-bar").first).to_be_visible()


# The last test: Billing may have tokens in stock that were minted in the 5 s after `enable`, and are refused later.
def test_a_disabled_billing_buys_nothing_until_it_is_enabled(faults: Page) -> None:
    """Disabling works within 10 s. Enabling revokes what was minted before, and Billing signs in again."""
    begin(faults, "disable")
    expect(latest(faults, "Billing's identity is disabled")).to_contain_text("failed", timeout=HEAL_MS)
    end(faults, "disable")
    expect(latest(faults, "Billing's identity is disabled")).to_contain_text("after", timeout=HEAL_MS)
