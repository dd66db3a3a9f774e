"""The whole way of a call, hop by hop, put together from what everybody on it has logged."""

from dataclasses import dataclass
from typing import Any

from emulator.demo.calls import LoggedCall, first_accepted_call, log_lines
from emulator.run.errors import Unexpected
from emulator.run.stack import Stack
from mstoken.claims import log_name


@dataclass(frozen=True)
class Hop:
    """Where somebody went, what came of it, and how long it took, in milliseconds."""

    where: str
    what: str
    took_ms: float


def trace_first_call(stack: Stack, caller: str, callee: str) -> list[Hop]:
    """The way of the first call of one service ("billing") to another that was accepted.

    Raises Unexpected where the log of somebody on the way has nothing of it.
    """
    call = first_accepted_call(stack, f"svc:{caller}", callee)
    told = log_lines(stack, caller)
    signed_in = _only(told, caller, event="signed in", token=call.token)
    identity = _only(told, caller, event="identity token")
    audit = _only(log_lines(stack, "emulators"), "the token service", message="token", token_id=_token_id(call))
    arrived = _only(log_lines(stack, callee), callee, event="call", token=call.token, verdict="accepted")
    request = _only(log_lines(stack, callee), callee, event="request", request_id=arrived["request_id"])
    bound = "bound to its key" if call.mode == "proof" else "for one call"
    spent = "its proof" if call.mode == "proof" else "the token"
    return [
        Hop("metadata server", f"{caller} gets an identity token: {audit['proven_by']}", identity["took_ms"]),
        Hop(
            "function token",
            f"policy lets {audit['service']} call {audit['audience']}: a custom token is {audit['verdict']}",
            round(max(0.0, signed_in["custom_token_ms"] - identity["took_ms"]), 1),
        ),
        Hop("Firebase Auth", f"{call.caller} is signed in: an ID token for {callee}, {bound}", signed_in["sign_in_ms"]),
        Hop(
            callee,
            f"{request['method']} {request['path']}: {call.caller} is verified and allowed, {spent} is spent, "
            f"{request['status']}",
            request["duration_ms"],
        ),
    ]


def _token_id(call: LoggedCall) -> str:
    """What the token service's audit calls the token: by the hash of its id, or of the thumbprint of its key."""
    return log_name(call.one_time_id.partition(".")[0])


def _only(lines: list[dict[str, Any]], whose: str, **wanted: str) -> dict[str, Any]:
    """The first line with these members."""
    for line in lines:
        if wanted.items() <= line.items():
            return line
    raise Unexpected(f"The log of {whose} has no line with {wanted}.")
