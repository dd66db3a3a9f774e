"""The calls between services, read from the log line that each callee writes about each call."""

from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from emulator.run.errors import Unexpected
from emulator.run.log_records import record_in
from emulator.run.stack import SERVICES, Stack
from mstoken.wire import MODES, Mode


@dataclass(frozen=True)
class LoggedCall:
    """One call that a service verified. Logs never contain the token itself."""

    caller: str
    callee: str
    audience: str
    mode: Mode
    age_seconds: float
    """The age of the token or, in proof mode, of the proof."""
    one_time_id: str
    """The id that the call spent."""
    token: str
    """The first eight characters of the token's SHA-256, in hexadecimal."""
    verdict: str


def service_calls(stack: Stack) -> list[LoggedCall]:
    """Return all calls between services so far, in the order in which the callees logged them."""
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
    """Return the first call of `caller` ("svc:billing") that `callee` accepted. Raises Unexpected if there is none."""
    for call in service_calls(stack):
        if (call.caller, call.callee, call.verdict) == (caller, callee, "accepted"):
            return call
    raise Unexpected(f"The log of {callee} has no accepted call from {caller}.")


def log_lines(stack: Stack, service: str) -> list[dict[str, Any]]:
    """Return the JSON lines in the log of a service, or of the "emulators". Other lines are skipped."""
    return [record for line in stack.log(service).read_text().splitlines() if (record := record_in(line)) is not None]
