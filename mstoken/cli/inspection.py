"""`mstoken inspect`: what a token says of itself, and what is wrong with it as far as one can see.

Nothing here verifies anything, nor asks anybody: no key is read, and no connection made.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

import typer

from mstoken import strict_jwt
from mstoken.claims import ServiceClaims
from mstoken.cli.failures import NO
from mstoken.cli.output import JsonOption, say, show_json, show_table
from mstoken.errors import TokenNotService
from mstoken.jwk import thumbprint
from mstoken.wire import (
    ASSERTION_MAX_AGE_SECONDS,
    CLOCK_SKEW_SECONDS,
    FRESH_TOKEN_MAX_AGE_SECONDS,
    ID_TOKEN_LIFETIME_SECONDS,
    MAX_TOKEN_BYTES,
    PROOF_MAX_AGE_SECONDS,
    UID_PREFIX,
)

CONTEXT_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Typer would repeat what it does not expect; it may be a token that was not quoted."""
NOT_VERIFIED = "NOT VERIFIED: this is what the token says of itself. Anybody can write one that says the same."
LARGEST_INPUT_CHARACTERS = 1_000_000

_ID_TOKEN_ISSUER = "https://securetoken.google.com/"
_COOKIE_ISSUER = "https://session.firebase.google.com/"
_CUSTOM_TOKEN_AUDIENCE = "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit"
_GOOGLE_ISSUERS = ("https://accounts.google.com", "accounts.google.com")
_ASSERTION_ALGORITHMS = ("ES256", "EdDSA")
_PUBLIC_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops"})
"""What may be shown of a JWK; the rest may be a private key."""
_LONGEST_UID_CHARACTERS = 128

