"""The page "What if it leaks?": what a thief can do with the last request, for five ways to say who is calling."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse

from emulator.lab.pages import Lab, Page
from emulator.lab.shown import show_request
from emulator.lab.thefts import TIMES, WAYS, Loot, TheftFailed, Thefts, steal, summary
from emulator.lab.wiretap import TappedCall

PAGE = Page("/leaks", "What if it leaks?")
SHOWN_CALLS = 8
"""How many calls of the wire the page lists."""


def router(lab: Lab) -> APIRouter:
    """Return the routes of this page."""
    thefts = Thefts(lab.stack)
    loot: dict[int, Loot] = {}

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with thefts.running():
            yield

    routes = APIRouter(lifespan=lifespan)

    def chosen(call: str | None) -> tuple[list[TappedCall], TappedCall | None]:
        """Return the calls to list, and the chosen one: by its id or the id that it spent, or else the last one."""
        if lab.wiretap is None:
            return [], None
        calls = lab.wiretap.calls()[::-1]
        found = None
        if call is not None:
            found = lab.wiretap.find(int(call)) if call.isdecimal() else lab.wiretap.find_spent(call)
        listed = calls[:SHOWN_CALLS]
        if found is not None and found not in listed:
            listed = [*listed, found]
        return listed, found or (calls[0] if calls else None)

    def wire(request: Request, call: str | None, status: int = 200, failure: str | None = None) -> HTMLResponse:
        calls, found = chosen(call)
        context = {
            "tapped": lab.wiretap is not None,
            "calls": calls,
            "chosen": found,
            "shown": show_request(found.request) if found else None,
            "loot": loot.get(found.id) if found else None,
            "summary": summary,
            "times": TIMES,
            "failure": failure,
            "missing": call is not None and (found is None or call not in (str(found.id), found.one_time_id)),
        }
        return lab.render(request, PAGE, "leaks_wire.html", context, status=status)

    def way(request: Request, name: str, status: int = 200, failure: str | None = None) -> HTMLResponse:
        state = thefts.states[name]
        context = {"state": state, "summary": summary, "times": TIMES, "failure": failure}
        return lab.render(request, PAGE, "leaks_way.html", context, status=status)

    @routes.get(PAGE.path, response_class=HTMLResponse)
    def page(request: Request, call: str | None = None) -> HTMLResponse:
        calls, found = chosen(call)
        context = {
            "states": [thefts.states[one.id] for one in WAYS],
            "summary": summary,
            "times": TIMES,
            "failure": None,
            "tapped": lab.wiretap is not None,
            "calls": calls,
            "chosen": found,
            "shown": show_request(found.request) if found else None,
            "loot": loot.get(found.id) if found else None,
            "missing": call is not None and (found is None or call not in (str(found.id), found.one_time_id)),
        }
        return lab.render(request, PAGE, "leaks.html", context)

    @routes.post(f"{PAGE.path}/ways/{{name}}/{{action}}", response_class=HTMLResponse)
    def act(request: Request, name: str, action: str) -> HTMLResponse:
        if name not in thefts.states or action not in ("buy", "steal"):
            raise HTTPException(404)
        try:
            (thefts.buy if action == "buy" else thefts.steal)(name)
        except TheftFailed as error:
            return way(request, name, 502, str(error))
        return way(request, name)

    @routes.get(f"{PAGE.path}/wire", response_class=HTMLResponse)
    def listen(request: Request, call: str | None = None) -> HTMLResponse:
        return wire(request, call)

    @routes.post(f"{PAGE.path}/wire/{{number}}/steal", response_class=HTMLResponse)
    def steal_from_the_wire(request: Request, number: int) -> HTMLResponse:
        found = lab.wiretap.find(number) if lab.wiretap else None
        if lab.wiretap is None or found is None:
            raise HTTPException(404)
        try:
            loot[number] = Loot(found, steal(found.request, lab.wiretap.upstream_port))
        except TheftFailed as error:
            return wire(request, str(number), 502, str(error))
        return wire(request, str(number))

    return routes
