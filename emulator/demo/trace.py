"""One call, hop by hop, put together from the log lines of everyone who took part."""

from dataclasses import dataclass
from typing import Any

from emulator.demo.calls import LoggedCall, first_accepted_call, log_lines
from emulator.run.errors import Unexpected
from emulator.run.stack import Stack
from mstoken.claims import log_name, service_uid


@dataclass(frozen=True)
class Hop:
    """One hop of a call: where it went, what happened there, and how long that took, in milliseconds."""

    where: str
    what: str
    took_ms: float


def trace_first_call(stack: Stack, caller: str, callee: str) -> list[Hop]:
    """Return the hops of the first call of `caller` ("billing") that `callee` accepted.

    Raises Unexpected if a log line of a hop is missing.
    """
    call = first_accepted_call(stack, service_uid(caller), callee)
    caller_lines, callee_lines = log_lines(stack, caller), log_lines(stack, callee)
    signed_in = _first_line(caller_lines, caller, event="signed in", token=call.token)
    identity = _first_line(caller_lines, caller, event="identity token")
    audit = _first_line(
        log_lines(stack, "emulators"), "the token service", event="token", token_id=_audited_token_id(call)
    )
    accepted = _first_line(callee_lines, callee, event="call", token=call.token, verdict="accepted")
    request = _first_line(callee_lines, callee, event="request", request_id=accepted["request_id"])
    good_for = "bound to its key" if call.mode == "proof" else "for one call"
    spent = "its proof" if call.mode == "proof" else "the token"
    return [
        Hop("metadata server", f"{caller} gets an identity token for {audit['proven_by']}", identity["took_ms"]),
        Hop(
            "function token",
            f"the policy allows {audit['service']} to call {audit['audience']}; a custom token is {audit['verdict']}",
            round(max(0.0, signed_in["custom_token_ms"] - identity["took_ms"]), 1),
        ),
        Hop(
            "Firebase Auth",
            f"{call.caller} signs in and gets an ID token for {callee}, {good_for}",
            signed_in["sign_in_ms"],
        ),
        Hop(
            callee,
            f"{request['method']} {request['path']}: {call.caller} is verified and allowed, {spent} is spent, "
            f"the answer is {request['status']}",
            request["duration_ms"],
        ),
    ]


def _audited_token_id(call: LoggedCall) -> str:
    """Return the token's id in the audit log of the token service.

    It is a hash of the token's id or, in proof mode, of the thumbprint of its key.
    """
    return log_name(call.one_time_id.partition(".")[0])


def _first_line(lines: list[dict[str, Any]], owner: str, **members: str) -> dict[str, Any]:
    """Return the first line that has these members. Raises Unexpected if there is none in the log of `owner`."""
    for line in lines:
        if members.items() <= line.items():
            return line
    raise Unexpected(f"The log of {owner} has no line with {members}.")
