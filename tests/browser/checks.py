"""What every page is checked for: accessibility with axe, and its looks with screenshots for a person to look at."""

from functools import cache
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page

from emulator.run.stack import ROOT

SCREENSHOTS = ROOT / ".data" / "screenshots"
WIDTHS = (360, 1440)
"""A small phone and a large screen, in CSS pixels."""
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
HEIGHT = 900

_AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
_RUN_AXE = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations.map(
  ({ id, help, nodes }) => `${id}: ${help}: ` + nodes.slice(0, 3).map(({ html, failureSummary }) =>
    `${html.slice(0, 200)} [${failureSummary.replace(/\\s+/g, " ")}]`).join("; "))"""
_NEXT_FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""Waits until the browser has drawn the page with the new colours."""


@cache
def _axe_source() -> str:
    return _AXE.read_text()


def axe_findings(page: Page) -> list[str]:
    """Return what axe finds on a page as it is now, a line for each rule that is violated."""
    # Playwright evaluates it as a debugger does, so the page's CSP does not apply. AMD or CommonJS are not looked for.
    page.evaluate(_axe_source())
    findings: list[str] = page.evaluate(_RUN_AXE)
    return findings


def draw(page: Page, scheme: Literal["light", "dark"]) -> None:
    """Draw the page with the colours of a scheme, and wait until that is done."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.evaluate(_NEXT_FRAME)


def axe(page: Page) -> None:
    """Fail if axe finds something on the page, with light or with dark colours."""
    for scheme in SCHEMES:
        draw(page, scheme)
        findings = axe_findings(page)
        assert not findings, f"axe, {page.url}, {scheme}:\n" + "\n".join(findings)
    draw(page, "light")


def screenshot(page: Page, name: str, folder: Path = SCREENSHOTS) -> None:
    """Save pictures of the whole page at both widths, light and dark: `<name>-<width>-<scheme>.png` in `folder`."""
    before = page.viewport_size
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": HEIGHT})
        for scheme in SCHEMES:
            draw(page, scheme)
            page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True, animations="disabled")
    draw(page, "light")
    if before:
        page.set_viewport_size(before)
