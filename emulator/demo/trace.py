"""One call, hop by hop, from the minting of its token to the answer, put together from the logs of all processes."""

from collections.abc import Iterable
from dataclasses import dataclass

from emulator.demo.calls import first_accepted_call
from emulator.run.errors import Unexpected
from emulator.run.events import (
    AuditEvent,
    CallEvent,
    Event,
    IdentityTokenEvent,
    RequestEvent,
    SignInEvent,
    of_kind,
    read_events,
)
from emulator.run.stack import LOGS, Stack
from mstoken.claims import log_name, service_uid
from mstoken.wire import UID_PREFIX

FUNCTIONS = "emulators"
"""The name of the log that functions write into."""
CALLING_FUNCTION = "delivery"
"""The only service that is a function and calls others."""
_SAME_MOMENT_SECONDS = 0.005
"""How far two records of the same moment may be apart: durations are rounded, and their clock is another one."""


@dataclass(frozen=True)
class Hop:
    """One hop of a call: where it went, what happened there, when it began, and how long it took.

    `began` is in seconds since the epoch.
    """

    where: str
    what: str
    began: float
    took_ms: float

    @property
    def ended(self) -> float:
        """When the hop ended, in seconds since the epoch."""
        return self.began + self.took_ms / 1000


@dataclass(frozen=True)
class Trace:
    """A call from the minting of its token to the answer.

    The sign-in is often earlier than the call: a fresh token may wait in stock, and a bound token is used for an hour.
    `around` is the request that the caller was answering when it called. `parts` are what the callee did, and `status`
    is the status of its answer. `missing` says, in sentences, what is not in the logs.
    """

    sign_in: list[Hop]
    around: Hop | None
    callee: Hop | None
    parts: list[Hop]
    status: int | None
    missing: list[str]

    @property
    def waited_seconds(self) -> float | None:
        """How long the token was kept between its sign-in and the call. None if either is not in the logs.

        It is 0 if the call waited for the sign-in.
        """
        if not self.sign_in or self.callee is None:
            return None
        return max(0.0, self.callee.began - self.sign_in[-1].ended)


def trace_first_call(stack: Stack, caller: str, callee: str) -> list[Hop]:
    """Return the hops of the first call of `caller` ("billing") that `callee` accepted.

    Raises Unexpected if a log line of a hop is missing.
    """
    call = first_accepted_call(stack, service_uid(caller), callee)
    trace = trace_call(call, read_events({name: path for name in LOGS if (path := stack.log(name)).exists()}))
    if trace.missing:
        raise Unexpected(" ".join(trace.missing))
    assert trace.callee is not None  # noqa: S101 - it would be missing
    return [*trace.sign_in, trace.callee]


def trace_call(call: CallEvent, events: Iterable[Event]) -> Trace:
    """Return what the events tell about a call. `events` are those of all logs."""
    everything = list(events)
    requests = of_kind(everything, RequestEvent)
    missing: list[str] = []
    sign_in = [] if call.mode == "user" else _sign_in(call, everything, missing)
    service = service_of(call)
    outer = _around(call, service, requests) if service is not None else None
    request = request_of(call, requests)
    if request is None:
        missing.append(f"The log of {call.process} has no record of the request.")
    callee = _hop(request, f"{_verdict(call)}, the answer is {request.status}") if request is not None else None
    return Trace(
        sign_in=sign_in,
        around=_hop(outer, f"the answer is {outer.status}; this call is a part of the work") if outer else None,
        callee=callee,
        parts=_parts(call, callee),
        status=request.status if request is not None else None,
        missing=missing,
    )


def service_of(call: CallEvent) -> str | None:
    """Return the name of the service that made a call ("billing"), or None for a user and for an unknown caller."""
    is_service = call.caller is not None and call.caller.startswith(UID_PREFIX)
    return call.caller.removeprefix(UID_PREFIX) if call.caller is not None and is_service else None


def request_of(call: CallEvent, requests: Iterable[RequestEvent]) -> RequestEvent | None:
    """Return the request that a call was, or None if it is not among `requests`.

    One request of a customer can lead to several calls, which all have its id. So the time decides as well.
    """
    return _around(call, call.process, requests)


def _around(call: CallEvent, process: str, requests: Iterable[RequestEvent]) -> RequestEvent | None:
    """Return the request at a process during which a call was verified. None for a call without a request id."""
    if call.request_id is None:
        return None
    found = (
        request
        for request in requests
        if request.process == process
        and request.request_id == call.request_id
        and request.time - request.duration_ms / 1000 - _SAME_MOMENT_SECONDS <= call.time
        and call.time <= request.time + _SAME_MOMENT_SECONDS
    )
    return min(found, key=lambda request: request.time, default=None)


