"""How a service authenticates to the token service: with an identity token from its platform, or with its own key."""

import logging
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from typing_extensions import override

from mstoken.blocking import DEADLINE_SECONDS, call_blocking
from mstoken.caller.identity_tokens import IdentityToken, IdentityTokenMissing, fetch_identity_token
from mstoken.claims import service_name
from mstoken.errors import SettingsError, SignInUnavailable
from mstoken.google_credentials import named_type
from mstoken.jwk import public_jwk, thumbprint
from mstoken.log_events import log_event
from mstoken.single_flight import SingleFlight
from mstoken.wire import ASSERTION_MAX_AGE_SECONDS, SIGNATURE_ALGORITHM

_GOOGLE_AUTH_ERRORS = (GoogleAuthError, OSError, ValueError, KeyError, TypeError, ArithmeticError)
"""What google-auth raises: its own errors, and those that a malformed file or answer causes in it."""

_log = logging.getLogger("mstoken.tokens")


class Credential(Protocol):
    """Authenticates this process to the token service."""

    async def assertion(self, uid: str) -> str:
        """Return a JWT for one request to the token service. `uid` is the identity that signs in.

        Raise `SignInUnavailable`.
        """
        ...

    def refused(self) -> None:
        """Note that the token service refused the last assertion."""
        ...


class GoogleIdentity(Credential):
    """The identity token of this process's service account, from the metadata server of a Google platform.

    It is taken from the key file that GOOGLE_APPLICATION_CREDENTIALS names, if that is a service account's, and
    otherwise from the metadata server. A token is valid for an hour, and is fetched again shortly before its end.
    """

    def __init__(self, audience: str, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """`audience` is the URL of the token service. A token is waited for until the deadline.

        Raise `SettingsError` if GOOGLE_APPLICATION_CREDENTIALS names a file that cannot be read.
        """
        named_type(os.environ)
        self._audience = audience
        self._deadline_seconds = deadline_seconds
        self._token: IdentityToken | None = None
        self._flight = SingleFlight(self._fetch, "mstoken identity token")

    @override
    async def assertion(self, uid: str) -> str:
        token = self._token
        if token is None or not token.is_usable(time.time()):
            try:
                token = await self._flight.join()
            except IdentityTokenMissing as error:
                raise _no_identity_token(uid, str(error)) from error
            except _GOOGLE_AUTH_ERRORS as error:
                # Most messages of google-auth repeat what it has read, so only this one is repeated here.
                details = str(error) if type(error) is DefaultCredentialsError else type(error).__name__
                raise _no_identity_token(uid, details) from error
        return token.text

    @override
    def refused(self) -> None:
        # The platform may have given this process another service account since.
        self._token = None

    async def _fetch(self) -> IdentityToken:
        began = time.perf_counter()
        self._token = token = await call_blocking(
            fetch_identity_token, self._audience, deadline_seconds=self._deadline_seconds
        )
        took_ms = round((time.perf_counter() - began) * 1000, 1)
        message = f"an identity token was fetched from the platform in {took_ms} ms"
        log_event(_log, logging.INFO, "identity token", message, took_ms=took_ms)
        return token


def _no_identity_token(uid: str, details: str) -> SignInUnavailable:
    return SignInUnavailable(uid, f"the platform provided no identity token ({details})")


class PrivateKeyCredential(Credential):
    """A private key of this service, whose public key is in the token service's policy (RFC 7523, section 3).

    It signs assertions: JWTs that are valid for one request, within a minute.
    """

    def __init__(self, service: str, audience: str, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """`audience` is the URL of the token service, `path` a file with an EC P-256 private key in PEM.

        Raise `SettingsError` if there is no such key in the file.
        """
        self._service = service_name(service)
        self._audience = audience
        self._clock = clock
        self._key = _read_private_key(path)
        self._key_id = thumbprint(public_jwk(self._key.public_key()))

    @override
    async def assertion(self, uid: str) -> str:
        now = int(self._clock())
        claims = {
            "iss": self._service,
            "sub": self._service,
            "aud": self._audience,
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + ASSERTION_MAX_AGE_SECONDS,
        }
        return jwt.encode(claims, self._key, SIGNATURE_ALGORITHM, headers={"kid": self._key_id})

    @override
    def refused(self) -> None:
        """Do nothing: the next assertion is a new one in any case."""


def _read_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise _key_error(path, f"the file cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _key_error(path, "the file does not contain a private key in PEM without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _key_error(path, f"the key cannot sign with {SIGNATURE_ALGORITHM}")
    return key


def _key_error(path: Path, problem: str) -> SettingsError:
    return SettingsError(
        f"MSTOKEN_PRIVATE_KEY_FILE is {str(path)!r}: {problem}. It must name a file with an EC P-256 private key in "
        "PEM without a password. `mstoken keys add` creates one."
    )
