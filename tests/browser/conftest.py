"""A shop and a browser for the tests in this folder. Both start once, and stop when the last of these tests has run."""

import os
from collections.abc import Iterator
from typing import Any, Protocol

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from emulator.run.ports import Ports
from emulator.run.stack import Stack
from tests.browser import chromium
from tests.browser.checks import HEIGHT, WIDTHS
from tests.browser.watch import Watch, catch_up
from tests.running_runner import RunningRunner

OFFSET_VARIABLE = "SHOP_OFFSET"
"""Names the port offset of a shop that runs already, for the tests to use."""
TIMEOUT_MS = 15_000
"""How long Playwright waits for what a test expects, in milliseconds. It returns as soon as it is there."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Break the shop last: it goes on with interrupted orders for a minute, among the calls of other tests."""
    items.sort(key=lambda item: item.path.name == "test_lab_faults.py")


class NewContext(Protocol):
    """Opens a browser context: its own cookies and storage, as another user's browser has."""

    def __call__(self, **options: Any) -> BrowserContext:
        """Return the context. `options` are those of Playwright's `Browser.new_context`."""
        ...


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium without a window. Playwright's event loop runs meanwhile, so no test of this folder may be async."""
    program = chromium.find_chromium()
    if program is None:
        pytest.skip(chromium.MISSING)
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=chromium.options())
        try:
            yield started
        finally:
            started.close()


@pytest.fixture(scope="package")
def shop(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """What `make run` starts, on free ports: the emulators, the services, the storefront and the lab.

    All tests share it, so each test uses customers and products of its own. What a test breaks, it repairs. While you
    work on a page, start the shop once, and name its port offset: SHOP_OFFSET=1000 pytest tests/browser

    It depends on the browser, so that it does not start without one.
    """
    if OFFSET_VARIABLE in os.environ:
        yield Stack(Ports.shifted(int(os.environ[OFFSET_VARIABLE])), tmp_path_factory.mktemp("unused"))
        return
    runner = RunningRunner(tmp_path_factory.mktemp("shop"), "run")
    try:
        runner.read_until("Everything is up")
        yield runner.stack
        runner.interrupt()
        assert runner.end() == 0, runner.output
    finally:
        runner.kill()


@pytest.fixture
def watch() -> Iterator[Watch]:
    """What watches all pages of the test. The test fails at its end if something went wrong that it did not allow."""
    watch = Watch()
    yield watch
    assert watch.problems == [], "Errors in the browser's console"


@pytest.fixture
def new_context(browser: Browser, watch: Watch) -> Iterator[NewContext]:
    """Opens browser contexts, for several users or another size. They are 1440 pixels wide, with light colours."""
    opened: list[BrowserContext] = []

    def open_context(**options: Any) -> BrowserContext:
        defaults = {
            "viewport": {"width": WIDTHS[1], "height": HEIGHT},
            "color_scheme": "light",
            "reduced_motion": "reduce",
            "locale": "en-US",
            "timezone_id": "UTC",
        }
        context = browser.new_context(**{**defaults, **options})
        context.set_default_timeout(TIMEOUT_MS)
        watch.watch(context)
        opened.append(context)
        return context

    yield open_context
    for context in opened:
        catch_up(context)
        context.close()


@pytest.fixture
def context(new_context: NewContext) -> BrowserContext:
    """The context of `page`, for more tabs."""
    return new_context()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A new tab, 1440 pixels wide, with light colours."""
    return context.new_page()
