"""The page Calls of the lab, in a browser: a purchase appears while it happens, and each call shows its whole way."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from emulator.demo.purchase import buy
from emulator.demo.refusals import try_calls
from emulator.run.stack import Stack
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests.browser.checks import axe, screenshot
from tests.browser.conftest import NewContext
from tests.browser.watch import Watch


def open_calls(page: Page, shop: Stack, query: str = "") -> Locator:
    """Open the page, and wait until it is live. Return the rows of its list."""
    page.goto(f"{shop.url('lab')}/{query}")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()
    return page.get_by_role("table", name="The latest calls").locator("tbody").get_by_role("row")


def row_of(rows: Locator, *texts: str) -> Locator:
    """Return the newest row that has these texts."""
    for text in texts:
        rows = rows.filter(has_text=text)
    return rows.first


def test_a_purchase_appears_as_it_happens(page: Page, shop: Stack) -> None:
    """Without a reload, the list has the calls of a purchase, and the picture has their numbers."""
    rows = open_calls(page, shop, "?caller=billing&audience=product")
    before = row_of(rows, "svc:billing").get_attribute("data-call")
    buy(shop)
    newest = row_of(rows, "svc:billing", "product", "accepted")
    expect(newest).not_to_have_attribute("data-call", before or "")
    expect(newest.locator(".took")).to_have_text(re.compile(r"^[\d.]+ m?s$"))
    for hop in ("customers-billing", "billing-product", "billing-user", "deliver-billing"):
        expect(page.locator(f"svg.wide [data-label={hop}] .rate")).to_have_text(re.compile(r"^[1-9][\d,]*/(min|s)$"))
    expect(page.locator("svg.wide [data-note=firebase]")).to_have_text(re.compile(r"^[1-9]\d*/(min|s) · [\d.]+ m?s$"))


def test_the_way_of_a_call_from_mint_to_answer(page: Page, shop: Stack) -> None:
    """The time of a call in the list leads to its waterfall, with each hop and how long it took."""
    buy(shop)
    rows = open_calls(page, shop, "?caller=billing&audience=product&verdict=accepted")
    # The runner called as svc:billing too, with a sign-in of its own, which is in no log. A purchase is newer.
    row_of(rows, "svc:billing").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("svc:billing calls product")
    for hop in ("metadata server", "function token", "Firebase Auth", "billing", "product", "verification", "answer"):
        item = page.locator(".hop-row").filter(has=page.get_by_text(hop, exact=True))
        expect(item.locator(".hop-time")).to_contain_text(re.compile(r"[\d.]+ m?s"))
    expect(page.locator(".hop-row .bar").first).to_be_visible()
    axe(page)
    screenshot(page, "lab-call")


def test_filters_live_in_the_url(page: Page, shop: Stack) -> None:
    """A choice changes the URL and the list. A reload and the back button keep what was chosen."""
    buy(shop)
    rows = open_calls(page, shop)
    page.get_by_label("Caller").select_option("svc:delivery")
    page.wait_for_url("**/?caller=deliver")
    expect(row_of(rows, "svc:delivery")).to_be_visible()
    expect(rows.filter(has_text="svc:billing")).to_have_count(0)
    page.get_by_label("Mode").select_option("fresh")
    page.wait_for_url("**/?caller=deliver&mode=fresh")
    page.reload()
    expect(page.get_by_label("Caller")).to_have_value("deliver")
    expect(page.get_by_label("Mode")).to_have_value("fresh")
    page.go_back()
    expect(page.get_by_label("Mode")).to_have_value("")
    page.get_by_role("link", name="Show all calls").click()
    page.wait_for_url(f"{shop.url('lab')}/")


def test_only_calls_that_the_filters_admit_appear(page: Page, shop: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a filter for refused calls, a purchase adds no row. A replayed call does, with its code."""
    monkeypatch.setenv(AUTH_EMULATOR_VARIABLE, shop.auth_host)
    try_calls(shop)  # Other tests may have attacked the shop since it started, and the list has the latest calls only.
    rows = open_calls(page, shop, "?verdict=refused")
    before = row_of(rows, "token_replayed").get_attribute("data-call")
    buy(shop)
    try_calls(shop)
    refused = row_of(rows, "token_replayed")
    expect(refused).not_to_have_attribute("data-call", before or "")
    expect(rows.filter(has_text="accepted")).to_have_count(0)
    axe(page)
    screenshot(page, "lab-calls-refused")
    refused.get_by_role("link").click()
    expect(page.get_by_text("The same token came with these calls too:")).to_be_visible()
    axe(page)
    screenshot(page, "lab-call-replayed")
    page.get_by_role("region", name="Other calls").get_by_role("link").first.click()
    expect(page.get_by_text("The same token was sent again, and refused:")).to_be_visible()


