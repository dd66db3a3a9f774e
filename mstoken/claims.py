"""The names of services and the `ms` claim of service tokens.

Firebase reserves `aud`, `jti`, `cnf` and `nonce` among developer claims, so this library's claims are nested in one
claim, `ms` (Firebase, "Create custom tokens": reserved claim names).
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from mstoken import strict_jwt
from mstoken.errors import TokenNotService
from mstoken.wire import CLAIM_VERSION, MODES, SERVICE_CLAIM, UID_PREFIX, Mode

_SERVICE_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TOKEN_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class ServiceClaims:
    """The contents of the `ms` claim: `service` calls `audience`.

    `minted_at` is when the custom token was signed, in seconds since the epoch, by the clock of the process that signed
    it. A session keeps it, however often somebody signs in with the custom token or refreshes the session.

    A fresh token has a random `token_id` and is accepted once. A bound token has the thumbprint of a key (RFC 7638) and
    is accepted with a new proof of that key for each call. Exactly one of the two is not None.
    """

    service: str
    audience: str
    minted_at: int
    token_id: str | None = None
    key_thumbprint: str | None = None

    @classmethod
    def fresh(cls, service: str, audience: str, *, minted_at: float) -> "ServiceClaims":
        """Return claims with a new id of 128 random bits, as 22 characters of base64url."""
        return cls(service, audience, int(minted_at), token_id=secrets.token_urlsafe(16))

    @classmethod
    def bound(cls, service: str, audience: str, key_thumbprint: str, *, minted_at: float) -> "ServiceClaims":
        """Return claims that are bound to the key with this thumbprint, 43 characters of base64url."""
        return cls(service, audience, int(minted_at), key_thumbprint=key_thumbprint)

    def with_minted_at(self, seconds: float) -> "ServiceClaims":
        """Return these claims for a custom token that is signed at `seconds` since the epoch. A fraction is dropped."""
        return replace(self, minted_at=int(seconds))

    @property
    def uid(self) -> str:
        """The Firebase uid of the service identity, such as `svc:billing`."""
        return service_uid(self.service)

    @property
    def mode(self) -> Mode:
        """The mode of a token with these claims."""
        return "fresh" if self.key_thumbprint is None else "proof"

    def as_developer_claims(self) -> dict[str, Any]:
        """Return the developer claims for firebase-admin's `create_custom_token`."""
        id_or_key = {"jti": self.token_id} if self.key_thumbprint is None else {"jkt": self.key_thumbprint}
        common = {"v": CLAIM_VERSION, "svc": self.service, "aud": self.audience, "iat": self.minted_at}
        return {SERVICE_CLAIM: common | id_or_key}

    @classmethod
    def parse(cls, claims: Mapping[str, Any]) -> "ServiceClaims":
        """Return the contents of the `ms` claim of an ID token with these verified `claims`.

        Raises `TokenNotService` unless the sign-in was with a custom token, the uid is that of the service in the
        claim, and the claim has a known version and the members of that version.
        """
        firebase = claims.get("firebase")
        if not isinstance(firebase, dict) or firebase.get("sign_in_provider") != "custom":
            raise TokenNotService("The sign-in provider of the token is not 'custom'.")
        ms = claims.get(SERVICE_CLAIM)
        if not isinstance(ms, dict):
            raise TokenNotService(f"The token has no {SERVICE_CLAIM} claim.")
        if type(ms.get("v")) is not int or ms["v"] != CLAIM_VERSION:
            raise TokenNotService(f"The version of the {SERVICE_CLAIM} claim is not {CLAIM_VERSION}.")
        service, audience = ms.get("svc"), ms.get("aud")
        if not _is_service_name(service) or not _is_service_name(audience):
            raise TokenNotService(f"The {SERVICE_CLAIM} claim does not name a service and an audience.")
        if claims.get("sub") != service_uid(service):
            raise TokenNotService(f"The uid of the token is not that of the service in the {SERVICE_CLAIM} claim.")
        try:
            minted_at = strict_jwt.seconds(ms, "iat")
        except ValueError:
            raise TokenNotService(f"The {SERVICE_CLAIM} claim has no iat, a time in whole seconds.") from None
        if len(ms) == 5:  # v, svc, aud and iat, which were found, and one other
            token_id, key_thumbprint = ms.get("jti"), ms.get("jkt")
            if _is_text(token_id, _TOKEN_ID):
                return cls(service, audience, minted_at, token_id)
            if is_thumbprint(key_thumbprint):
                return cls(service, audience, minted_at, None, key_thumbprint)
        raise TokenNotService(f"The {SERVICE_CLAIM} claim must have a valid jti or a valid jkt, and no other member.")


def has_token_id(claims: Mapping[str, Any]) -> bool:
    """Return whether these verified claims are those of a fresh token, which has an id and is used once."""
    ms = claims.get(SERVICE_CLAIM)
    return isinstance(ms, dict) and "jti" in ms


def service_name(value: str) -> str:
    """Return `value` if it is a service name: 1 to 63 of a-z, 0-9 and '-', beginning with a letter.

    Raises ValueError for other values.
    """
    if not _is_service_name(value):
        raise ValueError(
            f"{value!r} is not a service name: it must have 1 to 63 characters of a-z, 0-9 and '-', begin with a "
            "letter, and not end with '-'"
        )
    return value


def token_mode(value: str) -> Mode:
    """Return `value` if it is a mode, `fresh` or `proof`. Raise ValueError for other values."""
    for mode in MODES:
        if value == mode:
            return mode
    raise ValueError(f"{value!r} is not a mode: expected {' or '.join(MODES)}")


def service_uid(service: str) -> str:
    """Return the Firebase uid of a service's identity, such as `svc:billing` for `billing`."""
    return UID_PREFIX + service


def token_sha256(token: str) -> bytes:
    """Return the SHA-256 of a token, as it was received."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def log_name(secret: str) -> str:
    """Return the name of a token or of a one-time id in logs: the first eight characters of its SHA-256, in hex."""
    return token_sha256(secret).hex()[:8]


def is_thumbprint(value: object) -> TypeGuard[str]:
    """Return whether `value` can be the thumbprint of a key: a SHA-256 in base64url, 43 characters."""
    return _is_text(value, _THUMBPRINT)


def _is_service_name(value: object) -> TypeGuard[str]:
    return _is_text(value, _SERVICE_NAME)


def _is_text(value: object, pattern: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
