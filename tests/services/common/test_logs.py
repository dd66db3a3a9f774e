"""services/common/logs.py"""

import io
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from mstoken.log_events import log_event
from services.common import logs
from tests.services.shop import logging_as_before


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """The stream that the log is written to. Afterwards, logging is as it was before."""
    stream = io.StringIO()
    with logging_as_before():
        logs.configure("product", stream=stream)
        yield stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_a_json_object(stream: io.StringIO) -> None:
    """A record is one line of JSON: the name of the event, the message, the facts, the service and the request id."""
    token = logs.request_id.set("r1")
    log_event(logging.getLogger("mstoken.calls"), logging.INFO, "call", "call svc:x", caller="svc:x", age_seconds=0.1)
    logs.request_id.reset(token)
    [line] = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "call",
        "message": "call svc:x",
        "level": "info",
        "logger": "mstoken.calls",
        "service": "product",
        "request_id": "r1",
        "caller": "svc:x",
        "age_seconds": 0.1,
    }


@pytest.mark.parametrize(
    ("fact", "logged"),
    [
        ("\u202ecod.exe\n", "\u202ecod.exe\n"),
        ("\ud800", "\ud800"),
        (Path("/etc"), "/etc"),
        (ValueError("broken"), "ValueError('broken')"),
        ([1.5, None, True], [1.5, None, True]),
        (math.nan, "NaN"),
        ([-math.inf], ["-Infinity"]),
    ],
    ids=["control characters", "half of a surrogate pair", "a path", "an error", "a list", "NaN", "infinity"],
)
def test_a_fact_of_any_kind_is_logged(stream: io.StringIO, fact: object, logged: object) -> None:
    """Any value can be a fact. The log is ASCII, so that no character can change how a terminal shows it."""
    log_event(logging.getLogger("x"), logging.INFO, "found", "found it", fact=fact)
    [line] = lines(stream)
    assert line["fact"] == logged
    assert stream.getvalue().isascii()


def test_a_record_in_a_trace_names_it(stream: io.StringIO) -> None:
    """So the records of a request are found from its trace. Without a trace, a record names none."""
    context = trace.SpanContext(trace_id=0xA, span_id=0xB, is_remote=False)
    with trace.use_span(trace.NonRecordingSpan(context)):
        log_event(logging.getLogger("x"), logging.INFO, "found", "found it")
    log_event(logging.getLogger("x"), logging.INFO, "found", "found it")
    inside, outside = lines(stream)
    assert (inside["trace_id"], inside["span_id"]) == (f"{0xA:032x}", f"{0xB:016x}")
    assert not {"trace_id", "span_id"} & outside.keys()


def test_a_traceback_is_in_one_line_without_variables(stream: io.StringIO) -> None:
    """An exception is logged in one line with its traceback, without the values of local variables."""
    password = "hunter2"
    try:
        _ = 1 / (len(password) - 7)
    except ZeroDivisionError:
        logging.getLogger("x").exception("defect")
    [line] = lines(stream)
    assert "ZeroDivisionError" in line["exception"]
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize("name", ["httpx", "uvicorn.access"])
def test_loggers_that_write_urls_are_quiet(stream: io.StringIO, name: str) -> None:
    """Httpx and uvicorn do not log URLs, which may have keys in their queries."""
    logging.getLogger(name).info('HTTP Request: POST https://example.com/?key=secret "HTTP/1.1 200 OK"')
    assert lines(stream) == []


def test_uvicorn_logs_json_too(stream: io.StringIO) -> None:
    """The log lines of uvicorn have the same format."""
    logging.getLogger("uvicorn.error").info("Started server process")
    assert [line["event"] for line in lines(stream)] == ["Started server process"]
