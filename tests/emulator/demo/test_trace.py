"""The hops of a call, put together from the logs of everyone who took part."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from emulator.demo.trace import Trace, request_of, service_of, trace_call, trace_first_call
from emulator.run.errors import Unexpected
from emulator.run.events import CallEvent, Event, RequestEvent, event_of, of_kind
from emulator.run.ports import Ports
from emulator.run.stack import SERVICES, Stack

ID = "one-time-id"


def at(seconds: float) -> str:
    """Return the time so many seconds after noon, as logs have it."""
    return f"2026-01-01T12:{int(seconds // 60):02}:{seconds % 60:09.6f}Z"


CALL: dict[str, Any] = {
    "event": "call",
    "time": at(2.503),
    "caller": "svc:billing",
    "audience": "product",
    "mode": "fresh",
    "age_seconds": 1,
    "one_time_id": ID,
    "token": "0a1b2c3d",
    "verdict": "accepted",
    "verify_ms": 1.5,
    "request_id": "r1",
}
REQUEST: dict[str, Any] = {
    "event": "request",
    "time": at(2.505),
    "request_id": "r1",
    "method": "GET",
    "path": "/products",
    "status": 200,
    "duration_ms": 4.0,
}
AROUND: dict[str, Any] = REQUEST | {
    "time": at(3.0),
    "method": "POST",
    "path": "/bills",
    "duration_ms": 800,
    "status": 201,
}
IDENTITY: dict[str, Any] = {"event": "identity token", "time": at(1.005), "took_ms": 5.0}
SIGNED_IN: dict[str, Any] = {
    "event": "signed in",
    "time": at(1.0146),
    "audience": "product",
    "mode": "fresh",
    "token": "0a1b2c3d",
    "custom_token_ms": 12.5,
    "sign_in_ms": 2.1,
}


def audit(one_time_id: str = ID) -> dict[str, Any]:
    return {
        "event": "token",
        "time": at(1.01),
        "token_id": sha256(one_time_id.encode()).hexdigest()[:8],
        "service": "billing",
        "proven_by": "account billing@demo-shop.iam.gserviceaccount.com",
        "audience": "product",
        "verdict": "issued",
    }


def logged(folder: Path, *, product: list[Any], billing: list[Any], functions: list[Any]) -> Stack:
    """Return a stack whose services and functions have logged these lines."""
    stack = Stack(Ports(), folder)
    (folder / "logs").mkdir()
    for service in SERVICES:
        stack.log(service).touch()
    for name, lines in (("product", product), ("billing", billing)):
        stack.log(name).write_text("\n".join(map(json.dumps, lines)))
    stack.log("emulators").write_text("\n".join(f">  {json.dumps(line)}" for line in functions))
    return stack


def events(**logs: list[dict[str, Any]]) -> list[Event]:
    """Return the events of these logs: process -> records."""
    found = [event_of(line, process, 0, 0.0) for process, lines in logs.items() for line in lines]
    return [event for event in found if event is not None]


def trace(**logs: list[dict[str, Any]]) -> Trace:
    """Return the trace of the first call in these logs."""
    found = events(**logs)
    return trace_call(of_kind(found, CallEvent)[0], found)


def test_a_call_has_four_hops_with_their_times(tmp_path: Path) -> None:
    """The hops are the metadata server, the token service, Firebase and the callee, with the times from their logs."""
    stack = logged(
        tmp_path, product=[CALL, REQUEST], billing=[IDENTITY, SIGNED_IN, AROUND], functions=[audit("other"), audit()]
    )
    hops = trace_first_call(stack, "billing", "product")
    assert [(hop.where, hop.took_ms) for hop in hops] == [
        ("metadata server", 5.0),
        ("function token", 7.5),
        ("Firebase Auth", 2.1),
        ("product", 4.0),
    ]
    assert "billing@demo-shop" in hops[0].what
    assert "is issued" in hops[1].what
    assert "GET /products" in hops[3].what


def test_each_hop_begins_where_it_did() -> None:
    """The hops of a sign-in follow each other. The callee's hop has two parts: the checks, and the work after them."""
    found = trace(product=[CALL, REQUEST], billing=[IDENTITY, SIGNED_IN, AROUND], emulators=[audit()])
    noon = found.sign_in[0].began - 1.0
    assert [round(hop.began - noon, 4) for hop in found.sign_in] == [1.0, 1.005, 1.0125]
    assert found.callee is not None
    assert [round(hop.began - noon, 4) for hop in (found.callee, *found.parts)] == [2.501, 2.5015, 2.503]
    assert [round(hop.took_ms, 1) for hop in found.parts] == [1.5, 2.0]
    assert found.waited_seconds == pytest.approx(2.501 - 1.0146)
    assert found.status == 200
    assert found.missing == []


def test_the_request_that_led_to_a_call_is_around_it() -> None:
    """If the caller was answering a request with the same id at that time, the call is a part of it."""
    found = trace(product=[CALL, REQUEST], billing=[IDENTITY, SIGNED_IN, AROUND], emulators=[audit()])
    assert found.around is not None
    assert (found.around.where, found.around.what.split(":")[0]) == ("billing", "POST /bills")
    earlier = AROUND | {"time": at(2.0)}
    assert trace(product=[CALL, REQUEST], billing=[SIGNED_IN, earlier]).around is None


