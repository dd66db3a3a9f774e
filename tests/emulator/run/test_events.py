"""Records of logs become events, without tokens."""

import json
from pathlib import Path
from typing import Any

import pytest

from emulator.run.events import (
    AuditEvent,
    CallEvent,
    Event,
    HandOverEvent,
    IdentityTokenEvent,
    RequestEvent,
    SignInEvent,
    event_of,
    of_kind,
    read_events,
    without_tokens,
)

TIME = "2026-01-01T12:00:02.500000Z"
SECONDS = 1767268802.5
CALL: dict[str, Any] = {
    "event": "call",
    "time": TIME,
    "caller": "svc:billing",
    "user": None,
    "audience": "product",
    "mode": "fresh",
    "age_seconds": 1,
    "one_time_id": "an-id",
    "token": "0a1b2c3d",
    "verdict": "accepted",
    "reason": None,
    "verify_ms": 1.25,
    "request_id": "r1",
}
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzdmM6YmlsbGluZyJ9.c2lnbmF0dXJl"


def event(record: dict[str, Any], process: str = "product") -> Event | None:
    return event_of(record, process, 7, 100.0)


def test_a_call() -> None:
    """The record of a call gives its caller, audience, mode, age, id, token name, verdict and verification time."""
    assert event(CALL) == CallEvent(
        id=7,
        time=SECONDS,
        process="product",
        caller="svc:billing",
        user=None,
        audience="product",
        mode="fresh",
        age_seconds=1,
        one_time_id="an-id",
        token="0a1b2c3d",
        verdict="accepted",
        reason=None,
        request_id="r1",
        verify_ms=1.25,
    )


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {"event": "request", "method": "GET", "path": "/x", "status": None, "duration_ms": 3, "request_id": "r"},
            RequestEvent(7, SECONDS, "product", "GET", "/x", None, 3.0, "r"),
        ),
        (
            {
                "event": "signed in",
                "audience": "user",
                "mode": "fresh",
                "custom_token_ms": 1,
                "sign_in_ms": 2,
                "token": "t",
                "in_stock": 4,
            },
            SignInEvent(7, SECONDS, "product", "user", "fresh", 1.0, 2.0, "t", 4, None),
        ),
        (
            {"event": "identity token", "took_ms": 1},
            IdentityTokenEvent(7, SECONDS, "product", 1.0, None),
        ),
        (
            {"event": "token", "service": "billing", "proven_by": "an account", "audience": "product"}
            | {"mode": "proof", "token_id": "aa", "verdict": "issued", "reason": None},
            AuditEvent(7, SECONDS, "product", "billing", "an account", "product", "proof", "aa", "issued", None),
        ),
        ({"event": "hand_over"}, HandOverEvent(7, SECONDS, "product", is_refused=False)),
        ({"event": "hand_over", "reason": "busy"}, HandOverEvent(7, SECONDS, "product", is_refused=True)),
    ],
    ids=["request", "signed in", "identity token", "token", "hand_over", "hand_over, refused"],
)
def test_other_events(record: dict[str, Any], expected: Event) -> None:
    """Requests, sign-ins, identity tokens, custom tokens and deliveries are events too."""
    assert event({**record, "time": TIME}) == expected


def test_a_record_without_a_time_happened_when_it_was_read() -> None:
    """Without `time` the moment of reading counts."""
    found = event({name: value for name, value in CALL.items() if name != "time"})
    assert found is not None
    assert found.time == 100.0


@pytest.mark.parametrize(
    "record",
    [
        {"event": "started"},
        {"event": ["call"]},
        {},
        {"event": "call"},
        CALL | {"age_seconds": "young"},
        CALL | {"time": "yesterday"},
        CALL | {"time": 12},
        CALL | {"verify_ms": float("nan")},
        {"event": "identity token", "time": TIME, "took_ms": float("inf")},
        {"event": "request", "time": TIME, "method": "GET", "path": "/", "status": 1e400, "duration_ms": 1},
    ],
    ids=[
        "other",
        "list",
        "empty",
        "incomplete",
        "no number",
        "no time",
        "number as a time",
        "not a number",
        "infinite",
        "an infinite status",
    ],
)
def test_records_of_other_kinds_are_skipped(record: dict[str, Any]) -> None:
    """A record of another kind, or with something missing or of another type, is not an event. No error is raised."""
    assert event(record) is None


def test_no_event_contains_a_token() -> None:
    """If a text of a record looks like a token, it is cut: a client may put its token into a path."""
    path = {"event": "request", "time": TIME, "method": JWT, "path": f"/products/{JWT}?x", "status": 404}
    found = [
        event(path | {"duration_ms": 1, "request_id": JWT}),
        event({**CALL, **{name: f"a {JWT} b" for name, value in CALL.items() if isinstance(value, str)}} | path),
        event(CALL | dict.fromkeys(("caller", "user", "audience", "mode", "one_time_id", "reason", "token"), JWT)),
    ]
    assert JWT.rpartition(".")[2] not in str(found)
    assert "eyJhbGci" not in str(found)
    assert without_tokens(f"/products/{JWT}?x") == "/products/eyJ…(cut)?x"


def test_a_long_text_is_cut() -> None:
    """The text of a record may be as long as its sender likes; that of an event is not."""
    assert len(without_tokens("x" * 10_000)) < 500


def test_the_events_of_all_logs_are_in_the_order_of_time(tmp_path: Path) -> None:
    """Events of several logs are read in the order in which they happened. Lines that are not records are skipped."""
    late, early = CALL | {"time": "2026-01-01T12:00:03Z"}, CALL | {"time": "2026-01-01T12:00:01Z"}
    (tmp_path / "product.log").write_text(f"{json.dumps(late)}\nTraceback:\n")
    (tmp_path / "user.log").write_text(f">  {json.dumps(early)}\n")
    events = read_events({name: tmp_path / f"{name}.log" for name in ("product", "user")})
    assert [event.process for event in events] == ["user", "product"]
    assert of_kind(events, CallEvent) == events
    assert of_kind(events, SignInEvent) == []
