"""OpenTelemetry in the process of a service: traces, metrics, and the id of the trace in each log record.

The standard variables of OpenTelemetry turn it on (OpenTelemetry, "Environment Variable Specification"). Without an
exporter it stays off, and then nothing of the SDK is imported.

    OTEL_EXPORTER_OTLP_ENDPOINT       where to send traces and metrics, by OTLP over HTTP with protobuf
    OTEL_TRACES_EXPORTER              otlp, console or none
    OTEL_METRICS_EXPORTER             a list of otlp, prometheus, console, or none
    OTEL_EXPORTER_PROMETHEUS_PORT     the first port for /metrics; a worker takes the next one that is free
    OTEL_SDK_DISABLED=true            turns all of it off

The spans of requests are FastAPI's own. opentelemetry-instrumentation-fastapi would wrap the app once more, record the
client's address and its User-Agent, and add nothing that we need.
"""

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import metrics, propagate, trace

from mstoken.blocking import call_blocking
from mstoken.errors import SettingsError
from mstoken.log_events import log_event
from mstoken.telemetry import ATTRIBUTES
from services.common.load import PROBES

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from sqlalchemy import Engine

PROMETHEUS_PORT = 9464
PORTS_TO_TRY = 32
"""Each worker of a service has metrics of its own, so each serves them on a port of its own."""
FLUSH_SECONDS = 2.0
"""How long a service that ends waits for its last traces and metrics to be sent, in seconds."""

METRIC_ATTRIBUTES = ATTRIBUTES | {
    *("http.request.method", "http.response.status_code", "http.route", "url.scheme"),
    *("network.protocol.name", "network.protocol.version", "server.address", "server.port"),
    *("state", "shop.bill.state", "shop.delivery.status", "shop.circuit", "shop.backlog.name"),
}
"""The attributes that a metric may have when it leaves the process. All others are removed."""

_TRACES = frozenset({"otlp", "console"})
_METRICS = frozenset({"otlp", "prometheus", "console"})
_log = logging.getLogger("services.telemetry")


def configure(service: str, environment: Mapping[str, str] = os.environ) -> "WSGIServer | None":
    """Set up OpenTelemetry for this process, if the variables ask for it. Call it once per process, before the app.

    Return the server of /metrics, if there is one. Raises `SettingsError` for an exporter or a protocol that is not
    supported.
    """
    traces, measurements = check(environment)
    if not traces and not measurements:
        return None
    # The instrumentations still write the names of older conventions by default.
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    resource = _resource(service, environment)
    if not environment.get("OTEL_PROPAGATORS"):
        # Not baggage, which is also set by default: it would pass on to others whatever a client sends.
        propagate.set_global_textmap(TraceContextTextMapPropagator())
    server = None
    if traces:
        _trace(traces, resource)
    if measurements:
        server = _measure(measurements, resource, environment)
    HTTPXClientInstrumentor().instrument()
    return server


def check(environment: Mapping[str, str]) -> tuple[frozenset[str], frozenset[str]]:
    """Return the exporters of traces and those of metrics that the variables name. Raises `SettingsError`."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return frozenset(), frozenset()
    _port(environment)
    return _exporters(environment, "TRACES", _TRACES), _exporters(environment, "METRICS", _METRICS)


def trace_statements(engine: "Engine") -> None:
    """Make a span of each statement of an engine, if OpenTelemetry is set up."""
    if not _is_set_up(trace.get_tracer_provider()):
        return
    # The public way, SQLAlchemyInstrumentor, takes engines once per process, and says that it does not support
    # SQLAlchemy 2.1 yet. It does: tests/services/common/test_telemetry.py looks.
    from opentelemetry.instrumentation.sqlalchemy.engine import EngineTracer

    usage = metrics.get_meter("services").create_up_down_counter(
        "db.client.connection.count", "{connection}", "Connections to the database, by state"
    )
    tracer: Any = EngineTracer
    tracer(trace.get_tracer("services"), engine, usage)


def of_requests() -> TelemetryConfig:
    """Return what FastAPI measures of each request: nothing, unless OpenTelemetry is set up.

    FastAPI would ask for that again at each request, which takes longer than all the rest of telemetry that is off.
    """
    return TelemetryConfig(
        tracing=_is_set_up(trace.get_tracer_provider()),
        metrics=is_measured(),
        # A platform asks the probes all the time.
        exclude=lambda scope: scope["type"] == "http" and scope["path"] in PROBES,
        # Records of the log are on stdout. Spans of dependencies and of serialization hide what a request does.
        logs=False,
        operation_spans=False,
        auto_configure=False,
    )


def is_measured() -> bool:
    """Return whether this process has metrics, so that it is worth measuring something for them."""
    return _is_set_up(metrics.get_meter_provider())


async def flush() -> None:
    """Send the last traces and metrics, for a limited time: a server that is asked to end gets a signal afterwards."""
    for provider in trace.get_tracer_provider(), metrics.get_meter_provider():
        if _is_set_up(provider):
            with suppress(TimeoutError):
                await call_blocking(_force_flush, provider, deadline_seconds=FLUSH_SECONDS)


def trace_ids() -> dict[str, str]:
    """Return the ids of the current trace and span, for a log record. Outside a trace there are none."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def _force_flush(provider: Any) -> None:
    provider.force_flush(int(FLUSH_SECONDS * 1000))


