"""Custom tokens that this process signs itself, with firebase-admin."""

import os
import time
from collections.abc import Callable

import google.auth.exceptions
from firebase_admin import auth, exceptions
from typing_extensions import override

from mstoken.admin import AdminApp
from mstoken.blocking import DEADLINE_SECONDS, call_blocking
from mstoken.caller.connections import Connections
from mstoken.caller.minting import Minter
from mstoken.claims import ServiceClaims
from mstoken.errors import SignInError, SignInRefused, SignInUnavailable
from mstoken.google_credentials import check_can_sign
from mstoken.settings import Settings
from mstoken.upstream_errors import Meaning, meaning_of


class AdminMinter(Minter):
    """Signs custom tokens in this process, with firebase-admin.

    It signs with the key of a service account or through IAM's signBlob. For the emulator it does not sign.
    Source: Firebase, "Create custom tokens", using a service account or letting the Admin SDK discover one.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """`clock` returns seconds since the epoch. A signature is waited for until the deadline.

        Raise `SettingsError` if the environment and the settings name different emulators, or if the credentials of
        this process cannot sign.
        """
        if settings.emulator_host is None:
            check_can_sign(os.environ)
        self._app = AdminApp(settings)
        self._clock = clock
        self._deadline_seconds = deadline_seconds

    @override
    async def mint(self, connections: Connections, claims: ServiceClaims) -> str:
        return await self.sign(claims)

    async def sign(self, claims: ServiceClaims) -> str:
        """Return a custom token with these claims, minted now. Raise as `mint` does."""
        # The time before the signature, which may take seconds: a custom token must never look newer than it is.
        claims = claims.with_minted_at(self._clock())
        try:
            # In a thread, because IAM's signBlob is a request. A signature with a key takes a third of a millisecond.
            token = await call_blocking(
                lambda: auth.create_custom_token(claims.uid, claims.as_developer_claims(), self._app.get()),
                deadline_seconds=self._deadline_seconds,
            )
        except TimeoutError:
            reason = f"the custom token could not be signed within {self._deadline_seconds:g} s"
            raise SignInUnavailable(claims.uid, reason) from None
        except (ValueError, exceptions.FirebaseError, google.auth.exceptions.GoogleAuthError) as error:
            raise _signing_error(claims.uid, error) from error
        return str(token, "ascii")


def _signing_error(uid: str, error: Exception) -> SignInError:
    """Return what a failure to sign means for a caller: an outage passes, a missing credential does not."""
    # If firebase-admin finds no way to sign, it wraps the reason in a ValueError.
    cause = error.__cause__ if type(error) is ValueError and isinstance(error.__cause__, Exception) else error
    if meaning_of(cause) is Meaning.OUTAGE:
        return SignInUnavailable(uid, f"the custom token could not be signed ({type(cause).__name__})")
    return SignInRefused(uid, f"this process has no credential to sign a custom token with: {error}")