def test_calls_of_one_request_are_told_apart_by_their_times() -> None:
    """A bill makes several calls of Product, all with its request id. Each belongs to the request at its time."""
    second = CALL | {"time": at(2.603), "one_time_id": "second"}
    reserved = REQUEST | {"time": at(2.605), "method": "POST", "path": "/reservations"}
    found = events(product=[CALL, second, REQUEST, reserved])
    calls, requests = of_kind(found, CallEvent), of_kind(found, RequestEvent)
    paths = [request.path for call in calls if (request := request_of(call, requests)) is not None]
    assert paths == ["/products", "/reservations"]


def test_a_call_that_waited_for_its_sign_in(tmp_path: Path) -> None:
    """If the sign-in ended after the call began, by the rounded times, the token was not kept at all."""
    found = trace(product=[CALL, REQUEST], billing=[SIGNED_IN | {"time": at(2.502)}])
    assert found.waited_seconds == 0


def test_an_identity_token_of_an_earlier_hour_is_not_a_part_of_the_sign_in() -> None:
    """Its hop has its own, earlier time, and the time of the token service is not reduced by it."""
    earlier = IDENTITY | {"time": "2026-01-01T11:30:00Z"}
    found = trace(product=[CALL, REQUEST], billing=[earlier, SIGNED_IN], emulators=[audit()])
    metadata, token, _ = found.sign_in
    assert token.took_ms == 12.5
    assert token.began - metadata.began > 1800


def test_in_proof_mode_the_audit_line_is_found_by_the_key(tmp_path: Path) -> None:
    """A call with a proof spends the key's thumbprint and the proof's id; the audit line has only the thumbprint."""
    call = CALL | {"mode": "proof", "one_time_id": "thumbprint.proof-id"}
    signed_in = SIGNED_IN | {"mode": "proof"}
    stack = logged(tmp_path, product=[call, REQUEST], billing=[IDENTITY, signed_in], functions=[audit("thumbprint")])
    hops = trace_first_call(stack, "billing", "product")
    assert "bound to its key" in hops[2].what
    assert "its proof is spent" in hops[3].what


@pytest.mark.parametrize("missing", ["identity", "signed in", "audit", "request"])
def test_a_missing_log_line_is_an_error(tmp_path: Path, missing: str) -> None:
    """If the log line of a hop is missing, Unexpected is raised, with a sentence about it."""
    stack = logged(
        tmp_path,
        product=[CALL] if missing == "request" else [CALL, REQUEST],
        billing=[line for name, line in (("identity", IDENTITY), ("signed in", SIGNED_IN)) if name != missing],
        functions=[] if missing == "audit" else [audit()],
    )
    with pytest.raises(Unexpected, match=r"is not in the logs|has no record"):
        trace_first_call(stack, "billing", "product")


def test_a_refused_call_has_the_sign_in_of_its_token() -> None:
    """The sign-in is found by the name of the token, so a replayed call is traced too, although no caller is known."""
    replayed = CALL | {"verdict": "token_replayed", "caller": None, "one_time_id": None}
    found = trace(product=[replayed, REQUEST | {"status": 401}], billing=[IDENTITY, SIGNED_IN], emulators=[audit()])
    assert [hop.where for hop in found.sign_in] == ["metadata server", "function token", "Firebase Auth"]
    assert found.callee is not None
    assert "an unknown caller is refused with token_replayed, the answer is 401" in found.callee.what


def test_a_forged_token_has_no_sign_in() -> None:
    """What is not in the logs is said, and the rest of the call is shown."""
    found = trace(product=[CALL | {"token": "ffffffff", "verdict": "token_untrusted"}, REQUEST])
    assert found.sign_in == []
    assert found.callee is not None
    assert "The sign-in for this token is not in the logs." in found.missing[0]
    assert found.waited_seconds is None


def test_the_call_of_a_user_has_no_sign_in_of_a_service() -> None:
    """A user's call is only the request: the sign-in of users is not a matter of services."""
    found = trace(product=[CALL | {"mode": "user", "caller": "user:maya", "one_time_id": None}, REQUEST])
    assert (found.sign_in, found.missing) == ([], [])
    assert found.callee is not None
    assert "user:maya is verified and allowed" in found.callee.what


def test_the_function_deliver_is_the_service_delivery() -> None:
    """The function's sign-ins are in the log of the emulators."""
    call = CALL | {"caller": "svc:delivery", "audience": "billing"}
    found = trace(billing=[call, REQUEST], emulators=[SIGNED_IN | {"audience": "billing"}, IDENTITY])
    assert "svc:delivery signs in" in found.sign_in[-1].what


@pytest.mark.parametrize(
    ("caller", "service"), [("svc:billing", "billing"), ("user:svc:billing", None), (None, None)], ids=str
)
def test_the_service_of_a_call(caller: str | None, service: str | None) -> None:
    """Only a caller that is a service identity has a service."""
    (call,) = of_kind(events(product=[CALL | {"caller": caller}]), CallEvent)
    assert service_of(call) == service


def test_a_call_without_a_request_id_has_no_request() -> None:
    """A function gives its requests no id."""
    found = trace(emulators=[{name: value for name, value in CALL.items() if name != "request_id"}])
    assert found.callee is None
    assert found.missing[-1] == "The log of emulators has no record of the request."


def test_a_later_request_with_the_same_id_is_not_that_of_the_call() -> None:
    """If the record of the request is not there, that of a later call is not taken for it."""
    later = REQUEST | {"time": at(2.605), "method": "POST", "path": "/reservations"}
    found = trace(product=[CALL, later])
    assert found.callee is None
    assert found.missing[-1] == "The log of product has no record of the request."
