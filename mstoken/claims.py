"""What a service token says of itself: the header that it travels in, the identity, and the `ms` claim.

Firebase reserves `aud`, `jti`, `cnf` and `nonce` among developer claims, so ours are nested in one claim, `ms`
(Firebase, "Create custom tokens": reserved claim names).
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from mstoken.errors import TokenNotService
from mstoken.wire import (
    CLAIM_VERSION,
    UID_PREFIX,
    Mode,
)

_SERVICE_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TOKEN_ID = re.compile(r"[A-Za-z0-9_-]{22}")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class ServiceClaims:
    """The `ms` claim: `service` calls `audience`.

    A fresh token has a random `token_id`, and counts once. A bound one has the thumbprint of a key (RFC 7638), and
    counts with a proof of that key for each call. Exactly one of the two is not None.
    """

    service: str
    audience: str
    token_id: str | None = None
    key_thumbprint: str | None = None

    @classmethod
    def fresh(cls, service: str, audience: str) -> "ServiceClaims":
        """Claims with a new id of 128 random bits, base64url (22 characters)."""
        return cls(service, audience, token_id=secrets.token_urlsafe(16))

    @classmethod
    def bound(cls, service: str, audience: str, key_thumbprint: str) -> "ServiceClaims":
        """Claims for whoever holds the key with this thumbprint, base64url of SHA-256 (43 characters)."""
        return cls(service, audience, key_thumbprint=key_thumbprint)

    @property
    def uid(self) -> str:
        """The Firebase uid of the service identity, such as `svc:billing`."""
        return service_uid(self.service)

    @property
    def mode(self) -> Mode:
        """Which kind of token these claims make."""
        return "fresh" if self.key_thumbprint is None else "proof"

    def as_developer_claims(self) -> dict[str, Any]:
        """What `create_custom_token` takes as developer claims."""
        one = {"jti": self.token_id} if self.key_thumbprint is None else {"jkt": self.key_thumbprint}
        return {"ms": {"v": CLAIM_VERSION, "svc": self.service, "aud": self.audience} | one}

    @classmethod
    def parse(cls, claims: Mapping[str, Any]) -> "ServiceClaims":
        """The `ms` claim out of an ID token's verified `claims`.

        Raises `TokenNotService` unless the token came from a sign-in with a custom token, its uid is that of the
        service which it names, and the claim has a version and a shape that we know.
        """
        firebase = claims.get("firebase")
        if not isinstance(firebase, dict) or firebase.get("sign_in_provider") != "custom":
            raise TokenNotService("Its sign-in provider is not 'custom'.")
        ms = claims.get("ms")
        if not isinstance(ms, dict):
            raise TokenNotService("It has no ms claim.")
        if type(ms.get("v")) is not int or ms["v"] != CLAIM_VERSION:
            raise TokenNotService("Its ms claim has a version that is not known here.")
        service, audience = ms.get("svc"), ms.get("aud")
        if not _is_service_name(service) or not _is_service_name(audience):
            raise TokenNotService("Its ms claim names no service or no audience.")
        if claims.get("sub") != service_uid(service):
            raise TokenNotService("Its uid is not that of the service which it names.")
        one = ms.keys() - {"v", "svc", "aud"}
        if one == {"jti"} and _is_text(ms["jti"], _TOKEN_ID):
            return cls(service, audience, token_id=ms["jti"])
        if one == {"jkt"} and is_thumbprint(ms["jkt"]):
            return cls(service, audience, key_thumbprint=ms["jkt"])
        raise TokenNotService("Its ms claim has neither an id nor a key's thumbprint, or more than is known here.")


def service_name(value: str) -> str:
    """`value` if it can name a service: 1 to 63 of a-z, 0-9 and '-', a letter first. Raises ValueError."""
    if not _is_service_name(value):
        raise ValueError(f"{value!r} is no service name: 1 to 63 of a-z, 0-9 and '-' are wanted, a letter first")
    return value


def service_uid(service: str) -> str:
    """The Firebase uid of a service's identity, such as `svc:billing` for `billing`."""
    return UID_PREFIX + service


def token_sha256(token: str) -> bytes:
    """The SHA-256 of a token as it came."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def log_name(secret: str) -> str:
    """What a log line calls a token, or an id that counts once: the first eight characters of its SHA-256, in hex."""
    return token_sha256(secret).hex()[:8]


def is_thumbprint(value: object) -> TypeGuard[str]:
    """Whether `value` can be the thumbprint of a key: base64url of a SHA-256, 43 characters."""
    return _is_text(value, _THUMBPRINT)


def _is_service_name(value: object) -> TypeGuard[str]:
    return _is_text(value, _SERVICE_NAME)


def _is_text(value: object, pattern: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
