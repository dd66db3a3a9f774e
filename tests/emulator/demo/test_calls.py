"""Calls between services, as the runner reads them from the services' logs."""

import json
from pathlib import Path

import pytest

from emulator.demo.calls import LoggedCall, first_accepted_call, service_calls
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
    """A stack whose Product has logged these lines; what is no text is logged as JSON."""
    stack = Stack(Ports(), folder)
    (folder / "logs").mkdir()
    for service in SERVICES:
        stack.log(service).touch()
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    stack.log("product").write_text("\n".join(texts))
    return stack


def test_a_call_is_read_with_who_called_whom(tmp_path: Path) -> None:
    """A line about a service's call gives caller, callee, audience, mode, age, id and verdict."""
    stack = stack_with_log(tmp_path, BILLING_CALLED)
    call = LoggedCall("svc:billing", "product", "product", "fresh", 1, "an-id", "0a1b2c3d", "accepted")
    assert service_calls(stack) == [call]
    assert first_accepted_call(stack, "svc:billing", "product") == call


def test_calls_are_in_the_order_of_time(tmp_path: Path) -> None:
    """Calls to different services come in the order in which they happened."""
    stack = stack_with_log(tmp_path, BILLING_CALLED)
    stack.log("user").write_text(json.dumps(BILLING_CALLED | {"time": "2026-01-01T12:00:03Z"}))
    assert [call.callee for call in service_calls(stack)] == ["product", "user"]


def test_other_lines_are_passed_over(tmp_path: Path) -> None:
    """Users' calls, other events, and lines that are no JSON objects are no calls between services."""
    by_user = BILLING_CALLED | {"caller": "user:maya", "mode": "user"}
    assert service_calls(stack_with_log(tmp_path, by_user, {"event": "started"}, "Traceback:", "[1]", "")) == []


def test_a_refused_call_was_not_accepted(tmp_path: Path) -> None:
    """Where every call was refused, asking for an accepted one says that there is none."""
    stack = stack_with_log(tmp_path, BILLING_CALLED | {"verdict": "token_replayed"})
    with pytest.raises(Unexpected, match="The log of product shows no call of svc:billing that was accepted"):
        first_accepted_call(stack, "svc:billing", "product")
