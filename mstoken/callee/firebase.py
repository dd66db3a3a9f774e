"""What Firebase says of a token and of an identity, in our errors."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import google.auth.exceptions
from firebase_admin import auth, exceptions

from mstoken.admin import admin_app
from mstoken.errors import Refusal, TokenExpired, TokenUntrusted, VerifierUnavailable
from mstoken.settings import Settings

CLOCK_SKEW_SECONDS = 5
"""How far the clocks of Firebase and of this machine may be apart."""


@dataclass(frozen=True, slots=True)
class IdentityStatus:
    """Whether an identity is disabled, and from when on its sign-ins count, in seconds since the epoch."""

    disabled: bool
    valid_since: int


class Firebase(Protocol):
    """What the callee asks of Firebase. Both calls raise `VerifierUnavailable` where there is no telling now."""

    async def verify(self, token: str) -> dict[str, Any]:
        """The claims of an ID token of this project. Raises `TokenExpired` and `TokenUntrusted`."""
        ...

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        """The status of each of up to 100 identities; those that do not exist are left out."""
        ...


class AdminFirebase:
    """Firebase through firebase-admin.

    Sources: Firebase, "Verify ID tokens using the Firebase Admin SDK"; "Bulk retrieve user data" (`get_users`).
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._app = admin_app(settings)

    async def verify(self, token: str) -> dict[str, Any]:
        """See `Firebase.verify`."""
        # While the variable is set firebase-admin verifies nothing, so it must not have appeared since the start.
        self._settings.check_process_environment()
        try:
            claims: dict[str, Any] = await asyncio.to_thread(
                auth.verify_id_token, token, self._app, clock_skew_seconds=CLOCK_SKEW_SECONDS
            )
        except Exception as error:
            raise refusal_for(error) from error
        return claims

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


_REFUSALS: Mapping[type[Exception], type[TokenExpired | TokenUntrusted]] = {
    auth.ExpiredIdTokenError: TokenExpired,
    auth.InvalidIdTokenError: TokenUntrusted,
}


def refusal_for(error: Exception) -> Refusal:
    """The refusal that an error of firebase-admin or google-auth amounts to.

    What is said of the token is the token's fault; anything else that these libraries raise is an outage. An error
    of neither is a defect in the program, and is raised again as it is.
    """
    for kind in type(error).__mro__:
        if kind in _REFUSALS:
            return _REFUSALS[kind]()
    if isinstance(error, exceptions.FirebaseError | google.auth.exceptions.GoogleAuthError):
        return VerifierUnavailable(f"Firebase could not be asked ({type(error).__name__}).")
    raise error
