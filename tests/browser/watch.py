"""Notices what goes wrong in a page without a test looking for it."""

import re

from playwright.sync_api import BrowserContext, ConsoleMessage, WebError

VIOLATION = "Content-Security-Policy violation"
_REPORT_VIOLATIONS = f"""document.addEventListener("securitypolicyviolation", (event) => {{
  console.error("{VIOLATION}: " + event.effectiveDirective + " blocks " + event.blockedURI);
}});"""


class Watch:
    """Collects errors in the pages of contexts: console errors, uncaught exceptions and violations of the CSP.

    A request that is answered with an error, or not at all, is a console error too. A test that provokes one calls
    `allow`.
    """

    def __init__(self) -> None:
        self._problems: list[str] = []
        self._allowed: list[re.Pattern[str]] = []

    def watch(self, context: BrowserContext) -> None:
        """Watch the pages that are opened in a context from now on."""
        context.add_init_script(_REPORT_VIOLATIONS)
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)

    def allow(self, pattern: str) -> None:
        """Ignore the problems whose text contains the regular expression `pattern`, earlier ones as well."""
        self._allowed.append(re.compile(pattern))

    @property
    def problems(self) -> list[str]:
        """What went wrong so far, without what is allowed."""
        return [problem for problem in self._problems if not any(known.search(problem) for known in self._allowed)]

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._problems.append(f"{message.text} ({message.location['url']})")

    def _on_error(self, error: WebError) -> None:
        self._problems.append(f"uncaught: {error.error}")


def catch_up(context: BrowserContext) -> None:
    """Wait for the messages that the open pages of a context have sent so far."""
    for page in context.pages:
        page.evaluate("0")