Kind: TypeAlias = Literal[
    "service_token_fresh",
    "service_token_bound",
    "service_token",
    "user_id_token",
    "custom_token",
    "google_identity_token",
    "assertion",
    "proof",
    "session_cookie",
    "unknown",
    "malformed",
]
KINDS: Mapping[Kind, str] = {
    "service_token_fresh": "a fresh service token, for one call",
    "service_token_bound": "a service token bound to a key, which counts with a proof for each call",
    "service_token": "an ID token that a service may have meant for a service token, and no callee will take for one",
    "user_id_token": "a user's ID token",
    "custom_token": "a custom token: to sign in with at Firebase, and not for calls",
    "google_identity_token": "an identity token of Google's, with which a service account proves who it is",
    "assertion": "an assertion, with which a service proves to the token service who it is",
    "proof": "a proof (DPoP), which goes with a bound service token",
    "session_cookie": "a Firebase session cookie, which is of no use here",
    "unknown": "a JWT of a kind that is not known here",
    "malformed": "no JWT",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong, by a stable `name` and in words."""

    name: str
    says: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a token says, and what is wrong with it. Nothing of it is verified."""

    kind: Kind
    header: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    """What follows from header and claims, in words."""
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token is looked at with: the time, in seconds since the epoch, and what it ought to be for, if known."""

    now: float
    project: str | None = None
    token_service: str | None = None


def inspect(
    context: typer.Context,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help='The token; "-" reads it from stdin.')],
    as_json: JsonOption = False,
) -> None:
    """Show what a token says, and what is wrong with it.

    Nothing is verified, and nobody asked. Nothing found (0) does not make it a good one: only who has its issuer's
    certificates can tell. Something found (1) makes it a bad one. Reading it from stdin keeps it out of the shell's
    history.

    GOOGLE_CLOUD_PROJECT and MSTOKEN_TOKEN_SERVICE_URL, where they are set, are what it ought to be for.
    """
    if context.args:
        raise typer.BadParameter("one token is wanted, in quotes where it has spaces around it.")
    text = typer.get_text_stream("stdin").read(LARGEST_INPUT_CHARACTERS) if token == "-" else token
    expected = Expected(
        time.time(), os.environ.get("GOOGLE_CLOUD_PROJECT"), os.environ.get("MSTOKEN_TOKEN_SERVICE_URL")
    )
    inspection = inspected(text.strip(), expected)
    if as_json:
        _show_json(inspection)
    else:
        _show(inspection)
    if inspection.faults:
        raise typer.Exit(NO)


def inspected(token: str, expected: Expected) -> Inspection:
    """What there is to see of a token."""
    try:
        jwt = strict_jwt.unverified(token)
    except ValueError as error:
        name = "too_long" if len(token) > MAX_TOKEN_BYTES else "malformed"
        return Inspection("malformed", faults=(Fault(name, f"It is {error}."),))
    kind = _kind(jwt.header, jwt.payload)
    return Inspection(
        kind,
        _shown(jwt.header),
        jwt.payload,
        _facts(kind, jwt, expected.now),
        tuple(_faults(kind, jwt, expected)),
    )


def _kind(header: Mapping[str, Any], claims: Mapping[str, Any]) -> Kind:
    issuer = claims.get("iss")
    if header.get("typ") == "dpop+jwt":
        return "proof"
    if claims.get("aud") == _CUSTOM_TOKEN_AUDIENCE:
        return "custom_token"
    if issuer in _GOOGLE_ISSUERS:
        return "google_identity_token"
    if not isinstance(issuer, str):
        return "unknown"
    if issuer.startswith(_COOKIE_ISSUER):
        return "session_cookie"
    if issuer.startswith(_ID_TOKEN_ISSUER):
        return _kind_of_id_token(claims)
    if issuer == claims.get("sub") and header.get("alg") in _ASSERTION_ALGORITHMS:
        return "assertion"
    return "unknown"


def _kind_of_id_token(claims: Mapping[str, Any]) -> Kind:
    try:
        mode = ServiceClaims.parse(claims).mode
    except TokenNotService:
        meant_for_one = "ms" in claims or str(claims.get("sub", "")).startswith(UID_PREFIX)
        return "service_token" if meant_for_one else "user_id_token"
    return "service_token_fresh" if mode == "fresh" else "service_token_bound"


def _faults(kind: Kind, jwt: strict_jwt.Unverified, expected: Expected) -> Iterator[Fault]:
    """All that is wrong with a token of some kind, as far as one can see."""
    if jwt.header.get("alg") == "none" or not jwt.signature:
        yield Fault("unsigned", "It is unsigned: nobody but an emulator takes it.")
    match kind:
        case "proof":
            yield from _proof_faults(jwt, expected.now)
        case "assertion":
            yield from _assertion_faults(jwt.payload, expected)
        case "custom_token":
            yield from _rs256_faults(jwt.header, of_google=False)
            yield from _time_faults(jwt.payload, expected.now)
            if not isinstance(jwt.payload.get("uid"), str):
                yield Fault("no_uid", "It says for nobody: its uid is no text.")
        case "google_identity_token":
            yield from _rs256_faults(jwt.header)
            yield from _time_faults(jwt.payload, expected.now)
            yield from _identity_faults(jwt.payload, expected.token_service)
        case "session_cookie" | "unknown":
            yield Fault("not_for_calls", "No service here takes it.")
            yield from _time_faults(jwt.payload, expected.now)
        case _:
            yield from _rs256_faults(jwt.header)
            yield from _time_faults(jwt.payload, expected.now, "auth_time")
            yield from _id_token_faults(jwt.payload, expected.project)
            yield from _service_faults(kind, jwt.payload, expected.now)


def _rs256_faults(header: Mapping[str, Any], *, of_google: bool = True) -> Iterator[Fault]:
    """What is wrong with the header; `of_google` for tokens of Google's own, which name a key."""
    algorithm = header.get("alg")
    if algorithm == "none":
        return  # Which has been said already.
    if algorithm != "RS256":
        yield Fault("not_rs256", "It is not signed with RS256.")
        return
    try:
        if of_google:
            strict_jwt.rs256_key_id(header)
    except ValueError as error:
        yield Fault("header_invalid", f"It is {error}.")


def _time_faults(claims: Mapping[str, Any], now: float, *more: str) -> Iterator[Fault]:
    """What is wrong with its times: `exp`, `iat`, and `more`, all of which there must be."""
    times: dict[str, int] = {}
    for name in ("exp", "iat", *more):
        try:
            times[name] = strict_jwt.seconds(claims, name)
        except ValueError as error:
            yield Fault("time_invalid", f"It is {error}.")
    if "exp" in times and now - CLOCK_SKEW_SECONDS >= times["exp"]:
        yield Fault("expired", f"It has expired {_duration(now - times['exp'])} ago.")
    if any(now + CLOCK_SKEW_SECONDS < times[name] for name in ("iat", *more) if name in times):
        yield Fault("from_the_future", "It was issued in the future, by the clock of this machine.")
    if times.keys() >= {"exp", "iat"} and times["exp"] - times["iat"] > ID_TOKEN_LIFETIME_SECONDS:
        yield Fault("lives_too_long", "It lives longer than an hour.")
    if times.keys() >= {"auth_time", "iat"} and times["auth_time"] > times["iat"]:
        yield Fault("time_invalid", "It was issued before the sign-in that it came from.")


def _id_token_faults(claims: Mapping[str, Any], project: str | None) -> Iterator[Fault]:
    """What is wrong with whom an ID token is by, for and of (Firebase, "Verify ID tokens")."""
    issuer, audience, subject, firebase = (claims.get(name) for name in ("iss", "aud", "sub", "firebase"))
    if issuer != f"{_ID_TOKEN_ISSUER}{audience}":
        yield Fault("wrong_issuer", "It is issued for one project (iss), and meant for another (aud).")
    if project and audience != project:
        yield Fault("wrong_project", f"It is of another project than {project}, which GOOGLE_CLOUD_PROJECT names.")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_UID_CHARACTERS:
        yield Fault("no_uid", f"Its sub is no uid: 1 to {_LONGEST_UID_CHARACTERS} characters are wanted.")
    if not isinstance(firebase, dict) or "tenant" in firebase:
        yield Fault("not_of_a_sign_in", "It is of a tenant of the project, or of no sign-in at all.")


def _service_faults(kind: Kind, claims: Mapping[str, Any], now: float) -> Iterator[Fault]:
    if kind == "service_token":
        try:
            ServiceClaims.parse(claims)
        except TokenNotService as error:
            yield Fault("not_service", str(error))
    age = _age(claims, "auth_time", now)
    if kind == "service_token_fresh" and age is not None and age > FRESH_TOKEN_MAX_AGE_SECONDS:
        yield Fault("stale", f"It is {_duration(age)} old, and fresh for {FRESH_TOKEN_MAX_AGE_SECONDS} s.")


def _identity_faults(claims: Mapping[str, Any], token_service: str | None) -> Iterator[Fault]:
    """What the token service has against an identity token of Google's."""
    if token_service and claims.get("aud") != token_service.rstrip("/"):
        yield Fault("wrong_audience", "It is not for the token service that MSTOKEN_TOKEN_SERVICE_URL names.")
    if not isinstance(claims.get("email"), str) or claims.get("email_verified") is not True:
        yield Fault("no_account", "It names no service account: it was asked for without format=full.")


def _assertion_faults(claims: Mapping[str, Any], expected: Expected) -> Iterator[Fault]:
    """What the token service has against an assertion (RFC 7523, section 3)."""
    yield from _time_faults(claims, expected.now)
    age = _age(claims, "iat", expected.now)
    if age is not None and age > ASSERTION_MAX_AGE_SECONDS:
        yield Fault("stale", f"It is {_duration(age)} old, and good for {ASSERTION_MAX_AGE_SECONDS} s.")
    if expected.token_service and claims.get("aud") != expected.token_service.rstrip("/"):
        yield Fault("wrong_audience", "It is not for the token service that MSTOKEN_TOKEN_SERVICE_URL names.")
    if not isinstance(claims.get("jti"), str):
        yield Fault("no_id", "It has no jti.")


def _proof_faults(jwt: strict_jwt.Unverified, now: float) -> Iterator[Fault]:
    """What every callee has against a proof, whatever the call (RFC 9449, section 4.3)."""
    jwk = jwt.header.get("jwk")
    if jwt.header.get("alg") != "ES256" or "crit" in jwt.header:
        yield Fault("header_invalid", "It is not signed with ES256, or asks for something that no proof needs.")
    if not isinstance(jwk, dict) or jwk.get("kty") != "EC" or jwk.get("crv") != "P-256":
        yield Fault("key_invalid", "Its jwk is no EC key of the curve P-256.")
    elif not jwk.keys() <= _PUBLIC_MEMBERS:
        yield Fault("key_invalid", "Its jwk has more than a public key has: a private key is worth nothing now.")
    if missing := [name for name in ("jti", "htm", "htu", "ath") if not isinstance(jwt.payload.get(name), str)]:
        yield Fault("claims_missing", f"It has no {', '.join(missing)}.")
    age = _age(jwt.payload, "iat", now)
    if age is None:
        yield Fault("time_invalid", "Its iat is not a time in seconds.")
    elif age > PROOF_MAX_AGE_SECONDS:
        yield Fault("stale", f"It is {_duration(age)} old, and good for {PROOF_MAX_AGE_SECONDS} s.")
    elif age < -CLOCK_SKEW_SECONDS:
        yield Fault("from_the_future", "It was made in the future, by the clock of this machine.")


def _facts(kind: Kind, jwt: strict_jwt.Unverified, now: float) -> dict[str, str]:
    """What follows from header and claims, in words."""
    facts = {}
    if kind in ("service_token_fresh", "service_token_bound"):
        ms = ServiceClaims.parse(jwt.payload)
        facts["call"] = f"{ms.service} calls {ms.audience}"
    words = {"iat": ("issued", "to be issued"), "auth_time": ("signed in", "to sign in"), "exp": ("expired", "expires")}
    for name, (past, future) in words.items():
        age = _age(jwt.payload, name, now)
        if age is not None:
            when = f"{past} {_duration(age)} ago" if age >= 0 else f"{future} in {_duration(-age)}"
            facts[name] = f"{when}, at {_moment(jwt.payload[name])}" if _moment(jwt.payload[name]) else when
    if kind == "proof":
        with suppress(KeyError, TypeError, ValueError):
            facts["key"] = f"its thumbprint (jkt) is {thumbprint(jwt.header['jwk'])}"
    return facts


def _age(claims: Mapping[str, Any], name: str, now: float) -> float | None:
    """How many seconds ago a time among the claims was; None where there is none."""
    try:
        return now - strict_jwt.seconds(claims, name)
    except ValueError:
        return None


def _duration(seconds: float) -> str:
    """Seconds in the unit that people would take."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _moment(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return ""


def _shown(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header without what may be a private key."""
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        return dict(header)
    public = {name: value if name in _PUBLIC_MEMBERS else "(hidden)" for name, value in jwk.items()}
    return {**header, "jwk": public}


def _show_json(inspection: Inspection) -> None:
    show_json(
        {
            "verified": False,
            "kind": inspection.kind,
            "header": inspection.header,
            "claims": inspection.claims,
            "facts": inspection.facts,
            "findings": [{"name": fault.name, "says": fault.says} for fault in inspection.faults],
        }
    )


def _show(inspection: Inspection) -> None:
    say(f"{NOT_VERIFIED}\n\nIt is {KINDS[inspection.kind]}.")
    for title, values in (("HEADER", inspection.header), ("CLAIM", inspection.claims)):
        if values:
            say("")
            show_table((title, ""), ((name, json.dumps(value, ensure_ascii=False)) for name, value in values.items()))
    if inspection.facts:
        say("")
        show_table(("IN WORDS", ""), inspection.facts.items())
    say("")
    if not inspection.faults:
        say("Nothing wrong can be seen. Whether it is genuine only its callee can tell.")
    for fault in inspection.faults:
        say(f"WRONG  {fault.says}")
