"""The lab's page "What if it leaks?": how many bills a thief makes with the last request."""

import contextlib
import re

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect

from emulator.demo.purchase import ADDRESS
from emulator.lab.thefts import TIMES, WAYS
from emulator.run.errors import Unexpected
from emulator.run.logins import MAYA
from emulator.run.shop_client import logged_in
from emulator.run.stack import Stack
from tests.browser.checks import axe, screenshot
from tests.waiting import WAIT_SECONDS

ATTEMPTS = 3


@pytest.fixture
def leaks(page: Page, shop: Stack) -> Page:
    """The page, as it is when it was opened."""
    page.goto(f"{shop.url('lab')}/leaks")
    return page


def way(page: Page, name: str) -> Locator:
    """Return the card of a way."""
    return page.locator(f'[data-way="{name}"]')


def count(page: Page, name: str, what: str) -> int:
    """Return how many bills a card shows."""
    text = way(page, name).locator(f"[data-{what}]").inner_text()
    return 0 if text == "none" else int(text)


def buy_in_the_shop(shop: Stack) -> str:
    """Buy something as a visitor does. Return the id of the bill."""
    with logged_in(shop, MAYA) as customer:
        product = next(iter(customer.products()))
        body = {"items": [{"product_id": product["id"], "quantity": 1}]}
        customer.call("PATCH", "user", "/profile", 200, json={"address": ADDRESS})
        key = {"Idempotency-Key": f"leaks-{product['id']}-{product['stock']}"}
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(Unexpected):  # A busy machine: the same request with the same key is one bill.
                return str(customer.call("POST", "billing", "/bills", 201, json=body, headers=key)["id"])
        return str(customer.call("POST", "billing", "/bills", 201, json=body, headers=key)["id"])


def test_ten_ten_ten_none_none(leaks: Page) -> None:
    """One click makes an honest call in each way and steals it: the argument of this project."""
    before = {one.id: count(leaks, one.id, "stolen") for one in WAYS}
    leaks.get_by_role("button", name="Call and steal in all five ways").click()
    expect(leaks.locator("#result")).to_contain_text("Bills by the thief", timeout=30_000)
    stolen = [count(leaks, one.id, "stolen") - before[one.id] for one in WAYS]
    assert stolen == [TIMES, TIMES, TIMES, 0, 0]
    expect(way(leaks, "fresh")).to_contain_text(f"{TIMES} \N{MULTIPLICATION SIGN} token_replayed, check “spend”")
    expect(way(leaks, "proof")).to_contain_text(f"{TIMES} \N{MULTIPLICATION SIGN} proof_replayed, check “spend”")
    for name in "user", "plain":
        expect(way(leaks, name)).to_contain_text(re.compile(r"until \d\d:\d\d:\d\d, (5\d|60) more minutes"))
    expect(way(leaks, "secret")).to_contain_text("changes the secret in every service at once")
    assert leaks.locator(".dots .taken").count() == 3 * TIMES
    assert leaks.locator(".dots .refused").count() == 2 * TIMES
    axe(leaks)
    screenshot(leaks, "lab-leaks")


@pytest.mark.parametrize("name", [one.id for one in WAYS])
def test_each_way_has_its_own_buttons(leaks: Page, name: str) -> None:
    """Billing calls once, and the thief tries. The button keeps the focus, and what leaked is shown in part only."""
    honest, stolen = count(leaks, name, "honest"), count(leaks, name, "stolen")
    card = way(leaks, name)
    card.get_by_role("button", name="Let Billing call").click()
    expect(card.locator("[data-honest]")).to_have_text(str(honest + 1))
    expect(card.get_by_role("button", name="Let Billing call")).to_be_focused()
    card.get_by_role("button", name="Steal it").click()
    expect(card.locator(".dots li[class]")).to_have_count(TIMES)
    is_weak = next(one.is_weak for one in WAYS if one.id == name)
    assert count(leaks, name, "stolen") == stolen + (TIMES if is_weak else 0)
    card.get_by_text("What the thief has").click()
    shown = card.get_by_role("region", name="The recorded request, cut")
    expect(shown).to_contain_text(f"POST /{name}/bills HTTP/1.1")
    assert re.search(r"[A-Za-z0-9_-]{30,}", shown.inner_text()) is None


