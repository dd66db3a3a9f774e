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
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.oauth2 import id_token
from typing_extensions import override

from mstoken.blocking import DEADLINE_SECONDS, call_blocking
from mstoken.claims import service_name
from mstoken.errors import SettingsError, SignInUnavailable
from mstoken.extras import needed_by
from mstoken.google_credentials import CREDENTIALS_VARIABLE, check_file
from mstoken.google_transport import GoogleRequest
from mstoken.jwk import public_jwk, thumbprint
from mstoken.log_events import log_event
from mstoken.single_flight import SingleFlight
from mstoken.wire import ASSERTION_MAX_AGE_SECONDS, SIGNATURE_ALGORITHM

_GOOGLE_AUTH_ERRORS = (GoogleAuthError, OSError, ValueError, KeyError, TypeError, ArithmeticError)
"""What google-auth raises: its own errors, and those that a malformed answer of the metadata server causes in it."""

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

    google-auth takes it from the key file that GOOGLE_APPLICATION_CREDENTIALS names, if that is a service account's,
    and otherwise from the metadata server. A token is valid for an hour, and is fetched again shortly before its end.
    Source: Google Cloud, "Get an ID token" (`fetch_id_token_credentials`); AIP-4110.
    """

    def __init__(self, audience: str, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """`audience` is the URL of the token service. A token is waited for until the deadline.

        Raise `SettingsError` if GOOGLE_APPLICATION_CREDENTIALS names a file that cannot be read. Raise `MissingExtra`
        if it names none, and the package requests is not installed.
        """
        check_file(os.environ)
        if not os.environ.get(CREDENTIALS_VARIABLE):
            # This part of google-auth imports requests. google-auth reports its absence as a missing metadata server.
            with needed_by("An identity token of the metadata server", "requests"):
                import google.auth.compute_engine  # noqa: F401 - only to see that it can be imported
        self._audience = audience
        self._deadline_seconds = deadline_seconds
        self._credentials: Credentials | None = None
        self._flight = SingleFlight(self._fetch, "mstoken identity token")

    @override
    async def assertion(self, uid: str) -> str:
        credentials = self._credentials
        if credentials is None or not credentials.valid:
            try:
                credentials = await self._flight.join()
            except _GOOGLE_AUTH_ERRORS as error:
                # google-auth does not distinguish a machine without a metadata server from a server that is down.
                # Most of its messages repeat what it has read, so only this one is repeated here.
                details, advice = type(error).__name__, ""
                if type(error) is DefaultCredentialsError:
                    details, advice = str(error), ". Outside Google Cloud, set MSTOKEN_PRIVATE_KEY_FILE"
                raise SignInUnavailable(uid, f"the platform provided no identity token ({details}){advice}") from error
        return str(credentials.token)

    @override
    def refused(self) -> None:
        # The platform may have given this process another service account since.
        self._credentials = None

    async def _fetch(self) -> Credentials:
        began = time.perf_counter()
        self._credentials = credentials = await call_blocking(
            self._fetch_blocking, deadline_seconds=self._deadline_seconds
        )
        took_ms = round((time.perf_counter() - began) * 1000, 1)
        message = f"an identity token was fetched from the platform in {took_ms} ms"
        log_event(_log, logging.INFO, "identity token", message, took_ms=took_ms)
        return credentials

    def _fetch_blocking(self) -> Credentials:
        request = GoogleRequest()
        credentials: Credentials = id_token.fetch_id_token_credentials(self._audience, request)
        credentials.refresh(request)
        return credentials


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
