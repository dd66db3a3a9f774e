"""How the token service authenticates a service: by a Google identity token, or by an assertion (RFC 7523).

A Google identity token proves which service account the caller runs as. An assertion is a JWT that the service has
signed with a registered key.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import google.auth.exceptions
from google.oauth2 import id_token

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
from mstoken.jwk import is_es256_signature
from mstoken.upstream_errors import Meaning, meaning_of
from mstoken.wire import ASSERTION_MAX_AGE_SECONDS, CLOCK_SKEW_SECONDS, MAX_JTI_CHARACTERS, SIGNATURE_ALGORITHM

GOOGLE_ISSUER = "https://accounts.google.com"


@dataclass(frozen=True, slots=True)
class ProvenService:
    """A service that has proved its identity: as the `account` that it runs as, or with the key `key_id`.

    With a key, `assertion_id` is the `jti` of the assertion, which can be used once, and `issued_at` is its `iat`, in
    seconds since the epoch.
    """

    service: str
    account: str | None = None
    key_id: str | None = None
    assertion_id: str | None = None
    issued_at: float = 0.0

    def __str__(self) -> str:
        return f"account {self.account}" if self.account is not None else f"key {self.key_id}"


class CredentialVerifier:
    """Verifies credentials, and tells which service they belong to."""

    def __init__(
        self,
        policy: Policy,
        audience: str,
        certificates: CertificateCache,
        replay: ReplayStore,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`audience` is the URL of the token service, `certificates` are Google's.

        `clock` returns seconds since the epoch.
        """
        self._policy = policy
        self._audience = audience
        self._certificates = certificates
        self._replay = replay
        self._clock = clock

    async def verify(self, authorizations: Sequence[str]) -> ProvenService:
        """Return the service whose credential is in the one `Authorization` header line. This spends nothing.

        Raise a `CredentialRefused`, or `VerifierUnavailable` if the credential cannot be verified now.
        """
        if not authorizations:
            raise CredentialMissing("Send a Google identity token or an assertion in Authorization: Bearer.")
        try:
            token = strict_jwt.bearer_token(authorizations)
        except ValueError as error:
            raise CredentialMalformed(str(error)) from None
        try:
            jwt = strict_jwt.unverified(token)
        except ValueError as error:
            raise CredentialMalformed(f"The credential is {error}.") from None
        if jwt.payload.get("aud") != self._audience:
            raise CredentialUntrusted(f"The audience (aud) of the credential is not {self._audience}.")
        try:
            if jwt.payload.get("iss") == GOOGLE_ISSUER:
                return await self._verify_google_token(token, jwt)
            return self._verify_assertion(jwt)
        except ValueError as error:
            raise CredentialUntrusted(f"The credential is {error}.") from None

    async def spend(self, proven: ProvenService) -> None:
        """Make sure that an assertion cannot be used again. A Google identity token can be used until it expires.

        Raise `CredentialReplayed` if the assertion was used before, and `VerifierUnavailable` if the replay store
        does not answer or began after the assertion was issued.
        """
        if proven.assertion_id is not None:
            keep_seconds = ASSERTION_MAX_AGE_SECONDS + 2 * CLOCK_SKEW_SECONDS
            one_time_id = f"assertion.{proven.service}.{proven.assertion_id}"
            expires_at = self._clock() + keep_seconds
            if not await self._replay.spend(one_time_id, issued_at=proven.issued_at, expires_at=expires_at):
                raise CredentialReplayed

    async def _verify_google_token(self, token: str, jwt: strict_jwt.Unverified) -> ProvenService:
        """Check the signature, issuer, audience and times (Google Cloud, "Verify an ID token"); look up the account."""
        key_id = strict_jwt.rs256_key_id(jwt.header)
        # Checked before the verification, because google-auth computes with whatever values it finds.
        strict_jwt.seconds(jwt.payload, "iat")
        if self._clock() - CLOCK_SKEW_SECONDS >= strict_jwt.seconds(jwt.payload, "exp"):
            raise CredentialExpired
        await self._certificates.ensure_key(key_id)
        claims = self._google_claims(token)
        account = claims.get("email")
        if claims.get("email_verified") is not True or not isinstance(account, str):
            raise CredentialUntrusted(
                "The token has no email address that Google has verified. Request it with format=full."
            )
        service = self._policy.service_of_account(account)
        if service is None:
            raise CredentialUnknown(account)
        return ProvenService(service, account=account)

    def _google_claims(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that google-auth has verified."""
        try:
            claims: dict[str, Any] = id_token.verify_oauth2_token(
                token, self._certificates, audience=self._audience, clock_skew_in_seconds=CLOCK_SKEW_SECONDS
            )
        except (google.auth.exceptions.GoogleAuthError, ValueError) as error:
            if meaning_of(error) in (Meaning.OUTAGE, Meaning.CONFIGURATION):
                reason = f"Google's identity tokens cannot be verified ({type(error).__name__})."
                raise VerifierUnavailable(reason) from error
            raise CredentialUntrusted("Google has not signed the token, or it is not valid at this time.") from error
        return claims

    def _verify_assertion(self, jwt: strict_jwt.Unverified) -> ProvenService:
        """Check an assertion (RFC 7523, section 3). `iss`, `sub`, `aud`, `exp`, `iat` and `jti` are required."""
        claims = jwt.payload
        if jwt.header.get("typ", "JWT") != "JWT" or "crit" in jwt.header:
            raise CredentialUntrusted("The header of the assertion has an unexpected typ or crit.")
        service, assertion_id = claims.get("iss"), claims.get("jti")
        if not isinstance(service, str) or claims.get("sub") != service:
            raise CredentialUntrusted("The iss and sub of the assertion must be the name of the same service.")
        if not (
            isinstance(assertion_id, str) and assertion_id.isascii() and 0 < len(assertion_id) <= MAX_JTI_CHARACTERS
        ):
            raise CredentialUntrusted(f"The jti of the assertion must have 1 to {MAX_JTI_CHARACTERS} ASCII characters.")
        issued_at, expires_at = strict_jwt.seconds(claims, "iat"), strict_jwt.seconds(claims, "exp")
        not_before = strict_jwt.seconds(claims, "nbf") if "nbf" in claims else issued_at
        key = self._signing_key(service, jwt)
        now = self._clock()
        if key.has_expired(now):
            raise CredentialUntrusted(f"The registered key {key.key_id} has expired, on {key.expires}.")
        if max(issued_at, not_before) > now + CLOCK_SKEW_SECONDS:
            raise CredentialUntrusted("The assertion is from the future, by the clock of the token service.")
        if now - issued_at > ASSERTION_MAX_AGE_SECONDS or now - CLOCK_SKEW_SECONDS >= expires_at:
            raise CredentialExpired
        return ProvenService(service, key_id=key.key_id, assertion_id=assertion_id, issued_at=issued_at)

    def _signing_key(self, service: str, jwt: strict_jwt.Unverified) -> RegisteredKey:
        """Return the registered key of `service` that has signed `jwt`. A `kid` in the header is its thumbprint."""
        key_id = jwt.header.get("kid")
        if jwt.header.get("alg") == SIGNATURE_ALGORITHM:
            for key in self._policy.keys_of(service):
                if key_id in (None, key.key_id) and is_es256_signature(
                    jwt.signature, jwt.signing_input, key.public_key
                ):
                    return key
        raise CredentialUntrusted("The assertion is not signed with a registered key of the service in iss.")
