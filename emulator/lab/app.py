"""The app of the lab: the pages, their static files, and the design system that they share with the storefront."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.staticfiles import StaticFiles

from emulator.lab import attacks, calls, charts, faults, leaks
from emulator.lab.pages import FOLDER, Lab, Page
from emulator.lab.security import LocalPagesOnly, check_emulator
from emulator.run.stack import ROOT

DESIGN = ROOT / "web" / "src" / "design"
"""The style sheets tokens.css and base.css, which the storefront uses too."""


def create_lab(lab: Lab, environment: Mapping[str, str] = os.environ) -> FastAPI:
    """Return the app that serves all pages. Raises LabRefused if the shop does not run on emulators.

    `environment` are the variables of this process.
    """
    check_emulator(lab.stack, environment)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with lab.journal:
            yield

    app = FastAPI(title="The lab of mstoken", openapi_url=None, lifespan=lifespan)
    # In the order of the navigation.
    pages: list[tuple[Page, APIRouter]] = [
        (calls.PAGE, calls.router(lab)),
        (attacks.PAGE, attacks.router(lab)),
        (leaks.PAGE, leaks.router(lab)),
        (faults.PAGE, faults.router(lab)),
        (charts.PAGE, charts.router(lab)),
    ]
    for page, router in pages:
        lab.navigation.append(page)
        app.include_router(router)
    app.add_api_route("/calls", lambda: RedirectResponse(calls.PAGE.path))  # What is left of the address of a call.
    app.add_exception_handler(404, _missing(lab))
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    app.mount("/design", StaticFiles(directory=DESIGN, check_dir=False))
    app.add_middleware(LocalPagesOnly, port=lab.stack.ports.lab)
    return app


def _missing(lab: Lab) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Return the answer to a request for something that the lab does not have: a page for people, JSON for scripts."""

    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and "text/html" not in request.headers.get("Accept", ""):
            return await http_exception_handler(request, error)
        return lab.render(request, Page(request.url.path, "Page not found"), "missing.html", {}, status=404)

    return answer
