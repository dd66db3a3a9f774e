"""OpenTelemetry in the functions: a trace goes from the caller of a function through it to the services that it calls.

The standard variables turn it on: `OTEL_EXPORTER_OTLP_ENDPOINT` says where spans are sent, by OTLP over HTTP with
protobuf. Without it, or with `OTEL_SDK_DISABLED=true`, everything here does nothing, and the SDK is not imported. Spans
have only the attributes of the list in `mstoken.safe_spans`.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any

from flask import Request, Response
from werkzeug.datastructures import Headers

FLUSH_MILLISECONDS = 2000
"""The platform takes the processor away when a function has answered. So its spans are sent before, for this long."""

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_is_on = False


def configure(service: str, environment: Mapping[str, str] = os.environ) -> None:
    """Set up OpenTelemetry for this process, if the variables ask for it."""
    global _is_on
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    is_none = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"
    if is_disabled or is_none or not any(environment.get(name, "").strip() for name in _ENDPOINTS):
        return
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    from opentelemetry import propagate, trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    from mstoken.safe_spans import SafeSpanExporter

    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": service}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(SafeSpanExporter(OTLPSpanExporter())))
    trace.set_tracer_provider(provider)
    if not environment.get("OTEL_PROPAGATORS"):
        propagate.set_global_textmap(TraceContextTextMapPropagator())
    HTTPXClientInstrumentor().instrument()
    _is_on = True


def traced(function: Callable[[Request], Response]) -> Callable[[Request], Response]:
    """Decorate a function that answers requests: each request is a span."""

    @wraps(function)
    def answer(request: Request) -> Response:
        with request_span(function.__name__, request.headers):
            return function(request)

    return answer


def request_span(name: str, headers: Headers) -> AbstractContextManager[None]:
    """Enclose the work on a request. It goes on with the trace that the headers name."""
    return _request_span(name, headers) if _is_on else nullcontext()


def trace_ids() -> Mapping[str, str]:
    """Return the ids of the current trace and span, for a log record; nothing outside a trace."""
    if not _is_on:
        return {}
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }


@contextmanager
def _request_span(name: str, headers: Headers) -> Iterator[None]:
    from opentelemetry import propagate, trace

    context = propagate.extract(headers)
    provider: Any = trace.get_tracer_provider()
    try:
        # An error may quote what the request contains, so it is not recorded. Its class is.
        with trace.get_tracer("functions").start_as_current_span(
            name,
            context,
            trace.SpanKind.SERVER,
            {"faas.name": name},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except Exception as error:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(trace.StatusCode.ERROR)
                raise
    finally:
        provider.force_flush(FLUSH_MILLISECONDS)
