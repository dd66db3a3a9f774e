"""The callee's checks, in the order that DESIGN gives them: what costs least and tells least comes first."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from mstoken import compact
from mstoken.callee.callers import Admission, Caller, ServiceCaller, UserCaller
from mstoken.callee.firebase import CLOCK_SKEW_SECONDS, AdminFirebase, Firebase
from mstoken.callee.replay.store import ReplayStore, replay_store
from mstoken.callee.status import StatusCache
from mstoken.claims import UID_PREFIX, ServiceClaims, service_name, token_digest
from mstoken.errors import (
    CallerNotAllowed,
    IdentityDisabled,
    Refusal,
    ServiceTokenRefused,
    TokenExpired,
    TokenMalformed,
    TokenMissing,
    TokenReplayed,
    TokenStale,
    TokenUntrusted,
    TokenWrongAudience,
    UserTokenInvalid,
    UserTokenMissing,
    UserTokenRevoked,
)
from mstoken.settings import Settings

MAX_AGE_SECONDS = 60
"""How old a fresh token may be."""
ID_TOKEN_LIFETIME_SECONDS = 3600
"""How long every Firebase ID token lives (Firebase, "Manage User Sessions")."""
MAX_KEY_ID_CHARACTERS = 128
_OPTIONAL_WHITESPACE = " \t"
"""What a server may have left around a header's value (RFC 9110, section 5.5)."""

_calls = logging.getLogger("mstoken.calls")


