"""A receiver of OTLP over HTTP, as a collector is one (OpenTelemetry, "OTLP Specification", "OTLP/HTTP")."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.trace_tree import Node


class OtlpReceiver(ThreadingHTTPServer):
    """Keeps what it receives. `texts` is all of it, in a form in which a secret can be looked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Export)
        self._lock = threading.Lock()
        self._nodes: list[tuple[str, Node]] = []
        self.metrics: set[str] = set()
        self.texts: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def trace(self, trace_id: str) -> list[Node]:
        """Return the spans of a trace that have arrived."""
        with self._lock:
            return [node for found, node in self._nodes if found == trace_id]

    @property
    def titles(self) -> set[str]:
        """The titles of all spans that have arrived, of all traces."""
        with self._lock:
            return {node.title for _, node in self._nodes}

    def receive(self, path: str, body: bytes) -> None:
        """Keep one export."""
        if path == "/v1/metrics":
            metrics = ExportMetricsServiceRequest.FromString(body)
            with self._lock:
                self.texts.append(str(metrics))
                for resource in metrics.resource_metrics:
                    for scope in resource.scope_metrics:
                        self.metrics.update(metric.name for metric in scope.metrics)
            return
        assert path == "/v1/traces", path
        traces = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self.texts.append(str(traces))
            for each in traces.resource_spans:
                names = [found.value.string_value for found in each.resource.attributes if found.key == "service.name"]
                for scope in each.scope_spans:
                    for span in scope.spans:
                        parent = span.parent_span_id.hex() or None
                        began, ended = span.start_time_unix_nano, span.end_time_unix_nano
                        node = Node(span.span_id.hex(), parent, names[0], span.name, began, ended)
                        self._nodes.append((span.trace_id.hex(), node))


class _Export(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, OtlpReceiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        server.receive(self.path, body)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """Run a receiver."""
    with OtlpReceiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
