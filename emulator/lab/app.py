"""The app of the lab: the pages, their static files, and the design system that they share with the storefront."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
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
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    app.mount("/design", StaticFiles(directory=DESIGN, check_dir=False))
    app.add_middleware(LocalPagesOnly, port=lab.stack.ports.lab)
    return app
