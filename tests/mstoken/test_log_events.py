"""Log records for people and programs."""

import ast
import io
import logging
from pathlib import Path

import pytest

from mstoken.log_events import log_event

ROOT = Path(__file__).parents[2]
FOLDERS = ("mstoken", "services", "functions", "emulator")
METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def calls() -> list[tuple[Path, ast.Call]]:
    """Return every call in the code that runs in a service, a function or an emulator, with its file."""
    return [
        (path, node)
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not {"venv", "packed"} & set(path.relative_to(ROOT).parts)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]


def test_a_record_says_something_in_a_plain_format() -> None:
    """A log without a formatter for extra fields shows what happened; the fields are on the record."""
    stream, log = io.StringIO(), logging.getLogger("tests.plain")
    handler = logging.StreamHandler(stream)
    log.addHandler(handler)
    try:
        log_event(log, logging.WARNING, "call", "call svc:billing → product fresh token_replayed", mode="fresh")
    finally:
        log.removeHandler(handler)
    assert stream.getvalue() == "call svc:billing → product fresh token_replayed\n"


def test_a_record_has_its_facts_and_names_its_place(caplog: pytest.LogCaptureFixture) -> None:
    """The name of the event and the facts are fields. The place in the code is that of the caller."""
    log_event(logging.getLogger("x"), logging.ERROR, "job", "the job failed", job="sweep", exc_info=ValueError("5"))
    (record,) = caplog.records
    assert {"event": "job", "job": "sweep", "message": "the job failed"}.items() <= vars(record).items()
    assert (record.funcName, record.filename) == (
        "test_a_record_has_its_facts_and_names_its_place",
        Path(__file__).name,
    )
    assert record.exc_info
    assert record.exc_info[0] is ValueError


def test_a_level_that_is_off_writes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A record below the level of its logger is not made."""
    caplog.set_level(logging.WARNING)
    log_event(logging.getLogger("x"), logging.INFO, "call", "call")
    assert caplog.records == []


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ("/a\n2026-01-01 call svc:admin", "/a\\n2026-01-01 call svc:admin"),
        ("\x1b[2J\r\u2028\u202e", "\\x1b[2J\\r\\u2028\\u202e"),
        ("\ud800", "\\ud800"),
        ("50 % of Zoë → ü", "50 % of Zoë → ü"),
    ],
    ids=["line break", "terminal", "surrogate", "harmless"],
)
def test_a_record_is_one_line(caplog: pytest.LogCaptureFixture, sent: str, written: str) -> None:
    """A message that quotes what was sent cannot forge a second line, and cannot control a terminal."""
    log_event(logging.getLogger("x"), logging.WARNING, "request", sent)
    assert caplog.messages == [written]


def test_no_record_hides_its_facts_in_extra() -> None:
    """Fields are written with `log_event`, which needs a sentence as well."""
    hidden = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, call in calls()
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in METHODS
        and any(keyword.arg == "extra" for keyword in call.keywords)
        and path.name != "log_events.py"
    ]
    assert hidden == []


def test_every_message_is_more_than_the_name_of_the_event() -> None:
    """A record with facts has a message that is made from facts, not a constant text."""
    written = [
        (path, call, call.args[3])
        for path, call in calls()
        if isinstance(call.func, ast.Name) and call.func.id == "log_event"
    ]
    assert len(written) > 10
    constant = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, call, message in written
        if isinstance(message, ast.Constant)
    ]
    assert constant == []
