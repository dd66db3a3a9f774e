"""The page Faults: what breaks at the push of a button, what customers notice, and how long until it heals."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from emulator.lab.load import Load, LoadFailed, Sale, notices, running_load
from emulator.lab.outages import FaultRefused, Outages, ShopFaults
from emulator.lab.pages import Lab, Page
from emulator.lab.strip import draw

PAGE = Page("/faults", "Faults")
EVERY_SECONDS = 0.5
"""How often the page is brought up to date, in seconds."""
SHOWN_NOTICES = 6


class _Bench:
    """The load and the faults of one lab."""

    def __init__(self, lab: Lab, load: Load) -> None:
        self.shop = ShopFaults(lab.stack, lab.supervisor)
        self.outages = Outages(self.shop.all())
        self.load = load

    def news(self, lab: Lab) -> dict[str, Any]:
        """Return what the page shows, for its script: the state of the buttons, and what is drawn, as HTML."""
        now, sales, spans = time.time(), self.load.sales(), self.outages.spans()
        told = notices(spans, sales)[::-1][:SHOWN_NOTICES]
        return {
            "running": self.load.is_running,
            "waiting": self.load.waiting,
            "faults": {
                status.fault.id: {
                    "state": status.state,
                    "error": status.error,
                    "left": None if status.ends_by is None else max(0, round(status.ends_by - now)),
                }
                for status in self.outages.statuses()
            },
            "numbers": _numbers(sales, now),
            "strip": lab.fragment("faults_parts.html", "strip", draw(sales, spans, now)),
            "notices": lab.fragment("faults_parts.html", "notices", told),
        }


def _numbers(sales: list[Sale], now: float) -> dict[str, Any]:
    """Return the bills and the failures of the last minute, and the median and the slowest answer, in ms."""
    last = [sale for sale in sales if sale.ended > now - 60]
    times = sorted(sale.seconds * 1000 for sale in last)
    return {
        "bills": sum(sale.is_good for sale in last),
        "failed": sum(not sale.is_good for sale in last),
        "median": round(times[len(times) // 2]) if times else None,
        "slowest": round(times[-1]) if times else None,
    }


def router(lab: Lab) -> APIRouter:
    """Return the routes of this page."""
    held: dict[str, _Bench] = {}

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with running_load(lab.stack) as load:
            bench = held["bench"] = _Bench(lab, load)
            yield
            bench.outages.close()
            bench.shop.close()

    routes = APIRouter(lifespan=lifespan)

    @routes.get(PAGE.path, response_class=HTMLResponse)
    def page(request: Request) -> HTMLResponse:
        bench = held["bench"]
        context = {"statuses": bench.outages.statuses(), "news": bench.news(lab), "redis": lab.stack.redis}
        return lab.render(request, PAGE, "faults.html", context)

    @routes.post(f"{PAGE.path}/load/{{action}}")
    async def change_load(action: str) -> Response:
        load = held["bench"].load
        try:
            match action:
                case "start":
                    await run_in_threadpool(load.start)
                case "stop":
                    await run_in_threadpool(load.stop)
                case _:
                    raise HTTPException(404)
        except LoadFailed as error:
            return JSONResponse({"error": str(error)}, 502)
        return Response(status_code=204)

    @routes.post(f"{PAGE.path}/{{fault}}/{{action}}")
    def change_fault(fault: str, action: str) -> Response:
        outages = held["bench"].outages
        if fault not in outages.faults or action not in ("begin", "end"):
            raise HTTPException(404)
        try:
            (outages.begin if action == "begin" else outages.end)(fault)
        except FaultRefused as error:
            return JSONResponse({"error": str(error)}, 409)
        return Response(status_code=204)

    @routes.get(f"{PAGE.path}/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[ServerSentEvent]:
        last = None
        async with aclosing(lab.ticks(EVERY_SECONDS)) as ticks:
            async for _ in ticks:
                news = await run_in_threadpool(held["bench"].news, lab)
                if news != last:
                    last = news
                    yield ServerSentEvent(event="news", data=news)

    return routes
