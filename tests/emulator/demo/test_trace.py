"""The hops of a call, put together from the logs of everyone who took part."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from emulator.demo.trace import trace_first_call
from emulator.run.errors import Unexpected
from emulator.run.ports import Ports
from emulator.run.stack import SERVICES, Stack

ID = "one-time-id"
CALL = {
    "event": "call",
    "time": "2026-01-01T12:00:02Z",
    "caller": "svc:billing",
    "audience": "product",
    "mode": "fresh",
    "age_seconds": 1,
    "one_time_id": ID,
    "token": "0a1b2c3d",
    "verdict": "accepted",
    "request_id": "r1",
}
REQUEST = {
    "event": "request",
    "request_id": "r1",
    "method": "GET",
    "path": "/products",
    "status": 200,
    "duration_ms": 3.4,
}
IDENTITY = {"event": "identity token", "took_ms": 5.0}
SIGNED_IN = {
    "event": "signed in",
    "audience": "product",
    "token": "0a1b2c3d",
    "custom_token_ms": 12.5,
    "sign_in_ms": 2.1,
}


def audit(one_time_id: str = ID) -> dict[str, Any]:
    return {
        "event": "token",
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


def test_a_call_has_four_hops_with_their_times(tmp_path: Path) -> None:
    """The hops are the metadata server, the token service, Firebase and the callee, with the times from their logs."""
    stack = logged(
        tmp_path, product=[CALL, REQUEST], billing=[IDENTITY, SIGNED_IN], functions=[audit("other"), audit()]
    )
    hops = trace_first_call(stack, "billing", "product")
    assert [(hop.where, hop.took_ms) for hop in hops] == [
        ("metadata server", 5.0),
        ("function token", 7.5),
        ("Firebase Auth", 2.1),
        ("product", 3.4),
    ]
    assert "billing@demo-shop" in hops[0].what
    assert "is issued" in hops[1].what
    assert "GET /products" in hops[3].what


def test_in_proof_mode_the_audit_line_is_found_by_the_key(tmp_path: Path) -> None:
    """A call with a proof spends the key's thumbprint and the proof's id; the audit line has only the thumbprint."""
    call = CALL | {"mode": "proof", "one_time_id": "thumbprint.proof-id"}
    stack = logged(tmp_path, product=[call, REQUEST], billing=[IDENTITY, SIGNED_IN], functions=[audit("thumbprint")])
    hops = trace_first_call(stack, "billing", "product")
    assert "bound to its key" in hops[2].what
    assert "its proof is spent" in hops[3].what


@pytest.mark.parametrize("missing", ["identity", "signed in", "audit", "request"])
def test_a_missing_log_line_is_an_error(tmp_path: Path, missing: str) -> None:
    """If the log line of a hop is missing, Unexpected is raised."""
    stack = logged(
        tmp_path,
        product=[CALL] if missing == "request" else [CALL, REQUEST],
        billing=[line for name, line in (("identity", IDENTITY), ("signed in", SIGNED_IN)) if name != missing],
        functions=[] if missing == "audit" else [audit()],
    )
    with pytest.raises(Unexpected, match="has no line"):
        trace_first_call(stack, "billing", "product")
