"""services/common/telemetry.py: the standard variables turn OpenTelemetry on, and nothing else does."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from sqlalchemy import text

from emulator.run.ports import free_port
from mstoken.errors import SettingsError
from mstoken.safe_spans import SPAN_ATTRIBUTES
from services.common import measures, telemetry
from services.common.database import Database
from services.common.telemetry import METRIC_ATTRIBUTES
from tests.otlp import otlp_receiver
from tests.recorded import recording
from tests.waiting import WAIT_SECONDS

ROOT = Path(__file__).parents[3]
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}

SET_UP = """
import json, sys
from services.common import telemetry
telemetry.configure("billing")
from opentelemetry import metrics, propagate, trace
tracer, meter = trace.get_tracer_provider(), metrics.get_meter_provider()
resource = getattr(tracer, "resource", None)
print(json.dumps({
    "traces": hasattr(tracer, "force_flush"),
    "metrics": hasattr(meter, "force_flush"),
    "resource": dict(resource.attributes) if resource else {},
    "fields": sorted(propagate.get_global_textmap().fields),
    "sdk": any(name.startswith("opentelemetry.sdk") for name in sys.modules),
    "httpx": hasattr(__import__("httpx").HTTPTransport.handle_request, "__wrapped__"),
    "requests": [telemetry.of_requests()[signal] for signal in ("tracing", "metrics")],
}))
"""


def run(script: str, **variables: str) -> dict[str, Any]:
    """Return the JSON that a script prints in a process with these variables of OpenTelemetry, and no others."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=ROOT, env=environment | variables, capture_output=True, text=True, check=True, timeout=60
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.process
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"},
        {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
    ],
    ids=["no variable", "disabled", "no exporter", "blank"],
)
def test_it_is_off(variables: Mapping[str, str]) -> None:
    """Without an exporter nothing is set up, no client is instrumented, and the SDK is not imported.

    FastAPI does not ask for OpenTelemetry at each request.
    """
    found = run(SET_UP, **variables)
    assert found["requests"] == [False, False]
    assert (found["traces"], found["metrics"], found["sdk"], found["httpx"]) == (False, False, False, False)


@pytest.mark.process
def test_an_endpoint_turns_it_on() -> None:
    """Traces and metrics are exported, with the name of the service. What a client sends as baggage goes no further."""
    found = run(SET_UP, **ENDPOINT)
    assert (found["traces"], found["metrics"], found["httpx"]) == (True, True, True)
    assert found["requests"] == [True, True]
    assert found["resource"]["service.name"] == "billing"
    assert found["resource"]["service.instance.id"]
    assert found["fields"] == ["traceparent", "tracestate"]


@pytest.mark.process
def test_the_operator_names_the_service() -> None:
    """The standard variables win over the name that the service has here."""
    found = run(SET_UP, **ENDPOINT, OTEL_SERVICE_NAME="till", OTEL_METRICS_EXPORTER="none")
    assert (found["traces"], found["metrics"]) == (True, False)
    assert found["requests"] == [True, False]
    assert found["resource"]["service.name"] == "till"
    found = run(SET_UP, **ENDPOINT, OTEL_RESOURCE_ATTRIBUTES="service.name=shop-till,deployment.environment.name=test")
    assert found["resource"]["service.name"] == "shop-till"
    assert found["resource"]["deployment.environment.name"] == "test"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            r"^OTEL_TRACES_EXPORTER is zipkin: it must be none, or some of con",
        ),
        ({"OTEL_METRICS_EXPORTER": "otlp,statsd"}, r"^OTEL_METRICS_EXPORTER is statsd: .* prometheus"),
        (
            {**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            r"is grpc: it must be http/protobuf, usually at port",
        ),
        (
            {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "many"},
            r"^OTEL_EXPORTER_PROMETHEUS_PORT is 'many': it must be a port",
        ),
    ],
    ids=["traces", "metrics", "protocol", "port"],
)
def test_a_wrong_variable_is_named(variables: Mapping[str, str], message: str) -> None:
    """The error says which variable is wrong, and what it must be."""
    with pytest.raises(SettingsError, match=message):
        telemetry.check(variables)


