"""The calls between services, read from the lines that each callee logs about who called it."""

import json
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from emulator.run.errors import Unexpected
from emulator.run.stack import SERVICES, Stack
from mstoken.wire import MODES, Mode

FUNCTION_LOG = ">  "
"""What the functions emulator puts before a line that a function logs."""


@dataclass(frozen=True)
class LoggedCall:
    """One call that a service verified: in which mode, how old the token or the proof was, and the id that it spent.

    The token itself is in no log.
    """

    caller: str
    callee: str
    audience: str
    mode: Mode
    age_seconds: float
    one_time_id: str
    token: str
    """The first eight characters of the token's SHA-256, hexadecimal."""
    verdict: str


def service_calls(stack: Stack) -> list[LoggedCall]:
    """Every call of a service to a service so far, in the order in which the callees logged them."""
    found = [
        (str(line["time"]), service, line)
        for service in SERVICES
        for line in log_lines(stack, service)
        if line.get("event") == "call" and line.get("mode") in MODES
    ]
    return [
        LoggedCall(
            caller=line["caller"],
            callee=service,
            audience=line["audience"],
            mode=line["mode"],
            age_seconds=line["age_seconds"],
            one_time_id=line["one_time_id"],
            token=line["token"],
            verdict=line["verdict"],
        )
        for _, service, line in sorted(found, key=itemgetter(0))
    ]


def first_accepted_call(stack: Stack, caller: str, callee: str) -> LoggedCall:
    """The first call of caller ("svc:billing") that callee accepted. Raises Unexpected when there is none."""
    for call in service_calls(stack):
        if (call.caller, call.callee, call.verdict) == (caller, callee, "accepted"):
            return call
    raise Unexpected(f"The log of {callee} shows no call of {caller} that was accepted.")


def log_lines(stack: Stack, service: str) -> list[dict[str, Any]]:
    """The structured lines of the log of a service, or of the functions among the "emulators"; anything else in it is
    passed over.
    """
    found = []
    for text in stack.log(service).read_text().splitlines():
        try:
            line = json.loads(text.removeprefix(FUNCTION_LOG))
        except ValueError:
            continue
        if isinstance(line, dict):
            found.append(line)
    return found
