"""The callee's checks of a request, in the order in which they are made.

1. There is one `X-MS-TOKEN` header line, with a JWT of at most 8 KiB (`strict_jwt`).
2. The JWT is an ID token of this Firebase project, and has not expired (`id_tokens`).
3. It is a service token: a service identity signed in, and the `ms` claim has a known version (`claims`).
4. It is for this service.
5. The identity is alive: not disabled, and not revoked since the token was minted and signed in (`status`).
6. A fresh token was minted and signed in at most 60 s ago. A bound token was minted and signed in at most an hour ago,
   and comes with a proof for this call that is at most 30 s old (`mstoken.proof`), and with a nonce if this service
   requires one (`nonces`).
7. The route admits the caller (`callers`).
8. The id of the token or of the proof is spent (`replay`).

Spending is last, so that a refused call spends nothing. A user's token in `Authorization: Bearer` passes the checks
1, 2, 5 and 7. It is looked at if the route admits users and the call has no service token, or if the route admits
services that act for a user.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self

from mstoken import strict_jwt, telemetry, uri
from mstoken.callee.call_log import CallRecord
from mstoken.callee.callers import Admission, Call, Caller, ServiceCaller, UserCaller
from mstoken.callee.firebase import Firebase
from mstoken.callee.id_tokens import IdToken
from mstoken.callee.parts import VerifierParts
from mstoken.callee.replay.store import ReplayStore
from mstoken.claims import ServiceClaims, service_name
from mstoken.errors import (
    CallerNotAllowed,
    IdentityDisabled,
    ProofInvalid,
    ProofMissing,
    ProofNonceRequired,
    ProofReplayed,
    Refusal,
    ServiceTokenRefused,
    StoreIsNew,
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
from mstoken.per_process import PerProcess
from mstoken.proof import Proof
from mstoken.settings import Settings
from mstoken.wire import (
    BOUND_TOKEN_MAX_AGE_SECONDS,
    CLOCK_SKEW_SECONDS,
    FRESH_TOKEN_MAX_AGE_SECONDS,
    PROOF_MAX_AGE_SECONDS,
    SERVICE_CLAIM,
    SERVICE_TOKEN_HEADER,
    UID_PREFIX,
)


class TokenVerifier:
    """Tells who calls the service `audience`, and refuses callers that a route does not admit.

    One instance serves all event loops and threads of a process, and a forked child goes on with connections of its
    own. Open it with `async with`; the adapters do that. Making it reads nothing, so a module may do that. The settings
    are read when it is opened or first used.
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
        """`audience` is the name of this service. `settings` are read from the environment if they are left out.

        `firebase` takes the place of firebase-admin, `replay` that of the store that the settings name. `clock`
        returns seconds since the epoch. Raises ValueError if `audience` is not a service name.
        """
        self.audience = service_name(audience)
        self._clock = clock
        self._is_closed = False
        self._parts = PerProcess(
            lambda: VerifierParts.of(self.audience, settings or Settings(), firebase, replay, clock)
        )

    def prepare(self) -> None:
        """Read the settings now, so that a mistake is found before an event loop runs. `open` does it too.

        Raises `SettingsError`.
        """
        self._parts.get()

    async def authorize(self, admission: Admission, call: Call) -> Caller:
        """Return the caller of one request. The id of its service token or proof is spent.

        Raises the `Refusal` that says what is wrong. Writes one record to the log `mstoken.calls`.
        """
        record = CallRecord(self.audience, call)
        try:
            with telemetry.measure(telemetry.VERIFICATION, record.attributes):
                record.caller = await self._authenticate(admission, call)
                record.caller = caller = await self._admit(admission, record.caller, call)
                if isinstance(caller, ServiceCaller):
                    await self._spend(caller)
        except Refusal as refusal:
            record.write(self._clock(), refusal)
            raise
        record.write(self._clock())
        return caller

    async def admit(self, admission: Admission, caller: Caller, call: Call) -> Caller:
        """Return the `caller` of a call that was authorized before, as a part of the program with `admission` sees it.

        This makes check 7 only. Raises the `Refusal` that says what is wrong, and writes a record of it.
        """
        try:
            return await self._admit(admission, caller, call)
        except Refusal as refusal:
            record = CallRecord(self.audience, call)
            record.caller = caller
            record.write(self._clock(), refusal)
            raise

    async def ready(self) -> list[str]:
        """Check that tokens can be verified now. Return warnings, such as "Certificates: the last fetch failed".

        Raises `VerifierUnavailable`, whose reason says what is missing. Reasons and problems are for operators: they
        may name servers. The parts, before the colon, may be told to anyone.
        """
        return await self._parts.get().ready()

    def forget(self, uid: str) -> None:
        """Look the status of `uid` up again at its next call, so that a log-out here takes effect here at once."""
        self._parts.get().status.forget(uid)

    async def aclose(self) -> None:
        """End the background work and close the replay store. The verifier can be opened again."""
        self._is_closed = True
        if parts := self._parts.peek():
            await parts.aclose()

    async def open(self) -> None:
        """Fetch the certificates, and begin the memory of a new replay store.

        From now on, refresh the certificates and the status of identities in the background.

        An outage is not an error here: calls are refused with 503 until it is over. A verifier that was not opened
        fetches what it needs when the first token arrives. Raises `SettingsError` for wrong settings.
        """
        if self._is_closed:
            self._parts.pop()
            self._is_closed = False
        await self._parts.get().open()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    async def _authenticate(self, admission: Admission, call: Call) -> Caller:
        """Make checks 1 to 6 for the service token of the call, or for its user's token if it has no service token."""
        if call.service_tokens:
            return await self._authenticate_service(call)
        if not admission.users:
            raise TokenMissing
        if not call.authorizations:
            raise TokenMissing(users_too=True) if admission.services else UserTokenMissing
        if call.proofs:
            raise ProofInvalid("The request has a proof, but no service token.")
        return await self._authenticate_user(call.authorizations)

    async def _admit(self, admission: Admission, caller: Caller, call: Call) -> Caller:
        """Make check 7. The user of a service that acts for one is in the result only if the route admits that."""
        if isinstance(caller, ServiceCaller):
            if admission.proof and caller.mode == "fresh":
                raise _proof_missing()
            if admission.acting_for_user and call.authorizations and caller.user is None:
                caller = replace(caller, user=await self._authenticate_user(call.authorizations))
            elif not admission.acting_for_user and caller.user is not None:
                caller = replace(caller, user=None)
        if not admission.admits(caller):
            raise CallerNotAllowed(str(caller))
        return caller

    async def _authenticate_service(self, call: Call) -> ServiceCaller:
        """Make checks 1 to 6."""
        if len(call.service_tokens) != 1:
            raise TokenMalformed(f"The request has more than one {SERVICE_TOKEN_HEADER} header line.")
        parts = self._parts.get()
        token = await parts.id_tokens.verify(call.service_tokens[0].strip(strict_jwt.OPTIONAL_WHITESPACE))
        ms = token.service_claims
        if ms.audience != self.audience:
            raise TokenWrongAudience(ms.audience, self.audience)
        if not await parts.status.is_alive(ms.uid, token.claims["auth_time"], ms.minted_at):
            raise IdentityDisabled(ms.uid)
        self._check_token_age(ms, token.claims)
        next_nonce = None
        if ms.key_thumbprint is not None:
            proof = self._check_proof(call, token, ms.key_thumbprint)
            next_nonce = parts.nonces.after(proof.nonce, self._clock()) if parts.nonces else None
            one_time_id, issued_at = f"{ms.key_thumbprint}.{proof.proof_id}", proof.issued_at
        else:
            if call.proofs:
                raise ProofInvalid("The request has a proof, but its service token is not bound to a key.")
            if parts.require_proof:
                raise _proof_missing()
            assert ms.token_id is not None  # noqa: S101 - a token without a key has an id
            one_time_id, issued_at = ms.token_id, ms.minted_at
        return ServiceCaller(ms.service, ms.uid, ms.audience, ms.mode, one_time_id, issued_at, next_nonce=next_nonce)

    def _check_token_age(self, ms: ServiceClaims, claims: Mapping[str, Any]) -> None:
        """Make the part of check 6 that is about the token.

        The age counts from the minting and from the sign-in, not from `iat`: a custom token can be signed in with for
        an hour, and a session can be refreshed for ever. By `iat` a fresh token would be fresh again after its id was
        forgotten, and a bound token would never end.
        """
        now = self._clock()
        if ms.minted_at > now + CLOCK_SKEW_SECONDS:
            raise TokenUntrusted("The token was minted in the future, by the clock of this service.")
        age_seconds = int(now) - min(ms.minted_at, claims["auth_time"])
        if ms.mode == "fresh":
            if age_seconds > FRESH_TOKEN_MAX_AGE_SECONDS:
                raise TokenStale(age_seconds, FRESH_TOKEN_MAX_AGE_SECONDS)
        elif age_seconds > BOUND_TOKEN_MAX_AGE_SECONDS + CLOCK_SKEW_SECONDS:
            raise TokenExpired(
                f"The token is {age_seconds} s old. At most {BOUND_TOKEN_MAX_AGE_SECONDS} s are allowed."
            )

    def _check_proof(self, call: Call, token: IdToken, key_thumbprint: str) -> Proof:
        """Make check 6 for a bound token. `ProofVerifier` checks the age of the proof."""
        parts = self._parts.get()
        if parts.base_url is None:
            raise VerifierUnavailable("MSTOKEN_BASE_URL is not set, so proofs cannot be checked.")
        if uri.has_dot_segments(call.path):
            raise ProofInvalid("The path of this request has a segment '.' or '..'. Send the path that it stands for.")
        now = self._clock()
        proof = parts.proofs.verify(
            call.proofs,
            method=call.method,
            url=parts.base_url + call.path,
            token_sha256=token.sha256,
            key_thumbprint=key_thumbprint,
            now=now,
            clock_skew_seconds=CLOCK_SKEW_SECONDS,
        )
        if parts.nonces is not None and not parts.nonces.accepts(proof.nonce, now):
            raise ProofNonceRequired(parts.nonces.issue(now))
        return proof

    async def _authenticate_user(self, authorizations: Sequence[str]) -> UserCaller:
        """Make checks 1, 2 and 5 for the ID token of a user (RFC 6750, section 2.1)."""
        try:
            encoded = strict_jwt.bearer_token(authorizations)
        except ValueError as error:
            raise UserTokenInvalid(str(error)) from None
        parts = self._parts.get()
        try:
            token = await parts.id_tokens.verify(encoded)
        except ServiceTokenRefused as error:
            raise UserTokenInvalid(error.title.replace("service token", "token") + ".") from error
        claims = token.claims
        if SERVICE_CLAIM in claims or claims["sub"].startswith(UID_PREFIX):
            raise UserTokenInvalid("The token is that of a service, not of a user.")
        if not await parts.status.is_alive(claims["sub"], claims["auth_time"]):
            raise UserTokenRevoked
        return UserCaller.from_claims(claims)

    async def _spend(self, caller: ServiceCaller) -> None:
        """Make check 8. Raises `TokenReplayed` or `ProofReplayed` for a second use.

        If the store is too new to tell, this raises `StoreIsNew`, or `TokenStale` if a newer token would be accepted.

        The id is kept for as long as any worker could accept the same token or proof again: its maximum age, plus the
        clock skew twice (the signer's clock may be ahead of this one, another worker's may be behind), plus one second
        because ages are compared in whole seconds.
        """
        is_fresh = caller.mode == "fresh"
        max_age_seconds = FRESH_TOKEN_MAX_AGE_SECONDS if is_fresh else PROOF_MAX_AGE_SECONDS
        keep_seconds = max_age_seconds + 2 * CLOCK_SKEW_SECONDS + 1
        now = self._clock()
        try:
            replay = self._parts.get().replay
            with telemetry.measure(telemetry.REPLAY, partial(_spend_attributes, replay)):
                is_first_use = await replay.spend(
                    caller.one_time_id, issued_at=caller.issued_at, expires_at=now + keep_seconds
                )
        except StoreIsNew as error:
            # As soon as a new token would be accepted, the caller can help itself: it sends a new one at once.
            if is_fresh and now >= error.accepts_from:
                raise TokenStale(int(now - caller.issued_at), int(now - error.accepts_from)) from error
            raise
        if not is_first_use:
            raise TokenReplayed if is_fresh else ProofReplayed


def _spend_attributes(store: ReplayStore, error: BaseException | None) -> telemetry.Attributes:
    attributes = {telemetry.STORE: type(store).__name__}
    return attributes if error is None else attributes | {telemetry.ERROR_TYPE: telemetry.error_type(error)}


def _proof_missing() -> ProofMissing:
    return ProofMissing("This call needs a service token that is bound to a key, and a proof of that key.")
