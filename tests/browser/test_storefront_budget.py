"""What the storefront costs: bytes, time to the first paint, and jumps of the layout"""

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from emulator.run.logins import MAYA
from emulator.run.stack import Stack
from tests.browser.storefront import Storefront

pytestmark = pytest.mark.slow

MAX_SCRIPT_BYTES = 150_000
"""All scripts together, compressed, with Firebase's SDK."""
MAX_SHIFT = 0.1
"""Cumulative layout shift that counts as good (web.dev, "Cumulative Layout Shift")."""
SDK = "**/assets/firebase*.js"

RESOURCES = """() => performance.getEntriesByType("resource").map(
  ({ name, initiatorType, encodedBodySize }) => ({ name, initiatorType, encodedBodySize }))"""
FIRST_PAINT = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => {
    if (list.getEntriesByName("first-contentful-paint").length) resolve();
  }).observe({ type: "paint", buffered: true });
})"""
"""Waits for the first paint, which may come a moment after the elements are there."""
SHIFT = """() => new Promise((resolve) => {
  let total = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) total += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => resolve(total))));
})"""


@pytest.fixture
def storefront(page: Page, shop: Stack) -> Storefront:
    """The storefront in a tab of a new browser."""
    return Storefront(page, shop)


def test_the_scripts_are_small(storefront: Storefront, shop: Stack) -> None:
    """All scripts that a purchase needs have less than 150 KB, compressed. Everything comes from Hosting."""
    storefront.log_in(MAYA)
    storefront.open("/checkout")
    storefront.open("/")
    expect(storefront.page.get_by_role("list", name="Products").get_by_role("listitem").first).to_be_visible()
    resources = storefront.page.evaluate(RESOURCES)
    scripts = {entry["name"]: entry["encodedBodySize"] for entry in resources if entry["name"].endswith(".js")}
    assert len(scripts) >= 2
    assert 0 < sum(scripts.values()) < MAX_SCRIPT_BYTES, scripts
    assert all(name.startswith(shop.url("hosting")) for name in scripts)
    files = [entry["name"] for entry in resources if entry["initiatorType"] not in ("fetch", "xmlhttprequest")]
    assert all(name.startswith(shop.url("hosting")) for name in files), files


def test_the_first_paint_does_not_wait_for_the_sdk(
    storefront: Storefront, context: BrowserContext, shop: Stack
) -> None:
    """While Firebase's SDK is still being loaded, a visitor sees the first page, and a customer sees the shop."""
    held: list[Route] = []
    storefront.page.route(SDK, lambda route: held.append(route))
    storefront.open()
    expect(storefront.page.get_by_role("heading", level=1)).to_be_visible()
    expect(storefront.link("Create an account")).to_be_visible()
    storefront.page.evaluate(FIRST_PAINT)
    while not held:
        storefront.page.wait_for_timeout(20)
    held[0].continue_()
    storefront.page.unroute(SDK)

    storefront.log_in(MAYA)
    held.clear()
    again = Storefront(context.new_page(), shop)
    again.page.route(SDK, lambda route: held.append(route))
    again.open()
    expect(again.heading("Shop")).to_be_visible()
    again.page.evaluate(FIRST_PAINT)
    again.look("shop-loading")
    while not held:
        again.page.wait_for_timeout(20)
    held[0].continue_()
    expect(again.page.get_by_role("list", name="Products").get_by_role("listitem").first).to_be_visible()


@pytest.mark.parametrize("path", ["/", "/orders", "/profile", "/basket"])
def test_the_layout_does_not_jump(storefront: Storefront, path: str) -> None:
    """What appears takes the place that was kept for it."""
    storefront.log_in(MAYA)
    storefront.put_into_basket()
    storefront.open(path)
    storefront.page.wait_for_load_state("networkidle")
    assert storefront.page.evaluate(SHIFT) < MAX_SHIFT
