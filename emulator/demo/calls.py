"""The calls between services, read from the log line that each callee writes about each call."""

from typing import Any

from emulator.run.errors import Unexpected
from emulator.run.events import CallEvent, of_kind, read_events
from emulator.run.log_records import record_in
from emulator.run.stack import SERVICES, Stack
from mstoken.wire import MODES


def service_calls(stack: Stack) -> list[CallEvent]:
    """Return all calls between services so far, in the order in which they happened."""
    events = read_events({service: stack.log(service) for service in SERVICES})
    return [call for call in of_kind(events, CallEvent) if call.mode in MODES]


def first_accepted_call(stack: Stack, caller: str, callee: str) -> CallEvent:
    """Return the first call of `caller` ("svc:billing") that `callee` accepted. Raises Unexpected if there is none."""
    for call in service_calls(stack):
        if (call.caller, call.process, call.verdict) == (caller, callee, "accepted"):
            return call
    raise Unexpected(f"The log of {callee} has no accepted call from {caller}.")


def log_lines(stack: Stack, service: str) -> list[dict[str, Any]]:
    """Return the JSON lines in the log of a service, or of the "emulators". Other lines are skipped."""
    return [record for line in stack.log(service).read_text().splitlines() if (record := record_in(line)) is not None]
