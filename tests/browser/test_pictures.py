"""The pictures of the README. `make pictures` takes them, and puts them into docs/images."""

import pytest
from playwright.sync_api import Page, expect

from emulator.demo.purchase import buy
from emulator.run.logins import MAYA
from emulator.run.stack import ROOT, Stack
from tests.browser.checks import SCHEMES, SCREENSHOTS, draw
from tests.browser.storefront import Storefront

pytestmark = pytest.mark.slow

IMAGES = ROOT / "docs" / "images"
SIZE = {"width": 1200, "height": 750}
MAX_BYTES = 300_000


def take(page: Page, name: str) -> None:
    """Take a picture of what is in the window, light and dark."""
    for scheme in SCHEMES:
        draw(page, scheme)
        page.screenshot(path=SCREENSHOTS / f"readme-{name}-{scheme}.png", animations="disabled")


def test_the_picture_of_the_storefront(page: Page, shop: Stack) -> None:
    """The README shows the storefront as a customer sees it."""
    page.set_viewport_size(SIZE)  # type: ignore[arg-type] # a dict of numbers
    storefront = Storefront(page, shop)
    storefront.log_in(MAYA)
    expect(page.get_by_role("list", name="Products").get_by_role("listitem").first).to_be_visible()
    take(page, "storefront")


def test_the_picture_of_the_lab(page: Page, shop: Stack) -> None:
    """The README shows the lab with the calls of a purchase."""
    page.set_viewport_size(SIZE)  # type: ignore[arg-type] # a dict of numbers
    page.goto(shop.url("lab"))
    buy(shop)
    expect(page.get_by_text("billing").first).to_be_visible()
    take(page, "lab")


def test_the_readme_shows_pictures_of_a_moderate_size() -> None:
    """Each picture is there, light and dark, and small enough for a repository."""
    readme = (ROOT / "README.md").read_text()
    for name in ("storefront", "lab"):
        for scheme in SCHEMES:
            picture = IMAGES / f"{name}-{scheme}.png"
            assert f"docs/images/{picture.name}" in readme
            assert 0 < picture.stat().st_size < MAX_BYTES
