"""`mstoken inspect`: show what a token says, and what is visibly wrong with it.

Nothing is verified, no key is read and no connection is made.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

import typer

from mstoken import strict_jwt, wire
from mstoken.claims import ServiceClaims
from mstoken.cli.errors import FAILED
from mstoken.cli.options import JsonOption
from mstoken.cli.output import say, show_json, show_table
from mstoken.errors import TokenNotService
from mstoken.jwk import PRIVATE_MEMBERS

CONTEXT_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Without these, Typer would repeat an unexpected argument in its error, and it may be a part of a token."""
NOT_VERIFIED = "NOT VERIFIED: anyone can write a token that says this."
MAX_INPUT_CHARACTERS = 1_000_000

_ID_TOKEN_ISSUER = "https://securetoken.google.com/"
_CUSTOM_TOKEN_AUDIENCE = "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit"
_GOOGLE_ISSUERS = ("https://accounts.google.com", "accounts.google.com")
_MINTED = f"{wire.SERVICE_CLAIM}.iat"
"""What the table calls the time of minting."""
_TIMES = (_MINTED, "iat", "auth_time", "exp")


class TokenKind(NamedTuple):
    """A kind of token in words, and what must be true of it: the algorithm, the audience and the age."""

    description: str
    algorithm: str | None = None
    audience_variable: str | None = None
    """The environment variable that names the expected audience."""
    max_age_seconds: int | None = None
    """Maximum age in seconds since the minting and the sign-in or, without these, since the token was issued."""


_PROJECT, _TOKEN_SERVICE = "GOOGLE_CLOUD_PROJECT", "MSTOKEN_TOKEN_SERVICE_URL"
KINDS = {
    "service_token_fresh": TokenKind(
        "a fresh service token, for one call", "RS256", _PROJECT, wire.FRESH_TOKEN_MAX_AGE_SECONDS
    ),
    "service_token_bound": TokenKind(
        "a bound service token: each call also needs a proof",
        "RS256",
        _PROJECT,
        wire.BOUND_TOKEN_MAX_AGE_SECONDS + wire.CLOCK_SKEW_SECONDS,
    ),
    "service_token": TokenKind("an ID token, similar to a service token but not a valid one", "RS256", _PROJECT),
    "user_id_token": TokenKind("a user's ID token", "RS256", _PROJECT),
    "custom_token": TokenKind("a custom token, for signing in to Firebase", "RS256"),
    "google_identity_token": TokenKind("a Google identity token, for the token service", "RS256", _TOKEN_SERVICE),
    "assertion": TokenKind(
        "an assertion, for the token service", wire.SIGNATURE_ALGORITHM, _TOKEN_SERVICE, wire.ASSERTION_MAX_AGE_SECONDS
    ),
    "proof": TokenKind(
        "a proof (DPoP), for a call with a bound token", wire.SIGNATURE_ALGORITHM, None, wire.PROOF_MAX_AGE_SECONDS
    ),
    "unknown": TokenKind("a JWT of a kind that no service here accepts"),
    "malformed": TokenKind("not a JWT"),
}


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a token says. `times` are in words; `errors` maps a stable name to a sentence. Nothing is verified."""

    kind: str
    header: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    times: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


def inspect(
    context: typer.Context,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help='The token, or "-" to read it from stdin.')],
    as_json: JsonOption = False,
) -> None:
    """Show what a token says, and what is visibly wrong with it.

    The signature is not verified, so exit status 0 does not mean that the token is genuine. The exit status is 1 if
    something is wrong. Use stdin to keep the token out of the history of your shell.

    If GOOGLE_CLOUD_PROJECT and MSTOKEN_TOKEN_SERVICE_URL are set, the audience of the token is compared with them.
    """
    if context.args:
        raise typer.BadParameter("expected one token. Put it in quotes if there are spaces around it.")
    text = typer.get_text_stream("stdin").read(MAX_INPUT_CHARACTERS) if token == "-" else token
    inspection = inspected(text.strip(), time.time(), os.environ)
    if as_json:
        show_json({"verified": False} | asdict(inspection))
    else:
        _show(inspection)
    if inspection.errors:
        raise typer.Exit(FAILED)


def inspected(token: str, now: float, environment: Mapping[str, str]) -> Inspection:
    """Return what can be seen of `token` at the time `now`, in seconds since the epoch."""
    try:
        jwt = strict_jwt.unverified(token)
    except ValueError as error:
        return Inspection("malformed", errors={"malformed": f"It is {error}."})
    kind, not_service = _kind(jwt.header, jwt.payload)
    header = {name: _without_private_members(value) for name, value in jwt.header.items()}
    seconds = _times(jwt.payload)
    ages = {name: now - value for name, value in seconds.items()}
    times = {name: _in_words(seconds[name], age) for name, age in ages.items()}
    errors = dict(_errors(KINDS[kind], jwt, ages, environment))
    if not_service:
        errors["not_service"] = not_service
    return Inspection(kind, header, jwt.payload, times, errors)


def _kind(header: Mapping[str, Any], claims: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of the kind; for an ID token that looks like a service token, also why it is not a valid one."""
    issuer, subject = str(claims.get("iss", "")), str(claims.get("sub", ""))
    if header.get("typ") == wire.PROOF_TYPE:
        return "proof", ""
    if claims.get("aud") == _CUSTOM_TOKEN_AUDIENCE:
        return "custom_token", ""
    if issuer in _GOOGLE_ISSUERS:
        return "google_identity_token", ""
    if issuer.startswith(_ID_TOKEN_ISSUER):
        if wire.SERVICE_CLAIM not in claims and not subject.startswith(wire.UID_PREFIX):
            return "user_id_token", ""
        try:
            mode = ServiceClaims.parse(claims).mode
        except TokenNotService as error:
            return "service_token", str(error)
        return "service_token_fresh" if mode == "fresh" else "service_token_bound", ""
    if issuer and issuer == subject and header.get("alg") == wire.SIGNATURE_ALGORITHM:
        return "assertion", ""
    return "unknown", ""


