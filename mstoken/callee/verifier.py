"""The callee's checks, in the order that DESIGN gives them: what costs least and tells least comes first."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from mstoken import strict_jwt
from mstoken.callee.callers import Admission, Call, Caller, ServiceCaller, UserCaller
from mstoken.callee.firebase import AdminFirebase, Firebase
from mstoken.callee.nonces import Nonces
from mstoken.callee.replay.store import ReplayStore, replay_store
from mstoken.callee.status import StatusCache
from mstoken.claims import ServiceClaims, log_name, service_name, token_sha256
from mstoken.errors import (
    CallerNotAllowed,
    IdentityDisabled,
    ProofInvalid,
    ProofMissing,
    ProofNonceRequired,
    ProofReplayed,
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
    VerifierUnavailable,
)
from mstoken.proof import ProofVerifier
from mstoken.settings import Settings
from mstoken.wire import (
    CLOCK_SKEW_SECONDS,
    FRESH_TOKEN_MAX_AGE_SECONDS,
    ID_TOKEN_LIFETIME_SECONDS,
    PROOF_MAX_AGE_SECONDS,
    UID_PREFIX,
)

MAX_REMEMBERED_TOKENS = 10_000

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
        settings = settings or Settings()
        self._base_url = settings.base_url
        self._require_proof = settings.require_proof
        secret = settings.nonce_secret
        self._nonces = Nonces(secret.get_secret_value(), self.audience) if secret else None
        self._firebase = firebase or AdminFirebase(settings)
        self._replay = replay or replay_store(settings.replay_url, self.audience)
        self._clock = clock
        self._status = StatusCache(self._firebase)
        self._proofs = ProofVerifier()
        self._remembered = _RememberedTokens()

    async def authorize(self, admission: Admission, call: Call) -> Caller:
        """The caller of one request, its service token or its proof spent.

        Raises the `Refusal` that says what is wrong. Writes one record to the log `mstoken.calls`.
        """
        record = _CallRecord(self.audience, call)
        try:
            caller = await self._authenticate(admission, call)
            record.caller = caller
            if not admission.admits(caller):
                raise CallerNotAllowed(str(caller))
            if isinstance(caller, ServiceCaller):
                await self._spend(caller)
        except Refusal as refusal:
            record.write(self._clock(), refusal)
            raise
        record.write(self._clock())
        return caller

    async def ready(self) -> list[str]:
        """Returns if tokens can be verified now: what is wrong all the same, a sentence each.

        Raises `VerifierUnavailable`, whose reason says what is missing.
        """
        certificates_fault = self._firebase.ready()
        await self._replay.ready()
        faults = {"Certificates": certificates_fault, "Identity status": self._status.last_error}
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

    async def _authenticate(self, admission: Admission, call: Call) -> Caller:
        if call.service_tokens:
            service = await self._service(admission, call)
            return replace(service, user=await self._user(call.authorizations)) if call.authorizations else service
        if not call.authorizations:
            raise TokenMissing(users_too=bool(admission.users)) if admission.services else UserTokenMissing
        if call.proofs:
            raise ProofInvalid("It came without a service token.")
        return await self._user(call.authorizations)

    async def _service(self, admission: Admission, call: Call) -> ServiceCaller:
        """Checks 1 to 6: one JWT, Firebase's, a service's, for us, of a live identity, fresh or with a proof."""
        if len(call.service_tokens) != 1:
            raise TokenMalformed("More than one X-MS-TOKEN header line.")
        token = call.service_tokens[0].strip(strict_jwt.OPTIONAL_WHITESPACE)
        sha256 = token_sha256(token)
        claims = await self._verified(token, sha256)
        ms = ServiceClaims.parse(claims)
        if ms.audience != self.audience:
            raise TokenWrongAudience(ms.audience, self.audience)
        if not await self._status.is_alive(ms.uid, claims["auth_time"]):
            raise IdentityDisabled(ms.uid)
        if ms.key_thumbprint is not None:
            one_time_id, issued_at = self._proven(call, sha256, ms.key_thumbprint)
        else:
            if call.proofs:
                raise ProofInvalid("The token that it came with is not bound to a key.")
            if admission.proof or self._require_proof:
                raise ProofMissing("This call needs a token that is bound to a key, and a proof of that key.")
            assert ms.token_id is not None  # noqa: S101 - a token without a key has an id
            one_time_id, issued_at = ms.token_id, self._fresh(claims)
        return ServiceCaller(ms.service, ms.uid, ms.audience, ms.mode, one_time_id, issued_at)

    def _fresh(self, claims: Mapping[str, Any]) -> int:
        """Check 6 of a fresh token: when it was issued."""
        # By the time of the sign-in, which a refreshed token keeps: by `iat` a refreshed one would be fresh again,
        # with an id that the store may have forgotten.
        age_seconds = int(self._clock()) - claims["auth_time"]
        if age_seconds > FRESH_TOKEN_MAX_AGE_SECONDS:
            raise TokenStale(age_seconds, FRESH_TOKEN_MAX_AGE_SECONDS)
        issued_at: int = claims["iat"]
        return issued_at

    def _proven(self, call: Call, sha256: bytes, key_thumbprint: str) -> tuple[str, float]:
        """Check 6 of a bound token: the proof's one-time id, with its key's thumbprint, and when it was made."""
        if self._base_url is None:
            raise VerifierUnavailable("MSTOKEN_BASE_URL is not set, so proofs cannot be checked.")
        now = self._clock()
        proof = self._proofs.verify(
            call.proofs,
            method=call.method,
            url=self._base_url + call.path,
            token_sha256=sha256,
            key_thumbprint=key_thumbprint,
            now=now,
            clock_skew_seconds=CLOCK_SKEW_SECONDS,
        )
        if self._nonces is not None and not self._nonces.accepts(proof.nonce, now):
            raise ProofNonceRequired(self._nonces.issue(now))
        return f"{key_thumbprint}.{proof.proof_id}", proof.issued_at

    async def _user(self, header_lines: Sequence[str]) -> UserCaller:
        """The user whose ID token is the one Bearer credential (RFC 6750, section 2.1)."""
        try:
            token = strict_jwt.bearer_token(header_lines)
        except ValueError as error:
            raise UserTokenInvalid(str(error)) from None
        try:
            claims = await self._verified(token, token_sha256(token))
        except ServiceTokenRefused as error:
            raise UserTokenInvalid(error.title.replace("service token", "token") + ".") from error
        if "ms" in claims or claims["sub"].startswith(UID_PREFIX):
            raise UserTokenInvalid("It is a service's token, not a user's.")
        if not await self._status.is_alive(claims["sub"], claims["auth_time"]):
            raise UserTokenRevoked
        return UserCaller.from_claims(claims)

    async def _verified(self, token: str, sha256: bytes) -> Mapping[str, Any]:
        """Checks 1 and 2: the claims of a JWT that firebase-admin vouches for and whose times we have seen ourselves.

        Only a fresh token is verified each time it comes, which is once; the others for as long as they are remembered.
        """
        claims = self._remembered.get(sha256)
        if claims is None:
            claims = await self._verify(token)
            if not _is_fresh(claims):
                self._remembered.keep(sha256, claims)
        if self._clock() - CLOCK_SKEW_SECONDS >= claims["exp"]:
            raise TokenExpired
        return claims

    async def _verify(self, token: str) -> Mapping[str, Any]:
        """firebase-admin checks no times against the emulator, and `auth_time` nowhere; all three are needed here."""
        try:
            jwt = strict_jwt.unverified(token)
        except ValueError as error:
            raise TokenMalformed(f"It is {error}.") from None
        try:
            key_id = strict_jwt.rs256_key_id(jwt.header)
            # Looked at before they are verified, since google-auth computes with whatever it finds there.
            expires_at, issued_at, auth_time = (
                strict_jwt.seconds(jwt.payload, name) for name in ("exp", "iat", "auth_time")
            )
        except ValueError as error:
            raise TokenUntrusted(f"It is {error}.") from None
        claims = await self._firebase.verify(token, key_id)
        if not auth_time <= issued_at <= self._clock() + CLOCK_SKEW_SECONDS:
            raise TokenUntrusted("It comes from the future.")
        if expires_at - issued_at > ID_TOKEN_LIFETIME_SECONDS:
            raise TokenUntrusted("It lives longer than ID tokens do.")
        if not isinstance(claims.get("firebase"), dict) or "tenant" in claims["firebase"]:
            raise TokenUntrusted("It is of a tenant of the project, or of no sign-in at all.")
        return claims

    async def _spend(self, caller: ServiceCaller) -> None:
        """Check 8. Spend the caller's one-time id. Raises `TokenReplayed` or `ProofReplayed` for a second use.

        The id is kept for as long as any worker could accept the same token or proof again: its maximum age, plus the
        clock skew twice (the signer's clock may be ahead of this one, another worker's may be behind), plus one second
        because ages are compared in whole seconds.
        """
        fresh = caller.mode == "fresh"
        max_age_seconds = FRESH_TOKEN_MAX_AGE_SECONDS if fresh else PROOF_MAX_AGE_SECONDS
        keep_seconds = max_age_seconds + 2 * CLOCK_SKEW_SECONDS + 1
        if not await self._replay.spend(caller.one_time_id, self._clock() + keep_seconds):
            raise TokenReplayed if fresh else ProofReplayed


class _RememberedTokens:
    """Claims of verified tokens by the SHA-256 of the token; beyond a number, those used longest ago are forgotten."""

    def __init__(self) -> None:
        self._claims: OrderedDict[bytes, Mapping[str, Any]] = OrderedDict()

    def get(self, sha256: bytes) -> Mapping[str, Any] | None:
        claims = self._claims.get(sha256)
        if claims is not None:
            self._claims.move_to_end(sha256)
        return claims

    def keep(self, sha256: bytes, claims: Mapping[str, Any]) -> None:
        self._claims[sha256] = claims
        if len(self._claims) > MAX_REMEMBERED_TOKENS:
            self._claims.popitem(last=False)


def _is_fresh(claims: Mapping[str, Any]) -> bool:
    """Whether the token can be used once only, so that there is nothing to remember it for."""
    ms = claims.get("ms")
    return isinstance(ms, dict) and "jti" in ms


class _CallRecord:
    """One line for the log: who called, by what, and what came of it. Tokens appear as their digest."""

    def __init__(self, audience: str, call: Call) -> None:
        self.caller: Caller | None = None
        self._audience = audience
        self._call = call

    def write(self, now: float, refusal: Refusal | None = None) -> None:
        level = logging.INFO if refusal is None else logging.WARNING
        if not _calls.isEnabledFor(level):
            return
        caller, call = self.caller, self._call
        if not call.service_tokens:
            mode = "user"
        elif isinstance(caller, ServiceCaller):
            mode = caller.mode
        else:
            mode = "proof" if call.proofs else "fresh"
        _calls.log(
            level,
            "call",
            extra={
                "caller": str(caller) if caller else None,
                "audience": self._audience,
                "mode": mode,
                "age_seconds": round(now - caller.issued_at, 1) if caller else None,
                "one_time_id": caller.one_time_id if isinstance(caller, ServiceCaller) else None,
                "token": self._digest(),
                "verdict": refusal.code if refusal else "accepted",
                # What the answer does not say to a stranger.
                "reason": refusal.reason if isinstance(refusal, VerifierUnavailable) else None,
            },
        )

    def _digest(self) -> str | None:
        lines = self._call.service_tokens or self._call.authorizations
        return log_name(lines[0].strip(strict_jwt.OPTIONAL_WHITESPACE).rpartition(" ")[2]) if lines else None
