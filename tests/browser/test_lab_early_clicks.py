"""What someone does on a page of the lab before its script listens is not lost without a word."""

import pytest
from playwright.sync_api import Page, Route, expect

from emulator.lab.attacks import PAGE as ATTACKS
from emulator.lab.faults import PAGE as FAULTS
from emulator.lab.leaks import PAGE as LEAKS
from emulator.run.stack import Stack

BUTTONS = {ATTACKS.path: "Run all", LEAKS.path: "Call and steal in all five ways", FAULTS.path: "Start buying"}
"""A button of each page that does nothing without its script."""


class HeldScripts:
    """Holds back the scripts of a page until they are let go."""

    def __init__(self, page: Page) -> None:
        """Hold back the scripts that `page` asks for from now on."""
        self._held: list[Route] | None = []
        page.route("**/static/*.js", self._hold)

    def _hold(self, route: Route) -> None:
        if self._held is None:
            route.continue_()
        else:
            self._held.append(route)

    def let_go(self) -> None:
        """Let them come, and those that they import."""
        held, self._held = self._held or [], None
        for route in held:
            route.continue_()


@pytest.mark.parametrize("path", BUTTONS)
def test_a_button_waits_for_its_script(page: Page, shop: Stack, path: str) -> None:
    """While the script is on its way, every button and field of the page is disabled. Then they can be used."""
    scripts = HeldScripts(page)
    page.goto(shop.url("lab") + path, wait_until="commit")
    expect(page.get_by_role("button", name=BUTTONS[path])).to_be_disabled()
    expect(page.locator("main button:enabled, main input:enabled")).to_have_count(0)
    scripts.let_go()
    expect(page.get_by_role("button", name=BUTTONS[path])).to_be_enabled()
    expect(page.locator("main input:disabled")).to_have_count(0)


def test_a_link_from_another_page_leads_to_a_page_that_waits_too(page: Page, shop: Stack) -> None:
    """A click on a link of the navigation does not wait until the next page is loaded. The first push counts there."""
    page.goto(f"{shop.url('lab')}/")
    scripts = HeldScripts(page)
    page.get_by_role("link", name=LEAKS.title).click()
    look = page.locator("#wire").get_by_role("button", name="Look again")
    expect(look).to_be_disabled()
    scripts.let_go()
    with page.expect_response(lambda answer: f"{LEAKS.path}/wire" in answer.url):
        look.click()


def test_a_filter_that_was_chosen_early_counts(page: Page, shop: Stack) -> None:
    """The page Calls filters without its script too, so its fields are never disabled."""
    scripts = HeldScripts(page)
    page.goto(f"{shop.url('lab')}/", wait_until="commit")
    page.get_by_label("Verdict").select_option("refused")
    scripts.let_go()
    expect(page).to_have_url(f"{shop.url('lab')}/?verdict=refused")
    expect(page.get_by_label("Verdict")).to_have_value("refused")