SERVE = """
import json, sys
from services.common import telemetry
server = telemetry.configure("billing")
from services.common.measures import BILLS, BILL_STATE
BILLS.add(1, {BILL_STATE: "issued"})
print(json.dumps({"port": server.server_port}), flush=True)
sys.stdin.read()
"""


@pytest.mark.process
def test_each_worker_serves_its_metrics() -> None:
    """The first worker takes the port, the next one the port after it. Each has its own numbers, and its process's."""
    port = free_port()
    environment = os.environ | {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": str(port)}
    workers, ports = [], []
    try:
        for _ in range(2):
            worker = subprocess.Popen(
                [sys.executable, "-c", SERVE], cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            workers.append(worker)
            assert worker.stdout is not None
            ports.append(json.loads(worker.stdout.readline())["port"])
        pages = [
            httpx.get(f"http://127.0.0.1:{port_of_one}/metrics", timeout=WAIT_SECONDS).text for port_of_one in ports
        ]
    finally:
        for worker in workers:
            worker.communicate(timeout=30)
    assert port <= ports[0] < ports[1]
    for page in pages:
        assert 'shop_bills_total{otel_scope_name="shop"' in page
        assert "process_resident_memory_bytes" in page
        assert 'service_name="billing"' in page
    assert pages[0] != pages[1]


EXPORT = """
import asyncio, json
from services.common import telemetry
telemetry.FLUSH_SECONDS = 60.0  # On a busy machine, 2 s may be too short.
telemetry.configure("billing")
from opentelemetry import trace
from services.common.measures import BILLS
with trace.get_tracer("test").start_as_current_span("work"):
    BILLS.add(1)
asyncio.run(telemetry.flush())
print(json.dumps({}))
import os
os._exit(0)
"""


@pytest.mark.process
def test_the_last_spans_are_sent_before_a_service_ends() -> None:
    """A server that ends because of a signal runs no exit hook, so the app sends what it still has before."""
    with otlp_receiver() as receiver:
        run(EXPORT, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url)
        assert receiver.titles == {"billing: work"}
        assert "shop.bills" in receiver.metrics


async def test_each_statement_is_a_span(tmp_path: Path) -> None:
    """The instrumentation of SQLAlchemy works with the version that we have, although it does not say so yet."""
    with recording() as recorded:
        database = Database(f"sqlite:///{tmp_path / 'test.db'}", ROOT / "services/billing/migrations")
        await database.open()
        async with database.read() as connection:
            await connection.execute(text("SELECT 1"))
        await database.close()
        assert any(span.name.startswith("SELECT") for span in recorded.spans)


def test_log_records_name_their_trace() -> None:
    """A record that is written in a span has the ids of both. Outside there are none."""
    assert telemetry.trace_ids() == {}
    with recording(), trace.get_tracer("test").start_as_current_span("work") as span:
        context = span.get_span_context()
        found = telemetry.trace_ids()
    assert found == {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def test_a_trace_can_be_stored() -> None:
    """Work that is stored, and done later, goes on with the trace that its request had."""
    assert measures.traceparent() is None
    with recording() as recorded:
        with trace.get_tracer("test").start_as_current_span("request"):
            stored = measures.traceparent()
        assert stored is not None
        assert len(stored) == measures.TRACEPARENT_LENGTH
        with measures.span("later", parent=stored):
            pass
        with measures.span("alone"):
            pass
        (request,), (later,), (alone,) = (recorded.named(name) for name in ("request", "later", "alone"))
        assert later.parent is not None
        assert request.context is not None
        assert later.parent.span_id == request.context.span_id
        assert alone.parent is None


def test_the_page_lists_what_may_leave() -> None:
    """docs/telemetry.md names each attribute and each metric of the shop."""
    page = (ROOT / "docs/telemetry.md").read_text()
    names = set(re.findall(r'_meter\.create_\w+\("([\w.]+)"', (ROOT / "services/common/measures.py").read_text()))
    assert len(names) >= 7
    missing = {name for name in names | SPAN_ATTRIBUTES | METRIC_ATTRIBUTES if f"`{name}`" not in page}
    assert missing == set()
