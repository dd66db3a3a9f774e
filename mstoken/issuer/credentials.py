"""Who asks the token service: a service account that Google vouches for, or the holder of a registered key."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import google.auth.exceptions
from google.oauth2 import id_token
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from mstoken import strict_jwt
from mstoken.callee.certificates import CertificateCache
from mstoken.callee.replay.store import ReplayStore
from mstoken.errors import (
    CredentialExpired,
    CredentialMalformed,
    CredentialMissing,
    CredentialReplayed,
    CredentialUnknown,
    CredentialUntrusted,
    VerifierUnavailable,
)
from mstoken.issuer.keys import RegisteredKey
from mstoken.issuer.policy import Policy
from mstoken.upstream_errors import Meaning, meaning_of
from mstoken.wire import ASSERTION_MAX_AGE_SECONDS, CLOCK_SKEW_SECONDS, MAX_JTI_CHARACTERS

GOOGLE = "https://accounts.google.com"

_ALGORITHMS = {"ES256": ECAlgorithm(ECAlgorithm.SHA256), "EdDSA": OKPAlgorithm()}


@dataclass(frozen=True, slots=True)
class Proven:
    """A service, and how it has proven itself: by its `account`, or by an assertion of the key `key_id`."""

    service: str
    account: str | None = None
    key_id: str | None = None
    assertion_id: str | None = None

    def __str__(self) -> str:
        return f"account {self.account}" if self.account is not None else f"key {self.key_id}"


class CredentialVerifier:
    """Tells which service a credential is of. One event loop uses it."""

    def __init__(
        self,
        policy: Policy,
        audience: str,
        certificates: CertificateCache,
        replay: ReplayStore,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`audience` is the token service's URL, `certificates` are Google's; `clock` gives seconds since the epoch."""
        self._policy = policy
        self._audience = audience
        self._certificates = certificates
        self._replay = replay
        self._clock = clock

    async def verify(self, authorizations: Sequence[str]) -> Proven:
        """The service whose credential is in the one `Authorization` header line. Spends nothing yet.

        Raises a `CredentialRefused`, or `VerifierUnavailable` where there is no telling now.
        """
        if not authorizations:
            raise CredentialMissing("Send an identity token of Google's, or an assertion, in Authorization: Bearer.")
        try:
            token = strict_jwt.bearer_token(authorizations)
        except ValueError as error:
            raise CredentialMalformed(str(error)) from None
        try:
            jwt = strict_jwt.unverified(token)
        except ValueError as error:
            raise CredentialMalformed(f"It is {error}.") from None
        try:
            return await self._google(token, jwt) if jwt.payload.get("iss") == GOOGLE else self._assertion(jwt)
        except ValueError as error:
            raise CredentialUntrusted(f"It is {error}.") from None

    async def spend(self, proven: Proven) -> None:
        """Makes an assertion count no more; an identity token of Google's counts for its hour.

        Raises `CredentialReplayed` for a second use, `VerifierUnavailable` where that cannot be told.
        """
        if proven.assertion_id is not None:
            keep_seconds = ASSERTION_MAX_AGE_SECONDS + 2 * CLOCK_SKEW_SECONDS
            one_time_id = f"assertion.{proven.service}.{proven.assertion_id}"
            if not await self._replay.spend(one_time_id, self._clock() + keep_seconds):
                raise CredentialReplayed

    async def _google(self, token: str, jwt: strict_jwt.Unverified) -> Proven:
        """Source: Google Cloud, "Verify an ID token": signature, issuer, audience and times."""
        key_id = strict_jwt.rs256_key_id(jwt.header)
        # Looked at before they are verified, since google-auth computes with whatever it finds there.
        strict_jwt.seconds(jwt.payload, "iat")
        expires_at = strict_jwt.seconds(jwt.payload, "exp")
        if jwt.payload.get("aud") != self._audience:
            raise ValueError(f"for another audience than {self._audience}")
        if self._clock() - CLOCK_SKEW_SECONDS >= expires_at:
            raise CredentialExpired
        await self._certificates.ensure_key(key_id)
        claims = self._verified(token)
        account = claims.get("email")
        if claims.get("email_verified") is not True or not isinstance(account, str):
            raise ValueError("of no account that Google has verified")
        service = self._policy.service_of_account(account)
        if service is None:
            raise CredentialUnknown(account)
        return Proven(service, account=account)

    def _verified(self, token: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = id_token.verify_oauth2_token(
                token, self._certificates, audience=self._audience, clock_skew_in_seconds=CLOCK_SKEW_SECONDS
            )
        except (google.auth.exceptions.GoogleAuthError, ValueError) as error:
            if meaning_of(error) in (Meaning.OUTAGE, Meaning.CONFIGURATION):
                reason = f"Google's identity tokens cannot be verified ({type(error).__name__})."
                raise VerifierUnavailable(reason) from error
            raise CredentialUntrusted("It is not signed by Google, or not for now.") from error
        return claims

    def _assertion(self, jwt: strict_jwt.Unverified) -> Proven:
        """A JWT as RFC 7523, section 3, has it; `iss`, `sub`, `aud`, `exp`, `iat` and `jti` are all wanted."""
        claims = jwt.payload
        if jwt.header.get("typ", "JWT") != "JWT" or "crit" in jwt.header:
            raise ValueError("one whose header asks for something that no assertion needs")
        service, assertion_id = claims.get("iss"), claims.get("jti")
        if not isinstance(service, str) or claims.get("sub") != service:
            raise ValueError("one whose iss and sub are not the same service")
        if claims.get("aud") != self._audience:
            raise ValueError(f"for another audience than {self._audience}")
        if not _is_id(assertion_id):
            raise ValueError(f"one whose jti has not 1 to {MAX_JTI_CHARACTERS} characters of ASCII")
        issued_at, expires_at = strict_jwt.seconds(claims, "iat"), strict_jwt.seconds(claims, "exp")
        not_before = strict_jwt.seconds(claims, "nbf") if "nbf" in claims else issued_at
        key = self._signer(service, jwt)
        now = self._clock()
        if max(issued_at, not_before) > now + CLOCK_SKEW_SECONDS:
            raise ValueError("one that comes from the future")
        if now - issued_at > ASSERTION_MAX_AGE_SECONDS or now - CLOCK_SKEW_SECONDS >= expires_at:
            raise CredentialExpired
        return Proven(service, key_id=key.key_id, assertion_id=assertion_id)

    def _signer(self, service: str, jwt: strict_jwt.Unverified) -> RegisteredKey:
        """The registered key of `service` that has signed; a `kid` says which, and is its thumbprint."""
        named = jwt.header.get("kid")
        for key in self._policy.keys_of(service):
            if jwt.header.get("alg") != key.algorithm or named not in (None, key.key_id):
                continue
            if _ALGORITHMS[key.algorithm].verify(jwt.signing_input, key.public_key, jwt.signature):
                return key
        raise ValueError("not signed with a key that is registered for the service which it names")


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value.isascii() and 0 < len(value) <= MAX_JTI_CHARACTERS
