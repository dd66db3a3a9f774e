"""What `make run` serves, as a browser sees it"""

from playwright.sync_api import Page

from emulator.run.stack import Stack


def test_the_storefront_and_the_lab_open(shop: Stack, page: Page) -> None:
    """The addresses that are printed first open, without an error in the console."""
    for name in ("hosting", "lab"):
        page.goto(shop.url(name))
        assert page.title()