def _is_set_up(provider: object) -> bool:
    return hasattr(provider, "force_flush")


def _exporters(environment: Mapping[str, str], signal: str, known: frozenset[str]) -> frozenset[str]:
    """Return the exporters of a signal. Without a variable that names them, it is OTLP if that has an endpoint."""
    variable = f"OTEL_{signal}_EXPORTER"
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    default = "otlp" if any(environment.get(name, "").strip() for name in endpoints) else "none"
    names = (environment.get(variable, "").strip() or default).split(",")
    found = frozenset(name.strip().lower() for name in names) - {"none", ""}
    if found - known:
        raise SettingsError(
            f"{variable} is {', '.join(sorted(found - known))}: it must be none, or some of {', '.join(sorted(known))}."
        )
    if "otlp" in found:
        variables = (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        protocol = next((environment[name] for name in variables if environment.get(name)), "http/protobuf")
        if protocol != "http/protobuf":
            raise SettingsError(
                f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}: it must be http/protobuf, usually at port 4318."
            )
    return found


def _resource(service: str, environment: Mapping[str, str]) -> "Resource":
    from uuid import uuid4

    from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource

    others = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = {} if environment.get("OTEL_SERVICE_NAME") or SERVICE_NAME in others else {SERVICE_NAME: service}
    return Resource.create({SERVICE_INSTANCE_ID: str(uuid4()), **named})


def _trace(exporters: frozenset[str], resource: "Resource") -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

    from mstoken.safe_spans import SafeSpanExporter

    provider = TracerProvider(resource=resource)
    if "otlp" in exporters:
        provider.add_span_processor(BatchSpanProcessor(SafeSpanExporter(OTLPSpanExporter())))
    if "console" in exporters:
        provider.add_span_processor(SimpleSpanProcessor(SafeSpanExporter(ConsoleSpanExporter())))
    trace.set_tracer_provider(provider)


def _measure(exporters: frozenset[str], resource: "Resource", environment: Mapping[str, str]) -> "WSGIServer | None":
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
    from opentelemetry.sdk.metrics.view import View

    readers: list[MetricReader] = []
    server = None
    if "otlp" in exporters:
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if "console" in exporters:
        readers.append(PeriodicExportingMetricReader(ConsoleMetricExporter()))
    if "prometheus" in exporters:
        reader, server = _prometheus(environment)
        readers.append(reader)
    only_these = View(instrument_name="*", attribute_keys=set(METRIC_ATTRIBUTES))
    metrics.set_meter_provider(MeterProvider(readers, resource, views=[only_these]))
    return server


def _prometheus(environment: Mapping[str, str]) -> "tuple[MetricReader, WSGIServer | None]":
    """Serve /metrics. Return the reader that it is made of, and the server, if a port was free."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    reader = PrometheusMetricReader(registry=registry)
    # Without a password, so only this machine may ask, unless the operator says otherwise.
    host = environment.get("OTEL_EXPORTER_PROMETHEUS_HOST", "").strip() or "127.0.0.1"
    first = _port(environment)
    for port in range(first, first + PORTS_TO_TRY):
        try:
            server, _thread = start_http_server(port, host, registry)
        except OSError:
            continue
        message = f"metrics for Prometheus are at http://{host}:{port}/metrics"
        log_event(_log, logging.INFO, "metrics", message, host=host, port=port)
        return reader, server
    # A service works without its metrics.
    message = f"no port from {first} to {first + PORTS_TO_TRY - 1} of {host} is free for /metrics"
    log_event(_log, logging.ERROR, "no_metrics", message, host=host, port=first)
    return reader, None


def _port(environment: Mapping[str, str]) -> int:
    text = environment.get("OTEL_EXPORTER_PROMETHEUS_PORT", "").strip() or str(PROMETHEUS_PORT)
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 65535:
        raise SettingsError(f"OTEL_EXPORTER_PROMETHEUS_PORT is {text!r}: it must be a port, from 1 to 65535.")
    return int(text)