def test_the_list_can_be_paused(page: Page, shop: Stack) -> None:
    """While the list is paused, new calls are counted and not shown. Then they are shown."""
    rows = open_calls(page, shop, "?caller=billing")
    page.get_by_role("button", name="Pause").click()
    before = row_of(rows, "svc:billing").get_attribute("data-call")
    buy(shop)
    button = page.get_by_role("button", name=re.compile(r"Continue \(\d+ new\)"))
    expect(button).to_be_visible()
    assert row_of(rows, "svc:billing").get_attribute("data-call") == before
    button.click()
    expect(row_of(rows, "svc:billing")).not_to_have_attribute("data-call", before or "")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_the_page_is_accessible_and_looks_right(page: Page, shop: Stack) -> None:
    """No rule of axe is violated, with the table behind the picture closed and open."""
    buy(shop)
    open_calls(page, shop)
    axe(page)
    screenshot(page, "lab-calls")
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("region", name="Which part calls which, as a table")).to_be_visible()
    axe(page)
    screenshot(page, "lab-calls-table")


def test_nothing_is_wider_than_a_phone(new_context: NewContext, shop: Stack) -> None:
    """On a phone the page does not scroll sideways, and the narrow picture is shown."""
    page = new_context(viewport={"width": 360, "height": 800}).new_page()
    open_calls(page, shop)
    expect(page.locator("svg.picture.narrow")).to_be_visible()
    expect(page.locator("svg.picture.wide")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    row_of(page.locator("#calls tr"), "billing").get_by_role("link").click()
    page.wait_for_url("**/calls/*")  # and for its style sheets
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_filters_work_by_keyboard(page: Page, shop: Stack) -> None:
    """A filter can be reached and changed without a mouse."""
    open_calls(page, shop)
    page.get_by_label("Verdict").focus()
    page.keyboard.type("refused")
    page.wait_for_url("**/?verdict=refused")


def test_a_call_that_is_gone(page: Page, shop: Stack, watch: Watch) -> None:
    """A call that the lab has forgotten has a page that says so, and leads to the list."""
    watch.allow("404")
    page.goto(f"{shop.url('lab')}/calls/987654321")
    expect(page.get_by_role("heading", name="This call is gone")).to_be_visible()
    axe(page)
    screenshot(page, "lab-call-gone")
    page.get_by_role("link", name="Show the latest calls").click()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def test_a_page_says_when_the_lab_is_gone(page: Page, shop: Stack, watch: Watch) -> None:
    """If the connection breaks, the page says so. When it is back, the page is loaded again, and live."""
    open_calls(page, shop)
    page.route("**/calls/events*", lambda route: route.abort())
    page.reload()
    expect(page.get_by_text("The lab does not answer. Is the shop still running?")).to_be_visible()
    axe(page)
    watch.allow("ERR_FAILED")
    page.unroute("**/calls/events*")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def test_no_token_is_in_the_page(page: Page, shop: Stack) -> None:
    """Nothing that looks like a token is in what the browser has, or in what it was sent."""
    rows = open_calls(page, shop)
    buy(shop)
    expect(row_of(rows, "svc:delivery")).to_be_visible()
    assert not re.search(r"eyJ[\w-]{10,}", page.content())
