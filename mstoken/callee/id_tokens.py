"""Verification of Firebase ID tokens, of services and of users alike."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mstoken import strict_jwt
from mstoken.callee.firebase import Firebase
from mstoken.claims import ServiceClaims, has_token_id, token_sha256
from mstoken.errors import TokenExpired, TokenMalformed, TokenUntrusted
from mstoken.log_events import log_event
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from mstoken.wire import CLOCK_SKEW_SECONDS, ID_TOKEN_LIFETIME_SECONDS

MAX_REMEMBERED_TOKENS = 10_000
MAX_KNOWN_HEADERS = 64
"""Google publishes two to four keys at a time, and replaces each after some days."""

_log = logging.getLogger("mstoken.tokens")


@dataclass(slots=True)
class IdToken:
    """A verified ID token: its SHA-256, which proofs name (RFC 9449, section 4.2, `ath`), and its claims."""

    sha256: bytes
    claims: Mapping[str, Any]
    _service_claims: ServiceClaims | None = None

    @property
    def service_claims(self) -> ServiceClaims:
        """The `ms` claim. Raises `TokenNotService` if the token is not that of a service."""
        # Not a cached property: in Python 3.11 it takes a lock, which costs as much as half of the reading.
        found = self._service_claims
        if found is None:
            found = self._service_claims = ServiceClaims.parse(self.claims)
        return found


class IdTokenVerifier:
    """Verifies ID tokens of one Firebase project, for all event loops and threads of a process.

    A token that is valid for many calls is verified once and then remembered. A fresh service token is valid for one
    call, so it is not remembered.
    """

    def __init__(self, firebase: Firebase, clock: Callable[[], float]) -> None:
        """`clock` returns seconds since the epoch."""
        self._firebase = firebase
        self._clock = clock
        self._remembered: OrderedDict[bytes, IdToken] = OrderedDict()
        """Verified tokens by their SHA-256. The token used longest ago comes first."""
        self._known_headers: dict[str, Mapping[str, Any]] = {}
        """Headers of verified tokens, by their text in a token. All tokens that are signed with a key have the same."""
        self._has_advised = False

    async def verify(self, token: str) -> IdToken:
        """Return the verified ID token.

        Raises `TokenMalformed`, `TokenUntrusted`, `TokenExpired`, and `VerifierUnavailable` if tokens cannot be
        verified now.
        """
        sha256 = token_sha256(token)
        verified = self._remembered.get(sha256)
        if verified is not None:
            with suppress(KeyError):  # Another thread may have made room.
                self._remembered.move_to_end(sha256)
        else:
            verified = IdToken(sha256, await self._verify(token))
            if not has_token_id(verified.claims):
                self._remember(verified)
        if self._clock() - CLOCK_SKEW_SECONDS >= verified.claims["exp"]:
            raise TokenExpired
        return verified

    async def _verify(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token whose signature firebase-admin has verified, and whose times are plausible.

        The times are checked here because firebase-admin does not check them with the emulator, and never checks
        `auth_time`.
        """
        try:
            parts = strict_jwt.split(token)
            payload = strict_jwt.part(parts.payload)
            # The known ones have passed all checks of a header. They are compared letter by letter.
            known_header = self._known_headers.get(parts.header)
            header = strict_jwt.part(parts.header) if known_header is None else known_header
        except ValueError as error:
            raise TokenMalformed(f"The token is {error}.") from None
        jwt = strict_jwt.Unverified(token, header, payload, parts.signing_input, parts.signature)
        if not jwt.signature and jwt.header.get("alg") == "none":
            self._advise_to_sign()
            raise TokenUntrusted("The token is not signed.")
        try:
            key_id = strict_jwt.rs256_key_id(jwt.header)
            # These are read before the token is verified, because google-auth computes with values of any type.
            expires_at, issued_at = strict_jwt.seconds(payload, "exp"), strict_jwt.seconds(payload, "iat")
            auth_time = strict_jwt.seconds(payload, "auth_time")
        except ValueError as error:
            raise TokenUntrusted(f"The token is {error}.") from None
        claims = await self._firebase.verify(jwt, key_id)
        if known_header is None:
            if len(self._known_headers) >= MAX_KNOWN_HEADERS:
                self._known_headers.clear()
            self._known_headers[parts.header] = MappingProxyType(header)
        if not auth_time <= issued_at <= self._clock() + CLOCK_SKEW_SECONDS:
            raise TokenUntrusted("The iat of the token is in the future, or before its auth_time.")
        if expires_at - issued_at > ID_TOKEN_LIFETIME_SECONDS:
            raise TokenUntrusted(f"The token is valid for more than {ID_TOKEN_LIFETIME_SECONDS} s.")
        if not isinstance(claims.get("firebase"), dict) or "tenant" in claims["firebase"]:
            raise TokenUntrusted("The token belongs to a tenant of the project, or has no firebase claim.")
        return claims

    def _advise_to_sign(self) -> None:
        """Log what to do if the Auth emulator made the token. Once is enough: anyone can send such a token."""
        if not self._has_advised:
            self._has_advised = True
            advice = (
                "a caller sent an unsigned token. If the Auth emulator made it, run `mstoken emulator`, and set "
                f"{AUTH_EMULATOR_VARIABLE} to the address that it prints, in the caller too"
            )
            log_event(_log, logging.WARNING, "unsigned token", advice)

    def _remember(self, token: IdToken) -> None:
        self._remembered[token.sha256] = token
        if len(self._remembered) > MAX_REMEMBERED_TOKENS:
            self._remembered.popitem(last=False)
