"""Firebase, as the callee uses it: it verifies ID tokens and looks up identities. Errors become refusals."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import firebase_admin
import google.auth.exceptions
from firebase_admin import auth
from typing_extensions import override

from mstoken.admin import AdminApp
from mstoken.blocking import DEADLINE_SECONDS, call_blocking
from mstoken.callee.admin_verification import admin_verification
from mstoken.callee.certificates import CertificateCache, CertificateFile, CertificateSource, PublishedCertificates
from mstoken.errors import Refusal, SettingsError, TokenExpired, TokenUntrusted, VerifierUnavailable
from mstoken.settings import DEMO_PREFIX, Settings, emulator_missing
from mstoken.strict_jwt import Unverified
from mstoken.upstream_errors import Meaning, meaning_of

_log = logging.getLogger("mstoken.firebase")


@dataclass(frozen=True, slots=True)
class IdentityStatus:
    """What Firebase says of an identity. The times are in seconds since the epoch.

    Sign-ins before `valid_since` are not valid. Firebase sets it when sessions are revoked, and also when the identity
    is created, at `created_at`.
    """

    disabled: bool
    valid_since: int
    created_at: int = 0

    @property
    def was_revoked(self) -> bool:
        """Whether sessions were revoked after the identity was created."""
        # Firebase may have read its clock twice when it created the identity, so the times may be a second apart.
        return self.valid_since > self.created_at + 1

    def accepts(self, auth_time: int, minted_at: int | None = None) -> bool:
        """Return whether a sign-in at `auth_time` is valid. For a service, its custom token was minted at `minted_at`.

        Nothing that was minted before a revocation is valid after it. The second of the revocation counts as before it,
        because the token may be older. This does not hold for the creation of the identity: the first sign-in of a
        service creates it, with a custom token that was minted before.
        """
        if self.disabled or auth_time < self.valid_since:
            return False
        return minted_at is None or not self.was_revoked or min(minted_at, auth_time) > self.valid_since


class IdentityDirectory(Protocol):
    """Tells the status of identities."""

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        """Return the status of each of up to 100 identities. Identities that do not exist are left out.

        Raises `VerifierUnavailable` if Firebase cannot answer now.
        """
        ...


class Firebase(IdentityDirectory, Protocol):
    """What the callee needs of Firebase. Every method raises `VerifierUnavailable` if Firebase cannot answer now."""

    async def open(self) -> None:
        """Start the background work. An outage is not an error here: the work is repeated until it succeeds."""
        ...

    async def aclose(self) -> None:
        """End the background work."""
        ...

    def ready(self) -> str | None:
        """Check that tokens can be verified now. Return a warning, or None."""
        ...

    async def verify(self, jwt: Unverified, key_id: str) -> dict[str, Any]:
        """Return the claims of an ID token of this project that is signed with RS256 and the key `key_id`.

        Raises `TokenExpired` and `TokenUntrusted`.
        """
        ...


class AdminDirectory(IdentityDirectory):
    """The identities of a Firebase project, through firebase-admin.

    Source: Firebase, "Manage users", "Bulk retrieve user data" (`get_users`).
    """

    def __init__(
        self, settings: Settings, app: AdminApp | None = None, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> None:
        """`app` is the app to use, by default one of its own. An answer is waited for until the deadline.

        Raise `SettingsError` if the environment and the settings name different emulators.
        """
        self._app = app or AdminApp(settings)
        self._deadline_seconds = deadline_seconds

    @override
    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        identifiers = [auth.UidIdentifier(uid) for uid in uids]
        try:
            result = await call_blocking(
                lambda: auth.get_users(identifiers, self._app.get()), deadline_seconds=self._deadline_seconds
            )
        except TimeoutError:
            raise VerifierUnavailable(f"Firebase did not answer within {self._deadline_seconds:g} s.") from None
        except Exception as error:
            raise refusal_for(error) from error
        return {
            user.uid: IdentityStatus(
                user.disabled,
                valid_since=int(user.tokens_valid_after_timestamp or 0) // 1000,
                created_at=int(user.user_metadata.creation_timestamp or 0) // 1000,
            )
            for user in result.users
        }


class AdminFirebase(Firebase):
    """Firebase through firebase-admin, with certificates from memory.

    Its firebase-admin app is its own. So any number of verifiers in one process keep certificates of their own.
    Source: Firebase, "Verify ID tokens using the Firebase Admin SDK".
    """

    def __init__(self, settings: Settings) -> None:
        """Raise `SettingsError` if the environment and the settings name different emulators."""
        self._settings = settings
        self._certificates = CertificateCache(_certificate_source(settings))
        self._app = AdminApp(settings, self._use_certificates)
        self._directory = AdminDirectory(settings, self._app)
        self._open_in: set[asyncio.AbstractEventLoop] = set()

    @override
    async def open(self) -> None:
        """Start the background work. Raise `SettingsError` if firebase-admin finds no credentials."""
        self._open_in.add(asyncio.get_running_loop())
        with suppress(TimeoutError):
            await self._make_client()
        await self._certificates.open()

    @override
    async def aclose(self) -> None:
        """End the background work of this event loop. Close the connections to Firebase if no other loop needs them."""
        await self._certificates.aclose()
        self._open_in.discard(asyncio.get_running_loop())
        if all(loop.is_closed() for loop in list(self._open_in)):
            self._app.close()

    @override
    def ready(self) -> str | None:
        self._certificates.ready()
        return self._certificates.last_error

    @override
    async def verify(self, jwt: Unverified, key_id: str) -> dict[str, Any]:
        # While the variable is set, firebase-admin does not verify signatures. It may have been set after the start.
        self._settings.check_process_environment()
        await self._certificates.ensure_key(key_id)
        try:
            if self._app.peek() is None:
                await self._make_client()
            verification = self._verification
            # With the emulator, firebase-admin skips the signature. Times are checked by `IdTokenVerifier`, which
            # distinguishes expired from untrusted tokens.
            if self._settings.emulator_host:
                verification.verify_signature(jwt, self._settings.project_id)
            if verification.is_in_memory:
                return verification.verify_id_token(jwt)
            return await call_blocking(verification.verify_id_token, jwt)
        except TimeoutError:
            raise VerifierUnavailable(f"Google did not answer within {DEADLINE_SECONDS:g} s.") from None
        except Exception as error:
            raise refusal_for(error) from error

    @override
    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        return await self._directory.look_up(uids)

    def _use_certificates(self, app: firebase_admin.App) -> None:
        self._verification = admin_verification(make_auth_client(app), self._certificates)

    async def _make_client(self) -> None:
        """Make the app and the client of this process. That may block, so it happens in a thread."""
        await call_blocking(self._app.get)


def make_auth_client(app: firebase_admin.App) -> auth.Client:
    """Return the client with which the functions of `firebase_admin.auth` serve `app`.

    It can verify tokens also after the app was deleted, which another thread may do. Raises `SettingsError` if
    firebase-admin finds no credentials.
    """
    try:
        return auth._get_client(app)
    except google.auth.exceptions.DefaultCredentialsError as error:
        if str(app.project_id).startswith(DEMO_PREFIX):
            # What Google's library says about credentials would hide the setting that is missing.
            raise SettingsError(emulator_missing(str(app.project_id))) from None
        text = f"firebase-admin finds no credentials, which it needs to look up identities: {error}"
        raise SettingsError(text) from error


def _certificate_source(settings: Settings) -> CertificateSource:
    if settings.certificates_file:
        return CertificateFile(settings.certificates_file)
    return PublishedCertificates(settings.certificates_url)


def refusal_for(error: Exception) -> Refusal:
    """Return the refusal for an error of firebase-admin or google-auth.

    An error about the token is a refusal of the token. Every other error of these libraries is an outage. An error of
    neither library is a defect in the program, and is raised as it is.
    """
    match meaning_of(error):
        case Meaning.EXPIRED:
            return TokenExpired()
        case Meaning.UNTRUSTED:
            return TokenUntrusted()
        case Meaning.OUTAGE | Meaning.CONFIGURATION:
            return VerifierUnavailable(f"Firebase could not be asked ({type(error).__name__}).")
    raise error
