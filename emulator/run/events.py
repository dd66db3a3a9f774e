"""What happened in the shop: typed events, each made of one record in the log of a process.

Records hold no tokens. If a text of one looks like a token anyway, for example because a client put it into a
path, it is cut.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from emulator.run.log_records import record_in

_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{4,}(\.[A-Za-z0-9_-]*)*")
_CUT = "eyJ…(cut)"
_MAX_CHARACTERS = 400
"""A text of a record may be as long as its sender likes."""


@dataclass(frozen=True, slots=True)
class CallEvent:
    """A call that a service or function verified. `process` is the name of the log that has the record.

    `one_time_id` and `token` are names, not secrets: the id that was spent, and the first eight characters of the
    token's SHA-256. `verify_ms` is how long the verification took, in milliseconds.
    """

    id: int
    time: float
    process: str
    caller: str | None
    user: str | None
    audience: str
    mode: str
    age_seconds: float | None
    one_time_id: str | None
    token: str | None
    verdict: str
    reason: str | None
    request_id: str | None
    verify_ms: float | None


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """A request that a service answered. `status` is None if the connection ended before the answer."""

    id: int
    time: float
    process: str
    method: str
    path: str
    status: int | None
    duration_ms: float
    request_id: str | None


@dataclass(frozen=True, slots=True)
class SignInEvent:
    """A sign-in of a service at Firebase for one audience: the custom token first, then its exchange.

    `in_stock` is the number of fresh tokens that the process had in stock then, without this one. In proof mode it is
    None.
    """

    id: int
    time: float
    process: str
    audience: str
    mode: str
    custom_token_ms: float
    sign_in_ms: float
    token: str
    in_stock: int | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class IdentityTokenEvent:
    """An identity token that a process fetched from its metadata server."""

    id: int
    time: float
    process: str
    took_ms: float
    request_id: str | None


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A request for a custom token, in the audit log of the token service.

    `token_id` is the first eight characters of the SHA-256 of the token's id, or of its key's thumbprint.
    """

    id: int
    time: float
    process: str
    service: str | None
    proven_by: str | None
    audience: str | None
    mode: str | None
    token_id: str | None
    verdict: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class HandOverEvent:
    """A delivery that Billing handed to the task queue. `is_refused` is true if the queue did not take it."""

    id: int
    time: float
    process: str
    is_refused: bool


Event: TypeAlias = CallEvent | RequestEvent | SignInEvent | IdentityTokenEvent | AuditEvent | HandOverEvent
E = TypeVar("E", bound=Event)


def event_of(record: dict[str, Any], process: str, number: int, read_at: float) -> Event | None:
    """Return the event of a record, or None for a record of another kind, and for one that lacks what it should have.

    `number` becomes its id. `read_at`, in seconds since the epoch, is its time if the record has none.
    """
    make = _MAKERS.get(str(record.get("event")))
    if make is None:
        return None
    try:
        time = _seconds(record["time"]) if "time" in record else read_at
        return make(record, number, time, process)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def read_events(logs: Mapping[str, Path]) -> list[Event]:
    """Return all events in log files, by the names of their processes, in the order of their times."""
    found: list[Event] = []
    for process, path in logs.items():
        for line in path.read_text(errors="replace").splitlines():
            if (record := record_in(line)) and (event := event_of(record, process, len(found), 0.0)):
                found.append(event)
    return sorted(found, key=lambda event: event.time)


def of_kind(events: Iterable[Event], kind: type[E]) -> list[E]:
    """Return the events of one kind, in their order."""
    return [event for event in events if isinstance(event, kind)]


def without_tokens(text: str) -> str:
    """Return the text with everything in it that looks like a JWT cut, and its end if it is very long."""
    shorter = text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
    return _JWT.sub(_CUT, shorter) if "eyJ" in shorter else shorter


def _call(record: dict[str, Any], number: int, time: float, process: str) -> CallEvent:
    return CallEvent(
        id=number,
        time=time,
        process=process,
        caller=_optional_text(record, "caller"),
        user=_optional_text(record, "user"),
        audience=_text(record, "audience"),
        mode=_text(record, "mode"),
        age_seconds=_optional_number(record, "age_seconds"),
        one_time_id=_optional_text(record, "one_time_id"),
        token=_optional_text(record, "token"),
        verdict=_text(record, "verdict"),
        reason=_optional_text(record, "reason"),
        request_id=_optional_text(record, "request_id"),
        verify_ms=_optional_number(record, "verify_ms"),
    )


def _request(record: dict[str, Any], number: int, time: float, process: str) -> RequestEvent:
    status = record["status"]
    return RequestEvent(
        id=number,
        time=time,
        process=process,
        method=_text(record, "method"),
        path=_text(record, "path"),
        status=None if status is None else int(status),
        duration_ms=_number(record, "duration_ms"),
        request_id=_optional_text(record, "request_id"),
    )


def _sign_in(record: dict[str, Any], number: int, time: float, process: str) -> SignInEvent:
    in_stock = record.get("in_stock")
    return SignInEvent(
        id=number,
        time=time,
        process=process,
        audience=_text(record, "audience"),
        mode=_text(record, "mode"),
        custom_token_ms=_number(record, "custom_token_ms"),
        sign_in_ms=_number(record, "sign_in_ms"),
        token=_text(record, "token"),
        in_stock=None if in_stock is None else int(in_stock),
        request_id=_optional_text(record, "request_id"),
    )


def _identity_token(record: dict[str, Any], number: int, time: float, process: str) -> IdentityTokenEvent:
    return IdentityTokenEvent(number, time, process, _number(record, "took_ms"), _optional_text(record, "request_id"))


def _audit(record: dict[str, Any], number: int, time: float, process: str) -> AuditEvent:
    return AuditEvent(
        id=number,
        time=time,
        process=process,
        service=_optional_text(record, "service"),
        proven_by=_optional_text(record, "proven_by"),
        audience=_optional_text(record, "audience"),
        mode=_optional_text(record, "mode"),
        token_id=_optional_text(record, "token_id"),
        verdict=_text(record, "verdict"),
        reason=_optional_text(record, "reason"),
    )


def _hand_over(record: dict[str, Any], number: int, time: float, process: str) -> HandOverEvent:
    return HandOverEvent(number, time, process, "reason" in record)


_MAKERS: dict[str, Callable[[dict[str, Any], int, float, str], Event]] = {
    "call": _call,
    "request": _request,
    "signed in": _sign_in,
    "identity token": _identity_token,
    "token": _audit,
    "hand_over": _hand_over,
}
"""The names of the records that become events."""


def _text(record: dict[str, Any], name: str) -> str:
    return without_tokens(str(record[name]))


def _optional_text(record: dict[str, Any], name: str) -> str | None:
    value = record.get(name)
    return None if value is None else without_tokens(str(value))


def _number(record: dict[str, Any], name: str) -> float:
    """Return a number of a record. Python's JSON has Infinity and NaN too, which would spoil what is counted."""
    value = float(record[name])
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}")
    return value


def _optional_number(record: dict[str, Any], name: str) -> float | None:
    return None if record.get(name) is None else _number(record, name)


def _seconds(time: str) -> float:
    """Return an ISO 8601 time as seconds since the epoch."""
    return datetime.fromisoformat(time).timestamp()