def _sign_in(call: CallEvent, events: list[Event], missing: list[str]) -> list[Hop]:
    """Return the hops that led to a call's token. Add to `missing` what is not in the logs."""
    sign_in = next((event for event in of_kind(events, SignInEvent) if event.token == call.token), None)
    if sign_in is None:
        missing.append(
            "The sign-in for this token is not in the logs. Either it is too long ago, or the token is forged, or a"
            " program signed in that is not a process of the shop, such as the lab."
        )
        return []
    service = CALLING_FUNCTION if sign_in.process == FUNCTIONS else sign_in.process
    sign_in_began = sign_in.time - sign_in.sign_in_ms / 1000
    mint_began, mint_ms = sign_in_began - sign_in.custom_token_ms / 1000, sign_in.custom_token_ms
    audit = _audit_of(call, of_kind(events, AuditEvent))
    identity = _identity_before(sign_in, of_kind(events, IdentityTokenEvent))
    if audit is None:
        missing.append("The audit record of the token service about this token is not in the logs.")
    if identity is None:
        missing.append(f"The log of {service} has no record of its identity token.")
    hops = []
    if identity is not None:
        proven_by = audit.proven_by if audit else "its account"
        fetched = Hop("metadata server", f"{service} gets an identity token for {proven_by}", identity[0], identity[1])
        hops.append(fetched)
        if fetched.began >= mint_began - _SAME_MOMENT_SECONDS:
            mint_began, mint_ms = fetched.ended, round(max(0.0, mint_ms - fetched.took_ms), 1)
    if audit is not None:
        what = f"the policy allows {audit.service} to call {audit.audience}; a custom token is {audit.verdict}"
    else:
        what = f"{service} gets a custom token for {sign_in.audience}"
    good_for = "bound to its key" if sign_in.mode == "proof" else "for one call"
    return [
        *hops,
        Hop("function token", what, mint_began, mint_ms),
        Hop(
            "Firebase Auth",
            f"{service_uid(service)} signs in and gets an ID token for {sign_in.audience}, {good_for}",
            sign_in_began,
            sign_in.sign_in_ms,
        ),
    ]


def _audit_of(call: CallEvent, audits: Iterable[AuditEvent]) -> AuditEvent | None:
    """Return the audit record of the custom token that a call's token was made of.

    It has a hash of the token's id or, in proof mode, of the thumbprint of its key.
    """
    if call.one_time_id is None:
        return None
    token_id = log_name(call.one_time_id.partition(".")[0])
    return next((audit for audit in audits if audit.token_id == token_id and audit.audience == call.audience), None)


def _identity_before(sign_in: SignInEvent, fetched: Iterable[IdentityTokenEvent]) -> tuple[float, float] | None:
    """Return when the identity token that a sign-in used was fetched, and how many milliseconds that took."""
    before = [event for event in fetched if event.process == sign_in.process and event.time <= sign_in.time]
    if not before:
        return None
    newest = max(before, key=lambda event: event.time)
    return newest.time - newest.took_ms / 1000, newest.took_ms


def _hop(request: RequestEvent, what: str) -> Hop:
    began = request.time - request.duration_ms / 1000
    return Hop(request.process, f"{request.method} {request.path}: {what}", began, request.duration_ms)


def _parts(call: CallEvent, callee: Hop | None) -> list[Hop]:
    """Return what the callee did during a request: the verification, and the work after it."""
    if callee is None or call.verify_ms is None:
        return []
    verified = min(max(call.time, callee.began), callee.ended)
    verify_ms = min(call.verify_ms, (verified - callee.began) * 1000)
    is_accepted = call.verdict == "accepted"
    checks = "all checks, in their order" if is_accepted else "the checks, up to the one that refuses"
    work = "the work of the route, and the answer" if is_accepted else "the refusal, as problem details"
    return [
        Hop("verification", checks, verified - verify_ms / 1000, verify_ms),
        Hop("answer", work, verified, (callee.ended - verified) * 1000),
    ]


def _verdict(call: CallEvent) -> str:
    if call.verdict != "accepted":
        return f"{call.caller or 'an unknown caller'} is refused with {call.verdict}"
    if call.mode == "user":
        return f"{call.caller} is verified and allowed"
    spent = "its proof" if call.mode == "proof" else "the token"
    return f"{call.caller} is verified and allowed, {spent} is spent"
