"""What all pages of the lab share: the parts of a running shop that they use, their names, and their templates."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.templating import Jinja2Templates

from emulator.lab.answers import Answers
from emulator.lab.journal import Journal
from emulator.lab.tally import Tally
from emulator.lab.wiretap import Wiretap
from emulator.run.processes import Supervisor
from emulator.run.stack import LOGS, Stack

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """A page of the navigation: its path, and the title that its link has."""

    path: str
    title: str


class Lab:
    """A running shop, as the pages of the lab see it.

    Routes use `supervisor.in_main_thread` to start and end processes: they run in a thread of the lab's server.
    """

    def __init__(
        self,
        stack: Stack,
        supervisor: Supervisor,
        wiretap: Wiretap | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`wiretap` is what Billing calls Product through, if the stack has one.

        `clock` returns seconds since the epoch.
        """
        self.wiretap = wiretap
        self.stack = stack
        self.supervisor = supervisor
        self.answers = Answers()
        self.tally = Tally(self.answers, clock=clock)
        observers = (self.answers.observe, self.tally.observe)
        self.journal = Journal({name: stack.log(name) for name in LOGS}, observers, clock=clock)
        self.navigation: list[Page] = []
        self._templates = Jinja2Templates(
            env=Environment(loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined)
        )

    def render(
        self, request: Request, page: Page, template: str, context: Mapping[str, Any], status: int = 200
    ) -> HTMLResponse:
        """Return a page. Its template extends base.html, and gets `context`, `page` and `navigation`."""
        everything = {**context, "page": page, "navigation": self.navigation}
        return self._templates.TemplateResponse(request, template, everything, status_code=status)

    def fragment(self, template: str, macro: str, *arguments: object) -> str:
        """Return what a macro of a template makes of the arguments: a part of a page that is sent to its script."""
        module = self._templates.get_template(template).module
        return str(getattr(module, macro)(*arguments))

    async def ticks(self, every_seconds: float) -> AsyncGenerator[None, None]:
        """Iterate once in so many seconds, until the lab ends. For streams of events that are not the journal's."""
        loop = asyncio.get_running_loop()
        with self.journal.subscribe() as subscription:
            while True:
                yield
                due = loop.time() + every_seconds
                while (left := due - loop.time()) > 0:
                    if await subscription.next(left) is None:
                        return
