"""How this process proves to the token service which service it is: with what its platform gave it, or with a key."""

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import google.auth.exceptions
import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from google.auth.transport.requests import Request
from google.oauth2 import id_token
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from mstoken.claims import ASSERTION_SECONDS, service_name
from mstoken.errors import SettingsError, SignInUnavailable
from mstoken.proof import thumbprint

_log = logging.getLogger("mstoken.tokens")


class Credential(Protocol):
    """Proves who this process is."""

    async def assertion(self, uid: str) -> str:
        """A JWT for one request to the token service, in which `uid` wants to sign in.

        Raises `SignInUnavailable`.
        """
        ...

    def refused(self) -> None:
        """The token service did not take the last one."""
        ...


class GoogleIdentity:
    """The identity token of this process's service account, from the metadata server of Cloud Run and its like.

    google-auth finds it as it finds everything: in the file that GOOGLE_APPLICATION_CREDENTIALS names, if it is a
    service account's, else at the metadata server. A token is good for an hour, and asked for anew before it is over.
    Source: Google Cloud, "Get an ID token" (`fetch_id_token_credentials`); AIP-4110.
    """

    def __init__(self, audience: str) -> None:
        """`audience` is the token service's URL."""
        self._audience = audience
        self._lock = threading.Lock()
        self._credentials: google.auth.credentials.Credentials | None = None

    async def assertion(self, uid: str) -> str:
        """See `Credential.assertion`."""
        credentials = self._credentials
        if credentials is None or not credentials.valid:
            try:
                # In a thread: google-auth knows no other way to wait.
                credentials = await asyncio.to_thread(self._refreshed)
            except (google.auth.exceptions.GoogleAuthError, OSError, ValueError) as error:
                # google-auth does not tell a metadata server that is not there from one that does not answer now.
                raise SignInUnavailable(uid, f"its platform gave no identity token ({error})") from error
        return str(credentials.token)

    def refused(self) -> None:
        """See `Credential.refused`: the account may be another one now."""
        self._credentials = None

    def _refreshed(self) -> google.auth.credentials.Credentials:
        with self._lock:
            credentials = self._credentials
            if credentials is None or not credentials.valid:
                began, request = time.perf_counter(), Request()
                credentials = id_token.fetch_id_token_credentials(self._audience, request)
                credentials.refresh(request)
                self._credentials = credentials
                _log.info("identity token", extra={"took_ms": round((time.perf_counter() - began) * 1000, 1)})
            return credentials


class RegisteredKey:
    """A key of this service's own, whose public half the token service's policy has (RFC 7523, section 3).

    An assertion is a JWT that is good for one request and for a minute.
    """

    def __init__(self, service: str, audience: str, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """`audience` is the token service's URL, `path` a private key in PEM: EC P-256 or Ed25519.

        Raises `SettingsError` where there is no such key.
        """
        self._service = service_name(service)
        self._audience = audience
        self._clock = clock
        self._key = _private_key(path)
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            self._algorithm, jwk = "ES256", ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        else:
            self._algorithm, jwk = "EdDSA", OKPAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self._key_id = thumbprint(jwk)

    async def assertion(self, uid: str) -> str:
        """See `Credential.assertion`."""
        now = int(self._clock())
        claims = {
            "iss": self._service,
            "sub": self._service,
            "aud": self._audience,
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
        }
        return jwt.encode(claims, self._key, self._algorithm, headers={"kid": self._key_id})

    def refused(self) -> None:
        """See `Credential.refused`: the next one will be another in any case."""


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    wanted = "MSTOKEN_PRIVATE_KEY_FILE: a private key in PEM without a password is wanted, EC P-256 or Ed25519"
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SettingsError(f"{wanted}; the file cannot be read ({error.strerror}).") from None
    except (ValueError, TypeError):
        raise SettingsError(f"{wanted}; the file holds something else.") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise SettingsError(f"{wanted}; the file holds a key of another kind.")