class TokenVerifier:
    """Tells who calls the service `audience`, and refuses whoever may not.

    One instance serves a worker, in one event loop. Open it with `async with`; the FastAPI adapter does.
    """

    def __init__(
        self,
        audience: str,
        settings: Settings | None = None,
        *,
        firebase: Firebase | None = None,
        replay: ReplayStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`audience` is this service's name; `settings` come from the environment if left out.

        `firebase` and `replay` stand in for firebase-admin and for the store that the settings name; `clock` gives
        seconds since the epoch. Raises `SettingsError` for settings that cannot work, ValueError for a name that no
        service can have.
        """
        self.audience = service_name(audience)
        if firebase is None or replay is None:
            settings = settings or Settings()
            firebase = firebase or AdminFirebase(settings)
            replay = replay or replay_store(settings.replay_url, self.audience)
        self._firebase = firebase
        self._replay = replay
        self._clock = clock
        self._status = StatusCache(self._firebase)

    async def authorize(
        self, admission: Admission, *, service_tokens: Sequence[str], authorizations: Sequence[str]
    ) -> Caller:
        """The caller of one request, its service token spent.

        `service_tokens` and `authorizations` are the values of the request's `X-MS-TOKEN` and `Authorization` header
        lines, one each. Raises the `Refusal` that says what is wrong. Writes one record to the log `mstoken.calls`.
        """
        record = _CallRecord(self.audience, service_tokens, authorizations)
        try:
            caller = await self._authenticate(admission, service_tokens, authorizations)
            record.caller = caller
            if not admission.admits(caller):
                raise CallerNotAllowed(str(caller))
            if isinstance(caller, ServiceCaller):
                await self._spend(caller)
        except Refusal as refusal:
            record.write(refusal.code, self._clock())
            raise
        record.write("accepted", self._clock())
        return caller

    async def ready(self) -> list[str]:
        """Returns if tokens can be verified now: what is wrong all the same, a sentence each.

        Raises `VerifierUnavailable`, whose reason says what is missing.
        """
        certificates_fault = self._firebase.ready()
        await self._replay.ready()
        faults = {"Certificates": certificates_fault, "Identity status": self._status.fault}
        return [f"{what}: {fault}" for what, fault in faults.items() if fault]

    def forget(self, uid: str) -> None:
        """Drops what is known of an identity's status, so that a log-out here counts here at once."""
        self._status.forget(uid)

    async def aclose(self) -> None:
        """Ends the background work, and lets go of the replay store."""
        await self._status.aclose()
        await self._firebase.aclose()
        await self._replay.aclose()

    async def open(self) -> None:
        """Fetches the certificates, and keeps them and the status of identities fresh from now on.

        An outage is no obstacle: calls are refused with 503 until it is over. A verifier that nobody opened fetches
        what it needs when the first token comes.
        """
        await self._firebase.open()
        await self._status.open()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _authenticate(
        self, admission: Admission, service_tokens: Sequence[str], authorizations: Sequence[str]
    ) -> Caller:
        if service_tokens:
            service = await self._service(service_tokens)
            return replace(service, user=await self._user(authorizations)) if authorizations else service
        if authorizations:
            return await self._user(authorizations)
        if admission.services:
            raise TokenMissing(users_too=bool(admission.users))
        raise UserTokenMissing

    async def _service(self, header_lines: Sequence[str]) -> ServiceCaller:
        """Checks 1 to 6: one JWT, Firebase's, a service's, for us, of a live identity, fresh."""
        if len(header_lines) != 1:
            raise TokenMalformed("More than one X-MS-TOKEN header line.")
        claims = await self._verified(header_lines[0].strip(_OPTIONAL_WHITESPACE))
        ms = ServiceClaims.parse(claims)
        if ms.audience != self.audience:
            raise TokenWrongAudience(ms.audience, self.audience)
        if not await self._status.is_alive(ms.uid, claims["auth_time"]):
            raise IdentityDisabled(ms.uid)
        # By the time of the sign-in, which a refreshed token keeps: by `iat` a refreshed one would be fresh again,
        # with an id that the store may have forgotten.
        age_seconds = int(self._clock()) - claims["auth_time"]
        if age_seconds > MAX_AGE_SECONDS:
            raise TokenStale(age_seconds, MAX_AGE_SECONDS)
        return ServiceCaller.from_claims(ms, claims)

    async def _user(self, header_lines: Sequence[str]) -> UserCaller:
        """The user whose ID token is the one Bearer credential (RFC 6750, section 2.1)."""
        if len(header_lines) != 1:
            raise UserTokenInvalid("More than one Authorization header line.")
        scheme, _, token = header_lines[0].strip(_OPTIONAL_WHITESPACE).partition(" ")
        if scheme.lower() != "bearer":
            raise UserTokenInvalid("Authorization is not of the scheme Bearer.")
        try:
            claims = await self._verified(token.lstrip(" "))
        except ServiceTokenRefused as error:
            raise UserTokenInvalid(error.title.replace("service token", "token") + ".") from error
        if "ms" in claims or claims["sub"].startswith(UID_PREFIX):
            raise UserTokenInvalid("It is a service's token, not a user's.")
        if not await self._status.is_alive(claims["sub"], claims["auth_time"]):
            raise UserTokenRevoked
        return UserCaller.from_claims(claims)

    async def _verified(self, token: str) -> Mapping[str, Any]:
        """Checks 1 and 2: the claims of a JWT that firebase-admin vouches for and whose times we have seen ourselves.

        firebase-admin checks no times against the emulator, and `auth_time` nowhere; all three are needed here.
        """
        try:
            header, unverified_claims = compact.unverified(token)
        except ValueError as error:
            raise TokenMalformed(f"It is {error}.") from None
        key_id = _key_id(header)
        # Looked at before they are verified, since google-auth computes with whatever it finds there.
        expires_at, issued_at, auth_time = (_seconds(unverified_claims, name) for name in ("exp", "iat", "auth_time"))
        claims = await self._firebase.verify(token, key_id)
        now = self._clock()
        if now - CLOCK_SKEW_SECONDS >= expires_at:
            raise TokenExpired
        if not auth_time <= issued_at <= now + CLOCK_SKEW_SECONDS:
            raise TokenUntrusted("It comes from the future.")
        if expires_at - issued_at > ID_TOKEN_LIFETIME_SECONDS:
            raise TokenUntrusted("It lives longer than ID tokens do.")
        if not isinstance(claims.get("firebase"), dict) or "tenant" in claims["firebase"]:
            raise TokenUntrusted("It is of a tenant of the project, or of no sign-in at all.")
        return claims

    async def _spend(self, caller: ServiceCaller) -> None:
        """Check 8. The id is kept for as long as the token could pass check 6, and the clocks' difference."""
        keep_until = self._clock() + MAX_AGE_SECONDS + 2 * CLOCK_SKEW_SECONDS
        if not await self._replay.spend(caller.token_id, keep_until):
            raise TokenReplayed


def _key_id(header: Mapping[str, Any]) -> str:
    """The key that the header names, if it is a header as Firebase's ID tokens have it.

    Sources: Firebase, "Verify ID tokens using a third-party JWT library"; RFC 7515, section 4.1.11 (`crit`); RFC 8725,
    sections 3.1 (one algorithm) and 3.11 (explicit types).
    """
    key_id = header.get("kid")
    if header.get("alg") != "RS256":
        raise TokenUntrusted("It is not signed with RS256.")
    if header.get("typ", "JWT") != "JWT" or "crit" in header:
        raise TokenUntrusted("Its header asks for something that no ID token needs.")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_CHARACTERS:
        raise TokenUntrusted("It names no key.")
    return key_id


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    """A time among the claims; whole, and no `bool`, which is an `int` to Python."""
    value = claims.get(name)
    if type(value) is not int or value < 0:
        raise TokenUntrusted(f"Its {name} is not a time in seconds.")
    return value


class _CallRecord:
    """One line for the log: who called, by what, and what came of it. Tokens appear as their digest."""

    def __init__(self, audience: str, service_tokens: Sequence[str], authorizations: Sequence[str]) -> None:
        self.caller: Caller | None = None
        self._audience = audience
        self._mode = "fresh" if service_tokens else "user"
        lines = service_tokens or authorizations
        self._token = token_digest(lines[0].rpartition(" ")[2]) if lines else None

    def write(self, verdict: str, now: float) -> None:
        caller = self.caller
        _calls.log(
            logging.INFO if verdict == "accepted" else logging.WARNING,
            "call",
            extra={
                "caller": str(caller) if caller else None,
                "audience": self._audience,
                "mode": self._mode,
                "age_seconds": round(now - caller.issued_at, 1) if caller else None,
                "token_id": caller.token_id if isinstance(caller, ServiceCaller) else None,
                "token": self._token,
                "verdict": verdict,
            },
        )
