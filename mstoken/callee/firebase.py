"""What Firebase says of a token and of an identity, in our errors."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import firebase_admin
import google.auth.exceptions
from firebase_admin import auth
from google.oauth2 import id_token

from mstoken.admin import admin_app
from mstoken.callee.certificates import CertificateCache, CertificateFile, CertificateSource, PublishedCertificates
from mstoken.errors import Refusal, SettingsError, TokenExpired, TokenUntrusted, VerifierUnavailable
from mstoken.settings import Settings
from mstoken.upstream_errors import Meaning, meaning_of
from mstoken.wire import CLOCK_SKEW_SECONDS

_ANY_TIME_SECONDS = 10**12
_log = logging.getLogger("mstoken.firebase")


@dataclass(frozen=True, slots=True)
class IdentityStatus:
    """Whether an identity is disabled, and from when on its sign-ins count, in seconds since the epoch."""

    disabled: bool
    valid_since: int


class Firebase(Protocol):
    """What the callee asks of Firebase. Each call raises `VerifierUnavailable` where there is no telling now."""

    async def open(self) -> None:
        """Gets ready, and stays so in the background; an outage is no obstacle."""
        ...

    async def aclose(self) -> None:
        """Ends the background work."""
        ...

    def ready(self) -> str | None:
        """Returns if tokens can be verified now: None, or what is wrong all the same."""
        ...

    async def verify(self, token: str, key_id: str) -> dict[str, Any]:
        """The claims of an ID token of this project, signed with RS256 and the key `key_id`.

        Raises `TokenExpired` and `TokenUntrusted`.
        """
        ...

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        """The status of each of up to 100 identities; those that do not exist are left out."""
        ...


class AdminFirebase:
    """Firebase through firebase-admin, its certificates from memory.

    Sources: Firebase, "Verify ID tokens using the Firebase Admin SDK"; "Bulk retrieve user data" (`get_users`).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app = admin_app(settings)
        self._certificates = CertificateCache(_certificate_source(settings))
        self._verifies_in_memory = hand_over_certificates(self._app, self._certificates)

    async def open(self) -> None:
        """See `Firebase.open`."""
        await self._certificates.open()

    async def aclose(self) -> None:
        """See `Firebase.aclose`."""
        await self._certificates.aclose()

    def ready(self) -> str | None:
        """See `Firebase.ready`."""
        self._certificates.ready()
        return self._certificates.last_error

    async def verify(self, token: str, key_id: str) -> dict[str, Any]:
        """See `Firebase.verify`."""
        # While the variable is set firebase-admin verifies no signature: it must not have appeared since the start.
        self._settings.check_process_environment()
        await self._certificates.ensure_key(key_id)
        try:
            if self._settings.emulator_host:
                self._verify_signature(token)
            if self._verifies_in_memory:
                return self._verify(token)
            return await asyncio.to_thread(self._verify, token)
        except Exception as error:
            raise refusal_for(error) from error

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        """See `Firebase.look_up`."""
        identifiers = [auth.UidIdentifier(uid) for uid in uids]
        try:
            found = await asyncio.to_thread(auth.get_users, identifiers, self._app)
        except Exception as error:
            raise refusal_for(error) from error
        return {
            user.uid: IdentityStatus(user.disabled, int(user.tokens_valid_after_timestamp or 0) // 1000)
            for user in found.users
        }

    def _verify(self, token: str) -> dict[str, Any]:
        claims: dict[str, Any] = auth.verify_id_token(token, self._app, clock_skew_seconds=CLOCK_SKEW_SECONDS)
        return claims

    def _verify_signature(self, token: str) -> None:
        """What firebase-admin leaves out against the emulator, by the google-auth code that it uses in production.

        Times are the verifier's, which tells an expired token from an untrusted one.
        """
        id_token.verify_token(
            token,
            self._certificates,
            audience=self._settings.project_id,
            certs_url=self._settings.certificates_url,
            clock_skew_in_seconds=_ANY_TIME_SECONDS,
        )


def hand_over_certificates(app: firebase_admin.App, certificates: CertificateCache) -> bool:
    """Makes firebase-admin take its certificates from `certificates`; False where it will not.

    It keeps its fetcher on a private attribute, and offers no other way. A release that moves it is found by a test;
    until then firebase-admin fetches for itself, and the verifier gives it a thread to wait in.
    Raises `SettingsError` where there are no credentials for firebase-admin.
    """
    try:
        verifier = auth._get_client(app)._token_verifier
        stock = verifier.request
    except google.auth.exceptions.DefaultCredentialsError as error:
        raise SettingsError(
            f"firebase-admin finds no credentials, which looking up identities needs: {error}"
        ) from error
    except AttributeError:
        stock = None
    if not callable(stock):
        _log.warning("firebase-admin does not take certificates from memory; it fetches them itself")
        return False
    verifier.request = certificates
    return True


def _certificate_source(settings: Settings) -> CertificateSource:
    if settings.certificates_file:
        return CertificateFile(settings.certificates_file)
    return PublishedCertificates(settings.certificates_url)


def refusal_for(error: Exception) -> Refusal:
    """The refusal that an error of firebase-admin or google-auth amounts to.

    What is said of the token is the token's fault; anything else that these libraries raise is an outage here. An
    error of neither is a defect in the program, and is raised again as it is.
    """
    match meaning_of(error):
        case Meaning.EXPIRED:
            return TokenExpired()
        case Meaning.UNTRUSTED:
            return TokenUntrusted()
        case Meaning.OUTAGE | Meaning.CONFIGURATION:
            return VerifierUnavailable(f"Firebase could not be asked ({type(error).__name__}).")
    raise error
