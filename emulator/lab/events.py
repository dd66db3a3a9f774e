"""What the lab knows about what happened: typed events, each made of one record in a log of the shop.

Records hold no tokens. If a text of one looks like a token anyway, for example because a client put it into a
path, it is cut.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

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
    """A sign-in of a service at Firebase for one audience: the custom token first, then its exchange."""

    id: int
    time: float
    process: str
    audience: str
    mode: str
    custom_token_ms: float
    sign_in_ms: float
    token: str
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
class StockEvent:
    """The number of fresh tokens that a process has in stock for one audience."""

    id: int
    time: float
    process: str
    audience: str
    tokens: int


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


Event: TypeAlias = CallEvent | RequestEvent | SignInEvent | IdentityTokenEvent | StockEvent | AuditEvent


def event_of(record: dict[str, Any], process: str, number: int, read_at: float) -> Event | None:
    """Return the event of a record, or None for a record of another kind, and for one that lacks what it should have.

    `number` becomes its id. `read_at`, in seconds since the epoch, is its time if the record has none.
    """
    try:
        return _event_of(record, process, number, read_at)
    except (KeyError, TypeError, ValueError):
        return None


def without_tokens(text: str) -> str:
    """Return the text with everything in it that looks like a JWT cut, and its end if it is very long."""
    shorter = text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}…"
    return _JWT.sub(_CUT, shorter) if "eyJ" in shorter else shorter


def _event_of(record: dict[str, Any], process: str, number: int, read_at: float) -> Event | None:
    name = record.get("event")
    if name not in _KINDS:
        return None
    time = _seconds(record["time"]) if "time" in record else read_at
    if name == "call":
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
    if name == "request":
        status = record["status"]
        return RequestEvent(
            id=number,
            time=time,
            process=process,
            method=_text(record, "method"),
            path=_text(record, "path"),
            status=None if status is None else int(status),
            duration_ms=float(record["duration_ms"]),
            request_id=_optional_text(record, "request_id"),
        )
    if name == "signed in":
        return SignInEvent(
            id=number,
            time=time,
            process=process,
            audience=_text(record, "audience"),
            mode=_text(record, "mode"),
            custom_token_ms=float(record["custom_token_ms"]),
            sign_in_ms=float(record["sign_in_ms"]),
            token=_text(record, "token"),
            request_id=_optional_text(record, "request_id"),
        )
    if name == "identity token":
        took_ms = float(record["took_ms"])
        return IdentityTokenEvent(number, time, process, took_ms, _optional_text(record, "request_id"))
    if name == "stock":
        return StockEvent(number, time, process, _text(record, "audience"), int(record["tokens"]))
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


_KINDS = frozenset({"call", "request", "signed in", "identity token", "stock", "token"})
"""The names of the records that become events."""


def _text(record: dict[str, Any], name: str) -> str:
    return without_tokens(str(record[name]))


def _optional_text(record: dict[str, Any], name: str) -> str | None:
    value = record.get(name)
    return None if value is None else without_tokens(str(value))


def _optional_number(record: dict[str, Any], name: str) -> float | None:
    value = record.get(name)
    return None if value is None else float(value)


def _seconds(time: str) -> float:
    """Return an ISO 8601 time as seconds since the epoch."""
    return datetime.fromisoformat(time).timestamp()
