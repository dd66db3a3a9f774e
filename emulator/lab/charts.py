"""The page Charts: what happened in the last minutes."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from emulator.lab.pages import Lab, Page

PAGE = Page("/charts", "Charts")


def router(lab: Lab) -> APIRouter:
    """Return the routes of this page."""
    routes = APIRouter()

    @routes.get(PAGE.path, response_class=HTMLResponse)
    def page(request: Request) -> HTMLResponse:
        return lab.render(request, PAGE, "charts.html", {})

    return routes
