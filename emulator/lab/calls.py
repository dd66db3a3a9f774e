"""The page Calls: which part of the shop calls which, each call as it happens, and the whole way of one call."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AfterValidator, BaseModel

from emulator.demo.trace import trace_call
from emulator.lab import picture, waterfall
from emulator.lab.pages import Lab, Page
from emulator.lab.tally import ACCEPTED, CUSTOMERS, UNKNOWN, part, source_of
from emulator.run.events import (
    AuditEvent,
    CallEvent,
    Event,
    IdentityTokenEvent,
    RequestEvent,
    SignInEvent,
    of_kind,
    without_tokens,
)
from emulator.run.stack import SERVICES
from mstoken.wire import MODES

PAGE = Page("/", "Calls")
ROWS = 30
"""How many calls the list shows. If more arrive at a time, the oldest of them are not sent."""
PICTURE_SECONDS = 1.0
"""How often the numbers of the picture are sent, in seconds."""
REFUSED = "refused"
"""The value of the filter for all calls that were not accepted."""
CALLERS = {CUSTOMERS: "Customers", "billing": "svc:billing", "deliver": "svc:delivery", UNKNOWN: "Unknown"}


_Choice = Annotated[str, AfterValidator(without_tokens)]
"""What a URL says is shown in the page, so it must not be a token either."""


class Filters(BaseModel):
    """Which calls the list shows. An empty text admits every call."""

    caller: _Choice = ""
    audience: _Choice = ""
    verdict: _Choice = ""
    mode: _Choice = ""

    def admit(self, call: CallEvent) -> bool:
        """Return whether the list shows a call."""
        return (
            (call.verdict != ACCEPTED if self.verdict == REFUSED else self.verdict in {"", call.verdict})
            and self.caller in {"", source_of(call)}
            and self.audience in {"", call.audience}
            and self.mode in {"", call.mode}
        )

    @property
    def query(self) -> str:
        """The query of a URL that has these filters: "?caller=billing", or nothing without filters."""
        chosen = {name: value for name, value in self.model_dump().items() if value}
        return f"?{urlencode(chosen)}" if chosen else ""


def router(lab: Lab) -> APIRouter:
    """Return the routes of this page."""
    routes = APIRouter()

    @routes.get(PAGE.path, response_class=HTMLResponse)
    def page(request: Request, filters: Annotated[Filters, Query()]) -> HTMLResponse:
        calls = lab.journal.kept(CallEvent)
        states = picture.hop_states(lab.tally)
        context = {
            "filters": filters,
            "selected": filters.model_dump(),
            "choices": _choices(calls, filters),
            "rows": [Row.of(call, lab.answers.request_of(call)) for call in _newest(calls, filters)],
            "max_rows": ROWS,
            "states": states,
            "hops": {state.id: state.as_json() for state in states},
            "layouts": [(layout, picture.lines(layout)) for layout in picture.LAYOUTS],
            "parts": picture.PARTS,
            "notes": picture.part_notes(lab.tally),
        }
        return lab.render(request, PAGE, "calls.html", context)

    @routes.get("/calls/events", response_class=EventSourceResponse)
    async def events(filters: Annotated[Filters, Query()]) -> AsyncIterator[ServerSentEvent]:
        with lab.journal.subscribe() as subscription:
            shown: dict[str, Any] = {}
            async for batch in subscription.every(PICTURE_SECONDS):
                for name, data in news(lab, filters, batch):
                    yield ServerSentEvent(event=name, data=data)
                numbers = numbers_of(lab)
                if numbers != shown:
                    shown = numbers
                    yield ServerSentEvent(event="picture", data=numbers)

    @routes.get("/calls/{number}", response_class=HTMLResponse)
    def call(request: Request, number: Annotated[int, Path()]) -> HTMLResponse:
        calls = lab.journal.kept(CallEvent)
        found = next((call for call in calls if call.id == number), None)
        if found is None:
            return lab.render(request, PAGE, "call_missing.html", {}, status=404)
        known: list[Event] = [
            *lab.journal.kept(SignInEvent),
            *lab.journal.kept(IdentityTokenEvent),
            *lab.journal.kept(AuditEvent),
            *lab.journal.kept(RequestEvent),
        ]
        trace = trace_call(found, known)
        context = {
            "call": found,
            "row": Row.of(found, lab.answers.request_of(found)),
            "trace": trace,
            "verify": "" if found.verify_ms is None else picture.duration_text(found.verify_ms),
            "others": [
                Row.of(other, None) for other in calls if other.id != number and _is_same_credential(found, other)
            ],
            "sections": waterfall.sections(trace),
            "was_on_the_wire": _was_on_the_wire(lab, found),
        }
        return lab.render(request, PAGE, "call.html", context)

    return routes


@dataclass(frozen=True)
class Row:
    """A call as the list shows it, in words."""

    id: int
    time: str
    source: str
    caller: str
    audience: str
    mode: str
    age: str
    is_accepted: bool
    code: str
    took: str

    @classmethod
    def of(cls, call: CallEvent, request: RequestEvent | None) -> "Row":
        """Return the row of a call, and of its request if that is answered already."""
        return cls(
            id=call.id,
            time=time_text(call.time),
            source=source_of(call),
            caller=call.caller or "unknown",
            audience=call.audience,
            mode=call.mode,
            age="" if call.age_seconds is None else f"{call.age_seconds:.1f} s",
            is_accepted=call.verdict == ACCEPTED,
            code="" if call.verdict == ACCEPTED else call.verdict,
            took="…" if request is None else picture.duration_text(request.duration_ms),
        )


def _was_on_the_wire(lab: Lab, call: CallEvent) -> bool:
    """Return whether the wiretap has the bytes of a call, so that they can be stolen."""
    return lab.wiretap is not None and call.one_time_id is not None and bool(lab.wiretap.find_spent(call.one_time_id))


def _is_same_credential(call: CallEvent, other: CallEvent) -> bool:
    """Return whether two calls came with the same fresh token or the same proof: at most one can be accepted."""
    if call.mode == "fresh":
        return other.token == call.token
    return call.one_time_id is not None and other.one_time_id == call.one_time_id


def time_text(seconds: float) -> str:
    """Return a time of the day on this machine, with tenths of a second: "17:05:09.1"."""
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S.%f")[:-5]


def _newest(calls: Sequence[CallEvent], filters: Filters) -> list[CallEvent]:
    """Return the calls that the list shows, the newest first."""
    return sorted((call for call in calls if filters.admit(call)), key=lambda call: call.time, reverse=True)[:ROWS]


def news(lab: Lab, filters: Filters, batch: Sequence[Event]) -> list[tuple[str, Any]]:
    """Return what a page must hear about new events: the names and the data of events for its script."""
    found: list[tuple[str, Any]] = []
    calls = of_kind(batch, CallEvent)
    if calls:
        hops = sorted({_hop_id(call) for call in calls})
        refused = sorted({_hop_id(call) for call in calls if call.verdict != ACCEPTED})
        found.append(("hops", {"hops": hops, "refused": refused}))
    admitted = [call for call in calls if filters.admit(call)]
    if admitted:
        rows = [Row.of(call, lab.answers.request_of(call)) for call in _newest(admitted, filters)]
        html = lab.fragment("call_rows.html", "call_rows", rows)
        found.append(("calls", {"html": html, "count": len(admitted)}))
    answers = [
        {"id": call.id, "took": picture.duration_text(request.duration_ms)}
        for request in of_kind(batch, RequestEvent)
        if (call := lab.answers.call_of(request)) is not None and call not in calls
    ]
    if answers:
        found.append(("answers", answers))
    return found


def numbers_of(lab: Lab) -> dict[str, Any]:
    """Return the numbers of the picture, and its table."""
    states = picture.hop_states(lab.tally)
    return {
        "hops": {state.id: state.as_json() for state in states},
        "notes": picture.part_notes(lab.tally),
        "rows": lab.fragment("picture.html", "hop_rows", states),
    }


def _hop_id(call: CallEvent) -> str:
    return picture.hop_id(source_of(call), part(call.audience))


def _choices(calls: Sequence[CallEvent], filters: Filters) -> Mapping[str, list[tuple[str, str]]]:
    """Return what each filter offers: (value, text). What the URL has is offered too, also if no call has it."""
    callers = dict(CALLERS) | {source: f"svc:{source}" for call in calls if (source := source_of(call)) not in CALLERS}
    audiences = {name: name for name in (*SERVICES, *sorted({call.audience for call in calls}))}
    codes = {code: code for code in sorted({call.verdict for call in calls} - {ACCEPTED})}
    modes = {mode: mode for mode in (*MODES, "user")}
    choices = {
        "caller": callers,
        "audience": audiences,
        "verdict": {ACCEPTED: "accepted", REFUSED: "refused"} | codes,
        "mode": modes,
    }
    for name, value in filters.model_dump().items():
        if value:
            choices[name].setdefault(value, value)
    return {name: list(options.items()) for name, options in choices.items()}
