"""How this process proves to the token service which service it is: with what its platform gave it, or with a key."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from mstoken.claims import service_name
from mstoken.errors import SettingsError, SignInUnavailable
from mstoken.jwk import public_jwk, thumbprint
from mstoken.wire import ASSERTION_MAX_AGE_SECONDS

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_FAILURES = (GoogleAuthError, OSError, ValueError, KeyError, TypeError, ArithmeticError)
"""What google-auth raises: its own errors, and those of computing with whatever the metadata server has answered."""

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
        self._credentials: Credentials | None = None
        self._fetching: asyncio.Task[Credentials] | None = None

    async def assertion(self, uid: str) -> str:
        """See `Credential.assertion`. Those who ask meanwhile share one answer, or one failure."""
        credentials = self._credentials
        if credentials is None or not credentials.valid:
            fetching = self._fetching
            # That of another loop may be one of before a fork, which nobody works on here.
            if fetching is None or fetching.get_loop() is not asyncio.get_running_loop():
                fetching = self._fetching = asyncio.create_task(self._fetch(), name="mstoken identity token")
            try:
                credentials = await asyncio.shield(fetching)
            except _FAILURES as error:
                # google-auth does not tell a metadata server that is not there from one that does not answer now. Most
                # of its texts repeat what was read.
                said = str(error) if type(error) is DefaultCredentialsError else type(error).__name__
                raise SignInUnavailable(uid, f"its platform gave no identity token ({said})") from error
        return str(credentials.token)

    def refused(self) -> None:
        """See `Credential.refused`: the account may be another one now."""
        self._credentials = None

    async def _fetch(self) -> Credentials:
        began = time.perf_counter()
        try:
            # In a thread: google-auth knows no other way to wait.
            self._credentials = credentials = await asyncio.to_thread(self._fetched)
        finally:
            self._fetching = None
        _log.info("identity token", extra={"took_ms": round((time.perf_counter() - began) * 1000, 1)})
        return credentials

    def _fetched(self) -> Credentials:
        request = Request()
        credentials: Credentials = id_token.fetch_id_token_credentials(self._audience, request)
        credentials.refresh(request)
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
        jwk = public_jwk(self._key.public_key())
        self._algorithm = "ES256" if jwk["kty"] == "EC" else "EdDSA"
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
            "exp": now + ASSERTION_MAX_AGE_SECONDS,
        }
        return jwt.encode(claims, self._key, self._algorithm, headers={"kid": self._key_id})

    def refused(self) -> None:
        """See `Credential.refused`: the next one will be another in any case."""


def _private_key(path: Path) -> PrivateKey:
    wanted = "MSTOKEN_PRIVATE_KEY_FILE: a private key in PEM without a password is wanted, EC P-256 or Ed25519"
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise SettingsError(f"{wanted}; the file cannot be read ({error.strerror}).") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(f"{wanted}; the file holds something else.") from None
    if isinstance(key, PrivateKey):
        try:
            public_jwk(key.public_key())
        except ValueError:
            pass
        else:
            return key
    raise SettingsError(f"{wanted}; the file holds a key of another kind.")
