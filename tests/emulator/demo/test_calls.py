"""Calls between services, read from the services' logs."""

import json
from pathlib import Path

import pytest

from emulator.demo.calls import first_accepted_call, service_calls
from emulator.run.errors import Unexpected
from emulator.run.ports import Ports
from emulator.run.stack import SERVICES, Stack

BILLING_CALLED = {
    "event": "call",
    "service": "product",
    "time": "2026-01-01T12:00:02Z",
    "caller": "svc:billing",
    "audience": "product",
    "mode": "fresh",
    "age_seconds": 1,
    "one_time_id": "an-id",
    "token": "0a1b2c3d",
    "verdict": "accepted",
}


def stack_with_log(folder: Path, *lines: object) -> Stack:
    """Return a stack whose Product has logged these lines. A line that is not a text is logged as JSON."""
    stack = Stack(Ports(), folder)
    (folder / "logs").mkdir()
    for service in SERVICES:
        stack.log(service).touch()
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    stack.log("product").write_text("\n".join(texts))
    return stack


def test_a_call_is_read_from_its_log_line(tmp_path: Path) -> None:
    """The log line of a call gives its caller, callee, audience, mode, age, id and verdict."""
    stack = stack_with_log(tmp_path, BILLING_CALLED)
    [call] = service_calls(stack)
    assert (call.caller, call.process, call.audience, call.mode) == ("svc:billing", "product", "product", "fresh")
    assert (call.age_seconds, call.one_time_id, call.token, call.verdict) == (1, "an-id", "0a1b2c3d", "accepted")
    assert first_accepted_call(stack, "svc:billing", "product") == call


def test_calls_are_in_the_order_of_time(tmp_path: Path) -> None:
    """Calls to different services are in the order in which they happened."""
    stack = stack_with_log(tmp_path, BILLING_CALLED)
    stack.log("user").write_text(json.dumps(BILLING_CALLED | {"time": "2026-01-01T12:00:03Z"}))
    assert [call.process for call in service_calls(stack)] == ["product", "user"]


def test_other_lines_are_skipped(tmp_path: Path) -> None:
    """Calls of users, other events, and lines that are not JSON objects are skipped."""
    by_user = BILLING_CALLED | {"caller": "user:maya", "mode": "user"}
    assert service_calls(stack_with_log(tmp_path, by_user, {"event": "started"}, "Traceback:", "[1]", "")) == []


def test_a_refused_call_does_not_count_as_accepted(tmp_path: Path) -> None:
    """If every call was refused, looking for an accepted one raises Unexpected."""
    stack = stack_with_log(tmp_path, BILLING_CALLED | {"verdict": "token_replayed"})
    with pytest.raises(Unexpected, match="The log of product has no accepted call from svc:billing"):
        first_accepted_call(stack, "svc:billing", "product")
