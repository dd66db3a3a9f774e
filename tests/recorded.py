"""OpenTelemetry as a program sets it up, with exporters that keep everything in memory."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import opentelemetry.metrics._internal as metrics_of_api
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from mstoken import telemetry

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class Recorded:
    """What was exported."""

    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in the order in which they ended."""
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of that name."""
        return [span for span in self.spans if span.name == name]

    def points(self, metric: str) -> list[Any]:
        """Return the data points of a metric as it is now."""
        return [point for name, point in self.all_points() if name == metric]

    def all_points(self) -> Iterable[tuple[str, Any]]:
        """Return the data points of all metrics as they are now, each with the name of its metric."""
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    yield from ((metric.name, point) for point in metric.data.data_points)


@contextmanager
def recording(
    through: Callable[[SpanExporter], SpanExporter] = lambda exporter: exporter, views: Sequence[View] = ()
) -> Iterator[Recorded]:
    """Set up OpenTelemetry for the block. Spans are exported `through` another exporter, and metrics with `views`.

    A program can set it up once only, and so the globals of the API are restored by hand, as OpenTelemetry's own tests
    do.
    """
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracer_provider = TracerProvider(shutdown_on_exit=False)
    tracer_provider.add_span_processor(SimpleSpanProcessor(through(exporter)))
    meter_provider = MeterProvider([reader], shutdown_on_exit=False, views=views)
    observed = dict(telemetry._observed)
    telemetry._observed.clear()  # What other tests have left alive is not read here.
    with not_set_up():
        trace.set_tracer_provider(tracer_provider)
        metrics.set_meter_provider(meter_provider)
        try:
            yield Recorded(exporter, reader)
        finally:
            tracer_provider.shutdown()
            meter_provider.shutdown()
            telemetry._observed.update(observed)


@contextmanager
def not_set_up() -> Iterator[None]:
    """Let the block set up OpenTelemetry, whatever was set up before. At its end everything is as before the block."""
    traces = trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE
    measures = metrics_of_api._METER_PROVIDER, metrics_of_api._METER_PROVIDER_SET_ONCE
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = None, Once()
    metrics_of_api._METER_PROVIDER, metrics_of_api._METER_PROVIDER_SET_ONCE = None, Once()
    try:
        yield
    finally:
        trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = traces
        metrics_of_api._METER_PROVIDER, metrics_of_api._METER_PROVIDER_SET_ONCE = measures
