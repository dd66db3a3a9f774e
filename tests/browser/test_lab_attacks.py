"""The lab's page Attacks: every attack can be sent, and "Run all" shows all of them refused."""

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from emulator.attacks.table import ATTACKS, GROUPS
from emulator.lab.board import EVERYTHING
from emulator.run.stack import Stack
from tests.browser.checks import axe, screenshot
from tests.waiting import WAIT_SECONDS

REFUSED = sum(attack.must_be_refused for attack in EVERYTHING)
HARMLESS = len(EVERYTHING) - REFUSED
RUN_MS = 150_000
"""How long a run may take, in milliseconds, on a busy machine. On a quiet one it takes a few seconds."""


@pytest.fixture
def attacks(page: Page, shop: Stack) -> Page:
    """The page, before anything was chosen on it."""
    page.goto(f"{shop.url('lab')}/attacks")
    return page


def choose(page: Page, attack: str) -> None:
    """Push the button of an attack, and wait for its outcome."""
    button = page.locator(f'[data-attack="{attack}"]')
    name = button.locator("span").first.inner_text()
    button.click()
    expect(page.locator("#panel h2")).to_have_text(name)


def test_run_all_shows_every_attack_refused(attacks: Page) -> None:
    """N of N are refused, each by a check, and the calls without a flaw are accepted at both ends."""
    attacks.get_by_role("button", name="Run all").click()
    expect(attacks.locator("#run")).to_have_text("Running …")
    expect(attacks.locator("#run")).to_have_text("Run all", timeout=RUN_MS)
    expect(attacks.locator("#score")).to_have_text(f"{REFUSED} of {REFUSED} refused", timeout=RUN_MS)
    expect(attacks.locator("#kept")).to_contain_text(f"{HARMLESS} of {HARMLESS} calls without a flaw accepted")
    expect(attacks.locator("#run")).to_be_enabled(timeout=RUN_MS)
    expect(attacks.locator("#run-failure")).to_be_empty()
    by_check = [int(count) for count in attacks.locator(".ladder [data-count]").all_inner_texts()]
    assert sum(by_check) == REFUSED
    assert all(by_check), "each check refuses something"
    assert attacks.locator("[data-verdict].good").count() == len(EVERYTHING)
    attacks.get_by_text(GROUPS["proofs"]).click()
    choose(attacks, "calls-1")
    axe(attacks)
    screenshot(attacks, "lab-attacks-run")
    attacks.reload()
    expect(attacks.locator("#score")).to_have_text(f"{REFUSED} of {REFUSED} refused")


@pytest.mark.parametrize("attack", ATTACKS[:: len(ATTACKS) // 6], ids=lambda attack: attack.id)
def test_an_attack_shows_what_was_sent_and_which_check_refused_it(attacks: Page, attack: object) -> None:
    """The request, the answer and the checks in their order, for attacks of all kinds."""
    row = next(one for one in ATTACKS if one is attack)
    attacks.locator(f'[data-group="{row.group}"]').evaluate("group => { group.open = true }")
    choose(attacks, row.id)
    panel = attacks.locator("#panel")
    if row.must_be_refused:
        expect(panel.locator(".checks .refused")).to_have_count(1)
        expect(panel.locator(".badge")).to_have_text("✓ refused")
    expect(panel.get_by_role("region", name="The request")).to_contain_text("HTTP/1.1")
    expect(panel.get_by_role("region", name="The answer")).to_contain_text("HTTP/1.1")


def test_a_replay_shows_its_tokens_decoded_and_never_whole(attacks: Page) -> None:
    """The claims can be read. No text on the page could be used as a token."""
    choose(attacks, "calls-3")
    panel = attacks.locator("#panel")
    expect(panel).to_be_focused()
    for summary in panel.locator("details summary").all():
        summary.click()
    expect(panel).to_contain_text('"aud": "product"')
    expect(panel).to_contain_text('"typ": "dpop+jwt"')
    expect(panel).to_contain_text("characters, not shown")
    expect(panel).to_contain_text("Before it, the same call was sent once, and it was accepted.")
    assert re.search(r"[A-Za-z0-9_-]{60,}", panel.inner_text()) is None
    axe(attacks)
    screenshot(attacks, "lab-attacks-replay")


def test_attacks_are_found_by_their_words(attacks: Page) -> None:
    """All groups with a match open. The others disappear."""
    find = attacks.get_by_label("Find an attack")
    find.fill("another method")
    expect(attacks.locator(".attack:visible")).to_have_text([re.compile("method")] * 2)
    find.fill("no such attack")
    expect(attacks.get_by_text("No attack has these words")).to_be_visible()
    find.fill("")
    expect(attacks.locator("details.group:visible")).to_have_count(len(GROUPS) + 1)


def test_an_unknown_attack_is_not_found(shop: Stack) -> None:
    """And no page outside of the lab can send one."""
    url = f"{shop.url('lab')}/attacks/try"
    assert httpx.post(f"{url}/nothing", headers={"Origin": shop.url("lab")}, timeout=WAIT_SECONDS).status_code == 404
    assert httpx.post(f"{url}/calls-1", timeout=WAIT_SECONDS).status_code == 403
    assert (
        httpx.post(f"{url}/calls-1", headers={"Origin": "https://evil.example"}, timeout=WAIT_SECONDS).status_code
        == 403
    )
    assert (
        httpx.post(
            f"{shop.url('lab')}/attacks/run", headers={"Origin": "http://127.0.0.1:1"}, timeout=WAIT_SECONDS
        ).status_code
        == 403
    )