def _errors(
    kind: TokenKind, jwt: strict_jwt.Unverified, ages: Mapping[str, float], environment: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield a stable name and a sentence for everything that is visibly wrong."""
    algorithm, jwk, audience = jwt.header.get("alg"), jwt.header.get("jwk"), jwt.payload.get("aud")
    if algorithm == "none" or not jwt.signature:
        yield "unsigned", "It has no signature. Only an emulator accepts it."
    elif kind.algorithm not in (None, algorithm):
        yield "wrong_algorithm", f"It must be signed with {kind.algorithm}."
    if _without_private_members(jwk) != jwk:
        yield "private_key", "Its header contains a private key, which must not be used any more."
    if ages.get("exp", 0) >= wire.CLOCK_SKEW_SECONDS:
        yield "expired", f"It expired {_duration(ages['exp'])} ago."
    if any(ages.get(name, 0) < -wire.CLOCK_SKEW_SECONDS for name in (_MINTED, "iat", "auth_time")):
        yield "from_the_future", "It was issued in the future, by the clock of this machine."
    age = max((ages[name] for name in (_MINTED, "auth_time") if name in ages), default=ages.get("iat", 0))
    if kind.max_age_seconds is not None and age > kind.max_age_seconds:
        yield "stale", f"It is {_duration(age)} old. The maximum age is {kind.max_age_seconds} s."
    expected = environment.get(kind.audience_variable or "", "").rstrip("/")
    if expected and audience != expected:
        yield "wrong_audience", f"Its audience (aud) is not {expected}, the value of {kind.audience_variable}."


def _times(claims: Mapping[str, Any]) -> dict[str, int]:
    """Return each time among the claims, in seconds since the epoch. A custom token has its ms claim in `claims`."""
    developer_claims = claims.get("claims") if claims.get("aud") == _CUSTOM_TOKEN_AUDIENCE else claims
    ms = developer_claims.get(wire.SERVICE_CLAIM) if isinstance(developer_claims, dict) else None
    values = {**claims, _MINTED: ms.get("iat") if isinstance(ms, dict) else None}
    times = {}
    for name in _TIMES:
        with suppress(ValueError):
            times[name] = strict_jwt.seconds(values, name)
    return times


def _in_words(seconds: int, age: float) -> str:
    words = f"{_duration(age)} ago" if age >= 0 else f"in {_duration(-age)}"
    with suppress(OverflowError, OSError, ValueError):  # The calendar ends in the year 9999.
        words += datetime.fromtimestamp(seconds, UTC).strftime(", at %Y-%m-%d %H:%M:%S UTC")
    return words


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _without_private_members(value: Any) -> Any:
    """Return a JWK with its private members hidden, and any other value unchanged."""
    if not isinstance(value, dict):
        return value
    return {name: "(hidden)" if name in PRIVATE_MEMBERS else member for name, member in value.items()}


def _show(inspection: Inspection) -> None:
    say(f"{NOT_VERIFIED}\n\nIt is {KINDS[inspection.kind].description}.")
    for title, values in (("HEADER", inspection.header), ("CLAIM", inspection.claims)):
        if values:
            say("")
            show_table((title, ""), ((name, json.dumps(value, ensure_ascii=False)) for name, value in values.items()))
    if inspection.times:
        say("")
        show_table(("TIME", ""), inspection.times.items())
    say("")
    if not inspection.errors:
        say("Nothing is visibly wrong. Only the service that it is for can verify it.")
    for text in inspection.errors.values():
        say(f"WRONG  {text}")
