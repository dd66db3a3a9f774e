"""mstoken/safe_spans.py: what is not on the list does not leave the process."""

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from mstoken.safe_spans import SafeSpanExporter
from tests.recorded import recording

SECRETS = {
    "url.full": "https://identitytoolkit.googleapis.com/v1/accounts:signUp?key=AIzaSecret",
    "url.path": "/users/maya",
    "url.query": "q=maya",
    "client.address": "203.0.113.9",
    "user_agent.original": "maya's browser",
    "db.namespace": "/home/maya/shop.db",
    "enduser.id": "maya",
    "an.attribute.of.tomorrow": "maya",
}


def test_only_what_is_on_the_list_is_exported() -> None:
    """Attributes that are not on the list, messages of errors and descriptions of a status are removed.

    So are the attributes of links to other spans.
    """
    with recording(SafeSpanExporter) as recorded:
        tracer = trace.get_tracer("test")
        linked = tracer.start_span("another").get_span_context()
        links = [trace.Link(linked, {"http.route": "/maya"})]
        with tracer.start_as_current_span("GET /users/{uid}", kind=SpanKind.SERVER, links=links) as span:
            span.set_attributes(SECRETS | {"http.route": "/users/{uid}", "server.address": "maya.example"})
            span.add_event("log", {"exception.message": "maya", "exception.type": "KeyError"})
            span.record_exception(KeyError("maya"))
            span.set_status(Status(StatusCode.ERROR, "no user maya"))
        (exported,) = recorded.spans
    assert exported.attributes == {"http.route": "/users/{uid}"}
    assert [dict(event.attributes or {}) for event in exported.events] == [{"exception.type": "KeyError"}] * 2
    assert exported.status.status_code is StatusCode.ERROR
    assert [(link.context, dict(link.attributes or {})) for link in exported.links] == [(linked, {})]
    assert "maya" not in exported.to_json()
    assert "AIza" not in exported.to_json()


def test_a_statement_is_named_by_its_operation() -> None:
    """The instrumentation names it by the path of SQLite's file too. Its text has no values."""
    with recording(SafeSpanExporter) as recorded:
        tracer = trace.get_tracer("test")
        with (
            tracer.start_as_current_span("request"),
            tracer.start_as_current_span("SELECT /home/maya", kind=SpanKind.CLIENT) as span,
        ):
            span.set_attribute("db.query.text", "SELECT uid FROM bills WHERE id = ?")
        assert [span.name for span in recorded.spans] == ["SELECT", "request"]


def test_a_question_without_a_trace_is_left_out() -> None:
    """What a process asks by itself would hide the requests."""
    with recording(SafeSpanExporter) as recorded:
        tracer = trace.get_tracer("test")
        with tracer.start_as_current_span("SELECT", kind=SpanKind.CLIENT):
            pass
        with tracer.start_as_current_span("request", kind=SpanKind.SERVER):
            pass
        assert [span.name for span in recorded.spans] == ["request"]
