"""What the shop measures, beside what the library, FastAPI and the instrumentations do. `docs/telemetry.md` lists it.

The instruments belong to the API of OpenTelemetry. As long as it is not set up, they do nothing.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_meter = metrics.get_meter("shop")
_w3c = TraceContextTextMapPropagator()

TRACEPARENT = "traceparent"
"""The header field that names a trace and a span (W3C, "Trace Context", section 3.2)."""
TRACEPARENT_LENGTH = 55

SHED = _meter.create_counter("shop.load.shed", "{request}", "Requests refused because the process has too many")
CIRCUIT_OPEN = _meter.create_gauge("shop.circuit.open", "{circuit}", "1 while calls to a service are stopped, else 0")
CIRCUIT = "shop.circuit"

BILLS = _meter.create_counter("shop.bills", "{bill}", "Orders that have come into a state")
BILL_STATE = "shop.bill.state"
PENDING = _meter.create_gauge("shop.bills.pending", "{bill}", "Orders that are not settled")
BACKLOG = _meter.create_gauge("shop.backlog", "{item}", "Work that is due, by its name")
BACKLOG_AGE = _meter.create_gauge("shop.backlog.age", "s", "How long the oldest of a backlog is overdue")
BACKLOG_NAME = "shop.backlog.name"
DELIVERIES = _meter.create_counter("shop.deliveries", "{delivery}", "Deliveries that have come into a status")
DELIVERY_STATUS = "shop.delivery.status"
HAND_OVERS = _meter.create_counter("shop.outbox.hand_overs", "{hand_over}", "Hand-overs of deliveries to the queue")
OUTBOX_AGE = _meter.create_gauge("shop.outbox.age", "s", "Time since the oldest delivery without an end was requested")


def traceparent() -> str | None:
    """Return the name of the current span for a later one to go on from; None if there is no trace."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier)
    return carrier.get(TRACEPARENT)


def span(
    name: str,
    attributes: Mapping[str, str] | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: str | None = None,
) -> AbstractContextManager[object]:
    """Enclose a piece of work that no request waits for. It goes on with the trace of `parent`, or has one of its own.

    `parent` is what `traceparent` returned.
    """
    context = _w3c.extract({TRACEPARENT: parent} if parent else {}, Context())
    return trace.get_tracer("shop").start_as_current_span(name, context, kind, attributes, record_exception=False)
