"""The page Charts: calls, verdicts, verification times, sign-ins and tokens in stock over the last minutes."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from emulator.lab.pages import Lab, Page
from emulator.lab.picture import duration_text, name_of
from emulator.lab.plots import BROAD, CANVASES, Chart, Plot, Series, plot
from emulator.lab.tally import ACCEPTED, KEPT_SECONDS, Histogram, Moment
from emulator.run.stack import SERVICES
from mstoken.caller.fresh import USABLE_SECONDS

PAGE = Page("/charts", "Charts")
STEP_SECONDS = 3
STEPS = KEPT_SECONDS // STEP_SECONDS
MINUTES = KEPT_SECONDS // 60
UPDATE_SECONDS = 1.0
"""How often the page looks for a span that is over."""
FIRST = "calls"
"""The chart that has the whole width of the page."""
MOST_CODES = 4
"""How many codes of refusals have a colour of their own. The others share one."""


def router(lab: Lab) -> APIRouter:
    """Return the routes of this page."""
    routes = APIRouter()

    @routes.get(PAGE.path, response_class=HTMLResponse)
    def page(request: Request) -> HTMLResponse:
        charts, begins = charts_of(lab)
        context = {
            "charts": [(chart, _plots(chart)) for chart in charts],
            "times": _times(begins),
            "step_seconds": STEP_SECONDS,
            "minutes": MINUTES,
        }
        return lab.render(request, PAGE, "charts.html", context)

    @routes.get("/charts/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[ServerSentEvent]:
        shown = 0
        with lab.journal.subscribe() as subscription:
            async for _ in subscription.every(UPDATE_SECONDS):
                charts, begins = charts_of(lab)
                if begins != shown:
                    shown = begins
                    yield ServerSentEvent(event="charts", data=update(lab, charts, begins))

    return routes


def charts_of(lab: Lab) -> tuple[list[Chart], int]:
    """Return the charts, and when their first span begins, in seconds since the epoch."""
    # The last span is not over, so its numbers would be too low.
    moments = lab.tally.steps(STEP_SECONDS, STEPS + 1)[:-1]
    begins = lab.tally.first_second(STEP_SECONDS, STEPS + 1)
    return [
        _calls(moments),
        _verdicts(moments),
        _verification(moments),
        _sign_ins(moments),
        _stock(moments, mode=lab.stack.mode),
    ], begins


def _calls(moments: Sequence[Moment]) -> Chart:
    callees = {*SERVICES, *(callee for moment in moments for callee, _ in moment.verdicts)}
    series = []
    for number, callee in enumerate(sorted(callees, key=_order)):
        values = [
            sum(count for (where, _), count in moment.verdicts.items() if where == callee) / STEP_SECONDS
            for moment in moments
        ]
        series.append(Series(name_of(callee), f"series-{number % 6 + 1}", values, rate(values[-1])))
    return Chart(
        id=FIRST,
        title="Calls a second",
        explanation="Verified calls, by the service that was called.",
        kind="lines",
        series=series,
        text=short,
        empty="No calls in the last five minutes.",
    )


def _verdicts(moments: Sequence[Moment]) -> Chart:
    per_moment = [Counter[str]() for _ in moments]
    for moment, verdicts in zip(moments, per_moment, strict=True):
        for (_, verdict), count in moment.verdicts.items():
            verdicts[verdict] += count
    totals = sum(per_moment, Counter[str]())
    codes = [code for code, _ in totals.most_common() if code != ACCEPTED]
    shown, others = codes[:MOST_CODES], codes[MOST_CODES:]
    series = [
        Series("accepted", "good", [verdicts[ACCEPTED] for verdicts in per_moment], f"{totals[ACCEPTED]:,} in all")
    ]
    for number, code in enumerate(shown):
        style = ("bad", "series-3", "series-4", "series-2")[number]
        series.append(Series(code, style, [verdicts[code] for verdicts in per_moment], f"{totals[code]:,} in all"))
    if others:
        values = [sum(verdicts[code] for code in others) for verdicts in per_moment]
        series.append(Series("other codes", "series-6", values, f"{sum(values):,} in all"))
    return Chart(
        id="verdicts",
        title="Verdicts",
        explanation=f"Calls in each {STEP_SECONDS} s: accepted, or refused with a code.",
        kind="bars",
        series=series,
        text=short,
        empty="No calls in the last five minutes.",
    )


def _verification(moments: Sequence[Moment]) -> Chart:
    merged = []
    for moment in moments:
        times = Histogram()
        for histogram in moment.verification.values():
            times.merge(histogram)
        merged.append(times)
    series = []
    for name, share, style in (("median", 0.5, "series-1"), ("95th percentile", 0.95, "series-3")):
        values = [times.quantile(share) for times in merged]
        latest = next((value for value in reversed(values) if value is not None), None)
        series.append(Series(name, style, values, "" if latest is None else duration_text(latest)))
    return Chart(
        id="verification",
        title="Verification time",
        explanation="From the first check to the spending of the id, without the work of the route.",
        kind="lines",
        series=series,
        text=duration_text,
        empty="Nothing was verified in the last five minutes.",
    )


def _sign_ins(moments: Sequence[Moment]) -> Chart:
    pairs = sorted({pair for moment in moments for pair in moment.sign_ins})
    series = []
    for number, pair in enumerate(pairs):
        values = [moment.sign_ins[pair] / STEP_SECONDS for moment in moments]
        series.append(Series(_pair(pair), f"series-{number % 6 + 1}", values, rate(values[-1])))
    return Chart(
        id="sign-ins",
        title="Sign-ins a second",
        explanation="Service identities that sign in at Firebase, by caller and audience.",
        kind="lines",
        series=series,
        text=short,
        empty="No sign-ins in the last five minutes.",
    )


def _stock(moments: Sequence[Moment], *, mode: str) -> Chart:
    pairs = sorted({pair for moment in moments for pair in moment.stock})
    series = []
    for number, pair in enumerate(pairs):
        values = _carried([moment.stock.get(pair) for moment in moments])
        latest = values[-1]
        series.append(Series(_pair(pair), f"series-{number % 6 + 1}", values, "" if latest is None else short(latest)))
    if mode == "proof":
        empty = "In proof mode there is no stock: each process uses one token for an hour."
    else:
        empty = "No fresh tokens in stock. A caller that calls rarely keeps none."
    return Chart(
        id="stock",
        title="Tokens in stock",
        explanation=f"Fresh tokens that one process has ahead of need. It uses a token within {USABLE_SECONDS:.0f} s.",
        kind="lines",
        series=series,
        text=short,
        empty=empty,
    )


def _carried(values: Sequence[float | None]) -> list[float | None]:
    """Return the values with gaps filled: a sign-in tells the stock, which is empty if none follows for long enough."""
    carried: list[float | None] = []
    latest: float | None = None
    age_seconds = 0.0
    for value in values:
        if value is not None:
            latest, age_seconds = value, 0.0
        elif latest is not None:
            age_seconds += STEP_SECONDS
            if age_seconds > USABLE_SECONDS:
                latest = 0.0
        carried.append(latest)
    return carried


def _pair(pair: tuple[str, str]) -> str:
    return f"{name_of(pair[0])} → {name_of(pair[1])}"


def _order(callee: str) -> tuple[bool, str]:
    """Services first, in the order of their names."""
    return callee not in SERVICES, callee


def rate(value: float | None) -> str:
    """Return a rate in words."""
    return f"{short(value or 0)}/s"


def short(value: float) -> str:
    """Return a number in at most four digits or so: "0", "0.33", "2.5", "1,200"."""
    if value == round(value):
        return f"{value:,.0f}"
    return f"{value:.2f}".rstrip("0") if value < 1 else f"{value:,.1f}"


def _plots(chart: Chart) -> list[Plot]:
    canvases = (BROAD, *CANVASES) if chart.id == FIRST else CANVASES
    return [plot(chart, canvas, minutes=MINUTES) for canvas in canvases]


def _times(begins: int) -> list[str]:
    """Return the time of the day at which each span begins."""
    return [datetime.fromtimestamp(begins + index * STEP_SECONDS).strftime("%H:%M:%S") for index in range(STEPS)]


def update(lab: Lab, charts: Sequence[Chart], begins: int) -> list[dict[str, Any]]:
    """Return the parts of the page that change: for each chart its figure, and the rows of its table."""
    times = _times(begins)
    return [
        {
            "id": chart.id,
            "figure": lab.fragment("chart.html", "figure", chart, _plots(chart)),
            "table": lab.fragment("chart.html", "table", chart, times),
        }
        for chart in charts
    ]
