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

SERVICE_TOKEN_HEADER = "X-MS-TOKEN"
UID_PREFIX = "svc:"
VERSION = 1

_SERVICE_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_TOKEN_ID = re.compile(r"[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class ServiceClaims:
    """The `ms` claim of a fresh token: `service` calls `audience`, once, under the random `token_id`."""

    service: str
    audience: str
    token_id: str

    @classmethod
    def fresh(cls, service: str, audience: str) -> "ServiceClaims":
        """Claims with a new id of 128 random bits, base64url (22 characters)."""
        return cls(service, audience, secrets.token_urlsafe(16))

    @property
    def uid(self) -> str:
        """The Firebase uid of the service identity, such as `svc:billing`."""
        return service_uid(self.service)

    def as_developer_claims(self) -> dict[str, Any]:
        """What `create_custom_token` takes as developer claims."""
        claim = {"v": VERSION, "svc": self.service, "aud": self.audience, "jti": self.token_id}
        return {"ms": claim}

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
        if type(ms.get("v")) is not int or ms["v"] != VERSION:
            raise TokenNotService("Its ms claim has a version that is not known here.")
        service, audience, token_id = ms.get("svc"), ms.get("aud"), ms.get("jti")
        if not _is_service_name(service) or not _is_service_name(audience):
            raise TokenNotService("Its ms claim names no service or no audience.")
        if claims.get("sub") != service_uid(service):
            raise TokenNotService("Its uid is not that of the service which it names.")
        if (
            ms.keys() != {"v", "svc", "aud", "jti"}
            or not isinstance(token_id, str)
            or not _TOKEN_ID.fullmatch(token_id)
        ):
            raise TokenNotService("Its ms claim has no id of 128 bits, or more than is known here.")
        return cls(service, audience, token_id)


def service_name(value: str) -> str:
    """`value` if it can name a service: 1 to 63 of a-z, 0-9 and '-', a letter first. Raises ValueError."""
    if not _is_service_name(value):
        raise ValueError(f"{value!r} is no service name: 1 to 63 of a-z, 0-9 and '-' are wanted, a letter first")
    return value


def service_uid(service: str) -> str:
    """The Firebase uid of a service's identity, such as `svc:billing` for `billing`."""
    return UID_PREFIX + service


def token_digest(token: str) -> str:
    """The first eight characters of the token's SHA-256, in hexadecimal: how a log line may name a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _is_service_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _SERVICE_NAME.fullmatch(value) is not None
