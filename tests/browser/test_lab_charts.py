"""The page Charts of the lab, in a browser."""

import re

from playwright.sync_api import Page, expect

from emulator.demo.purchase import buy
from emulator.run.stack import Stack
from tests.browser.checks import axe, screenshot
from tests.browser.conftest import NewContext

CHARTS = ("Calls a second", "Verdicts", "Verification time", "Sign-ins a second", "Tokens in stock")


def open_charts(page: Page, shop: Stack) -> None:
    """Open the page, and wait until it is live."""
    page.goto(f"{shop.url('lab')}/charts")
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def total(page: Page) -> int:
    """Return how many accepted calls the legend of the verdicts names."""
    text = page.locator("#figure-verdicts .legend li").filter(has_text="accepted").inner_text()
    return int(re.sub(r"\D", "", text.partition("in all")[0]))


def test_a_purchase_changes_the_charts(page: Page, shop: Stack) -> None:
    """Without a reload, the charts have the calls and sign-ins of a purchase once their span is over."""
    open_charts(page, shop)
    before = total(page)
    buy(shop)
    legend = page.locator("#figure-verdicts .legend")
    expect(legend).not_to_contain_text(f"{before:,} in all")
    assert total(page) > 0
    expect(page.locator("#figure-verification .legend")).to_contain_text(re.compile(r"median\s+[\d.]+ ms"))
    expect(page.locator("#figure-sign-ins .legend")).to_contain_text("Billing → Product")
    expect(page.locator("#figure-stock .legend")).to_contain_text("Billing → Product")


def test_every_chart_has_a_table_behind_it(page: Page, shop: Stack) -> None:
    """Each chart is a picture with a name, and a table that can be opened and stays open while it changes."""
    buy(shop)
    open_charts(page, shop)
    firsts = []
    for title in CHARTS:
        chart = page.get_by_role("region", name=title, exact=True)
        expect(chart.get_by_role("img", name=re.compile(title))).to_be_visible()
        chart.get_by_text("The same as a table").click()
        table = chart.get_by_role("region", name=f"{title}, as a table")
        expect(table).to_be_visible()
        firsts.append((table.locator("tbody th").first, table.locator("tbody th").first.inner_text()))
    for first, text in firsts:
        expect(first).not_to_have_text(text)
        expect(first).to_be_visible()
    axe(page)
    screenshot(page, "lab-charts-tables")


def test_the_page_is_accessible_and_looks_right(page: Page, shop: Stack) -> None:
    """No rule of axe is violated."""
    buy(shop)
    open_charts(page, shop)
    expect(page.locator("#figure-verdicts .bars").first).to_be_attached()
    axe(page)
    screenshot(page, "lab-charts")


def test_nothing_is_wider_than_a_phone(new_context: NewContext, shop: Stack) -> None:
    """On a phone the page does not scroll sideways, and the narrow drawings are shown."""
    page = new_context(viewport={"width": 360, "height": 800}).new_page()
    open_charts(page, shop)
    expect(page.locator("#figure-calls svg.narrow")).to_be_visible()
    expect(page.locator("#figure-calls svg.wide")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_navigation_leads_to_each_page(page: Page, shop: Stack) -> None:
    """The header has a link to each page of the lab, and marks the one that is open."""
    open_charts(page, shop)
    navigation = page.get_by_role("navigation", name="Pages of the lab")
    expect(navigation.get_by_role("link", name="Charts")).to_have_attribute("aria-current", "page")
    navigation.get_by_role("link", name="Calls").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Calls")
