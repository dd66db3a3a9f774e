"""The storefront's page load in Chromium: of a customer who has logged in before, with an empty cache."""

from collections.abc import Iterator

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from bench.results import Measurement, Plan
from emulator.run.logins import MAYA
from emulator.run.stack import Stack
from tests.browser import chromium
from tests.browser.storefront import Storefront

CASE = "the storefront's page of products"
FIRST_PAINT = "first paint"
PRODUCTS_SHOWN = "products shown"
TRANSFERRED = "transferred"
LOADS = 5
TIMEOUT_MS = 15_000
MILLISECONDS, KILOBYTES = "ms", "kB"

_PAINT = """() => new Promise((resolve) => {
  new PerformanceObserver((list) => {
    const [entry] = list.getEntriesByName("first-contentful-paint");
    if (entry) resolve(entry.startTime);
  }).observe({ type: "paint", buffered: true });
})"""
"""The time of the first paint, in milliseconds since the navigation began."""
_SHOWN = """() => document.querySelector('[aria-label="Products"] li') ? performance.now() : null"""
"""The same of the first product in the list. null until the list has one."""


def measure_page(shop: Stack, plan: Plan) -> Iterator[Measurement]:
    """Load the page several times, and yield how long it took, and what came over the network."""
    program = chromium.find_chromium()
    if program is None:
        plan.leave_out(f"the storefront's page load: {chromium.MISSING}")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=chromium.options())
        try:
            loads = _loads(browser, shop)
        finally:
            browser.close()
    paints, shown, transferred = zip(*loads, strict=True)
    yield Measurement(CASE, FIRST_PAINT, MILLISECONDS, list(paints))
    yield Measurement(CASE, PRODUCTS_SHOWN, MILLISECONDS, list(shown))
    yield Measurement(CASE, TRANSFERRED, KILOBYTES, list(transferred))


def _loads(browser: Browser, shop: Stack) -> list[tuple[float, float, float]]:
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    first = context.new_page()
    Storefront(first, shop).log_in(MAYA)
    first.close()
    return [_load(context.new_page(), shop) for _ in range(LOADS)]


def _load(page: Page, shop: Stack) -> tuple[float, float, float]:
    """Return when the first paint was and when the first product was there (ms), and the size of all answers (kB)."""
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    network.send("Network.clearBrowserCache")
    received = _count_bytes(network)
    Storefront(page, shop).open("/")
    shown = page.wait_for_function(_SHOWN, polling="raf").json_value()
    paint = page.evaluate(_PAINT)
    page.wait_for_load_state("networkidle")
    page.close()
    return float(paint), float(shown), sum(received) / 1000


def _count_bytes(network: CDPSession) -> list[float]:
    """Return a list that gets the size of each answer, as it came over the network (with its head, compressed)."""
    received: list[float] = []
    network.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    return received
