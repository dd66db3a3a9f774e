"""What a span may tell when it leaves the process: a list of attributes that are allowed.

FastAPI and the instrumentations record more than we may send: paths with the ids of users, the query with Firebase's
API key, messages of errors that quote a row of the database. So everything that is not on the list is removed, also
what a later version of an instrumentation may add.

    provider.add_span_processor(BatchSpanProcessor(SafeSpanExporter(OTLPSpanExporter())))

This module needs opentelemetry-sdk. Only a program that exports spans imports it, and that program has the SDK.
"""

from collections.abc import Sequence

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanKind, Status
from opentelemetry.util.types import AnyValue, Attributes
from typing_extensions import override

from mstoken import telemetry

STATEMENT = "db.query.text"
"""The text of a statement. It has placeholders where the values are."""

SPAN_ATTRIBUTES = telemetry.ATTRIBUTES | {
    *("http.request.method", "http.response.status_code", "http.route", "url.scheme"),
    *("network.protocol.name", "network.protocol.version", "server.address", "server.port"),
    *("db.system.name", STATEMENT),
    *("messaging.system", "messaging.destination.name", "messaging.operation.type"),
    "faas.name",
}
OF_CLIENTS_ONLY = frozenset({"server.address", "server.port"})
"""In the span of a server, they repeat the header Host, in which a client may send anything."""
OF_EVENTS = frozenset({"exception.type"})


class SafeSpanExporter(SpanExporter):
    """Sends to `exporter` what spans may tell.

    A span of a client that belongs to no trace is left out. It is a question that the process asks itself all the time:
    is an order or a delivery due, are there new certificates?
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        safe = [_safe(span) for span in spans if span.parent is not None or span.kind is not SpanKind.CLIENT]
        return self._exporter.export(safe) if safe else SpanExportResult.SUCCESS

    @override
    def shutdown(self) -> None:
        self._exporter.shutdown()

    @override
    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _safe(span: ReadableSpan) -> ReadableSpan:
    allowed = SPAN_ATTRIBUTES if span.kind is SpanKind.CLIENT else SPAN_ATTRIBUTES - OF_CLIENTS_ONLY
    attributes = _only(allowed, span.attributes)
    return ReadableSpan(
        # Requests are named by their method, and statements by their operation and the path of SQLite's file.
        name=span.name.partition(" ")[0] if span.kind is SpanKind.CLIENT else span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=[Event(each.name, _only(OF_EVENTS, each.attributes), each.timestamp) for each in span.events],
        links=[Link(link.context) for link in span.links],
        kind=span.kind,
        status=Status(span.status.status_code),  # Its description quotes the error.
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _only(names: frozenset[str], attributes: Attributes) -> dict[str, AnyValue]:
    return {name: value for name, value in (attributes or {}).items() if name in names}
