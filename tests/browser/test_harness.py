"""The tools of the tests in this folder notice what they must notice."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from tests.browser.checks import SCHEMES, WIDTHS, axe, axe_findings, screenshot
from tests.browser.chromium import find_chromium
from tests.browser.watch import VIOLATION, Watch, catch_up

URL = "http://page.test/"
GOOD = '<!doctype html><html lang="en"><title>Good</title><main><h1>Good</h1></main></html>'


def show(page: Page, html: str, policy: str = "default-src 'self' 'unsafe-inline'") -> None:
    """Open a page with this content and this Content-Security-Policy."""

    def answer(route: Route) -> None:
        is_page = route.request.url == URL
        headers = {"Content-Type": "text/html", "Content-Security-Policy": policy}
        route.fulfill(status=200 if is_page else 404, body=html if is_page else "", headers=headers)

    page.route("**/*", answer)
    page.goto(URL)
    catch_up(page.context)


@pytest.mark.parametrize(
    ("html", "problem"),
    [
        ("<script>console.error('a broken page')</script>", "a broken page"),
        ("<script>throw new Error('a defect')</script>", "a defect"),
        ("<script>Promise.reject(new Error('forgotten'))</script>", "forgotten"),
        ("<img src='/missing.png'>", "404"),
    ],
    ids=["console.error", "exception", "rejected promise", "missing file"],
)
def test_an_error_in_a_page_is_noticed(page: Page, watch: Watch, html: str, problem: str) -> None:
    """Errors in the console, uncaught exceptions and files that are missing fail a test that does not allow them."""
    show(page, html)
    assert any(problem in found for found in watch.problems)
    watch.allow("")


def test_a_violation_of_the_policy_is_noticed(page: Page, watch: Watch) -> None:
    """What the Content-Security-Policy blocks fails a test, with the name of the directive."""
    show(page, "<body><script>document.title = 'I ran'</script>", policy="default-src 'none'")
    assert page.title() == ""
    assert any(f"{VIOLATION}: script-src-elem blocks inline" in found for found in watch.problems)
    watch.allow("")


def test_only_what_is_allowed_is_ignored(page: Page, watch: Watch) -> None:
    """A test that provokes an error allows this error, and no other one."""
    show(page, "<script>console.error('expected'); console.error('surprising')</script>")
    watch.allow("^expected")
    assert [problem.partition(" ")[0] for problem in watch.problems] == ["surprising"]
    watch.allow("^surprising")


def test_axe_finds_a_picture_without_a_text(page: Page) -> None:
    """The finding names the rule and the element. The Content-Security-Policy of the page does not stop axe."""
    show(page, GOOD.replace("<h1>", '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><h1>'), "img-src data:")
    [finding] = axe_findings(page)
    assert finding.startswith("image-alt: ")
    assert "<img src=" in finding
    with pytest.raises(AssertionError, match="image-alt"):
        axe(page)


def test_axe_looks_at_dark_colours_too(page: Page) -> None:
    """A text that is hard to read with dark colours only is found."""
    css = "@media (prefers-color-scheme: dark) { body { background: #000 } h1 { color: #333 } }"
    show(page, GOOD.replace("<main>", f"<style>{css}</style><main>"))
    assert axe_findings(page) == []
    with pytest.raises(AssertionError, match=r"dark:\ncolor-contrast"):
        axe(page)


def test_screenshots_show_both_widths_and_schemes(page: Page, tmp_path: Path) -> None:
    """A page is photographed on a phone and on a large screen, light and dark. Afterwards it is as it was."""
    show(page, GOOD)
    screenshot(page, "good", tmp_path)
    names = {f"good-{width}-{scheme}.png" for width in WIDTHS for scheme in SCHEMES}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert page.viewport_size == {"width": WIDTHS[1], "height": 900}


def test_chromium_is_found_in_the_path_or_in_a_usual_place(tmp_path: Path) -> None:
    """PATH comes first, then the usual places. Without the program the tests are skipped."""
    place = tmp_path / "chrome"
    place.write_text("#!/bin/sh\n")
    assert find_chromium(path="", places=(str(place),)) is None
    place.chmod(0o755)
    assert find_chromium(path="", places=(str(place),)) == str(place)
    assert find_chromium(path=str(tmp_path), places=()) == str(place)
