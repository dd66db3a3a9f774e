"""The page Calls: the calls between services, as they happen."""

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from emulator.lab.pages import Lab, Page

PAGE = Page("/", "Calls")


def router(lab: Lab) -> APIRouter:
    """Return the routes of this page."""
    routes = APIRouter()

    @routes.get(PAGE.path, response_class=HTMLResponse)
    def page(request: Request) -> HTMLResponse:
        return lab.render(request, PAGE, "calls.html", {})

    return routes