def test_the_visitors_last_call_is_stolen_and_refused(leaks: Page, shop: Stack) -> None:
    """Someone buys something, opens the lab, steals the last call of the purchase, and sees it refused."""
    bill = buy_in_the_shop(shop)
    wire = leaks.locator("#wire")
    wire.get_by_role("button", name="Look again").click()
    last = wire.locator(".tapped").first
    expect(last).to_contain_text(f"/reservations/{bill}/commit")
    expect(last).to_have_attribute("aria-pressed", "true")
    wire.get_by_role("button", name="Steal it").click()
    expect(wire.get_by_role("status")).to_contain_text(f"Refused: {TIMES} of {TIMES}.")
    expect(wire.get_by_role("status")).to_contain_text(
        f"{TIMES} \N{MULTIPLICATION SIGN} token_replayed, by the check “spend”"
    )
    axe(leaks)
    screenshot(leaks, "lab-leaks-wire")
    wire.locator(".tapped").nth(1).click()
    expect(wire.locator(".tapped").nth(1)).to_have_attribute("aria-pressed", "true")
    expect(wire.get_by_role("region", name="The call as it passed, cut")).to_contain_text("POST /reservations HTTP/1.1")


def test_a_visitor_goes_from_the_purchase_to_its_theft(leaks: Page, shop: Stack) -> None:
    """The way of a first-time visitor: the purchase on the page Calls, one of its calls, "Steal this call", refused."""
    leaks.goto(f"{shop.url('lab')}/")
    rows = leaks.locator("tr").filter(has_text="svc:billing").filter(has_text="product")
    links = rows.locator('a[href^="/calls/"]')
    newest = (links.first.get_attribute("href") if links.count() else None) or ""
    bill = buy_in_the_shop(shop)
    for position in range(2):  # The calls of a purchase: the reservation, and the sale. The page shows them live.
        expect(links.nth(position)).to_be_attached()
        expect(links.nth(position)).not_to_have_attribute("href", newest)
    links.first.click()
    leaks.get_by_role("link", name="Steal this call").click()
    wire = leaks.locator("#wire")
    expect(wire.get_by_role("region", name="The call as it passed, cut")).to_contain_text(bill[:8])
    wire.get_by_role("button", name="Steal it").click()
    expect(wire.get_by_role("status")).to_contain_text(f"Refused: {TIMES} of {TIMES}.")


def test_a_call_is_chosen_by_the_id_that_it_spent(leaks: Page, shop: Stack) -> None:
    """So another page can lead to it. A call that did not pass here is not taken for another."""
    buy_in_the_shop(shop)
    leaks.goto(f"{shop.url('lab')}/leaks?call=AAAAAAAAAAAAAAAAAAAAAA#wire")
    expect(leaks.locator("#wire")).to_contain_text("did not pass here, or is forgotten")
    number = leaks.locator(".tapped").nth(1).get_attribute("data-call")
    leaks.goto(f"{shop.url('lab')}/leaks?call={number}#wire")
    expect(leaks.locator(f'.tapped[data-call="{number}"]')).to_have_attribute("aria-pressed", "true")


def test_no_web_page_reaches_the_till(shop: Stack) -> None:
    """It answers neither a page nor another name, and each weak way refuses what is plainly wrong."""
    till = shop.url("till")
    for headers in {"Origin": shop.url("lab")}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}:
        assert httpx.post(f"{till}/secret/bills", headers=headers, timeout=WAIT_SECONDS).status_code == 403
    wrong = {"X-Internal-Secret": "guess", "Authorization": "Bearer e30.e30.x", "X-MS-TOKEN": "e30.e30.x"}
    for one in WAYS:
        assert httpx.post(f"{till}/{one.id}/bills", headers=wrong, timeout=WAIT_SECONDS).status_code == 401
        assert httpx.post(f"{till}/{one.id}/bills", timeout=WAIT_SECONDS).status_code == 401


def test_only_pages_of_the_lab_may_steal(shop: Stack) -> None:
    """A foreign page, and a program without an origin, are refused."""
    for path in "ways/secret/steal", "ways/fresh/buy", "wire/1/steal":
        assert httpx.post(f"{shop.url('lab')}/leaks/{path}", timeout=WAIT_SECONDS).status_code == 403
    origin = {"Origin": shop.url("lab")}
    for path in "ways/nothing/buy", "ways/secret/nothing", "wire/0/steal":
        assert httpx.post(f"{shop.url('lab')}/leaks/{path}", headers=origin, timeout=WAIT_SECONDS).status_code == 404
