"""Where custom tokens come from.

A `Minter` makes the custom token that a service signs in with. `AdminMinter` has firebase-admin sign in this very
process. Whoever may sign custom tokens may be anyone, so that is right for a laptop and for the token service, and
for nobody else: everybody else has a `BrokerMinter` (`mstoken.caller.broker`), which asks the token service.
"""

import asyncio
from typing import Protocol

import google.auth.exceptions
import httpx
from firebase_admin import auth, exceptions

from mstoken.admin import admin_app
from mstoken.claims import ServiceClaims
from mstoken.errors import SignInError, SignInRefused, SignInUnavailable
from mstoken.settings import Settings
from mstoken.upstream_errors import Meaning, meaning_of


class Minter(Protocol):
    """Makes custom tokens for service identities."""

    async def mint(self, client: httpx.AsyncClient, claims: ServiceClaims) -> str:
        """A custom token for `claims.uid`, its developer claims those of `claims`; a token service puts an id of its
        own in place of theirs. `client` is for requests, if it takes any.

        Raises `SignInRefused` where asking again will not help, `SignInUnavailable` where it may.
        """
        ...


class AdminMinter:
    """firebase-admin signs here: with the service account's key, by IAM's signBlob, or not at all on the emulator.

    Source: Firebase, "Create custom tokens", using a service account or letting the Admin SDK discover one.
    """

    def __init__(self, settings: Settings) -> None:
        self._app = admin_app(settings)

    async def mint(self, client: httpx.AsyncClient, claims: ServiceClaims) -> str:
        """See `Minter.mint`."""
        return await self.sign(claims)

    async def sign(self, claims: ServiceClaims) -> str:
        """A custom token with just these claims. Raises as `mint` does."""
        try:
            # In a thread: IAM's signBlob is a request, and a signature with a key is a third of a millisecond.
            token = await asyncio.to_thread(
                auth.create_custom_token, claims.uid, claims.as_developer_claims(), self._app
            )
        except (ValueError, exceptions.FirebaseError, google.auth.exceptions.GoogleAuthError) as error:
            raise _sign_in_error(claims.uid, error) from error
        return str(token, "ascii")


def _sign_in_error(uid: str, error: Exception) -> SignInError:
    """What a failure to sign means to a caller: no signer at all is for good, no network is for now."""
    # firebase-admin wraps whatever kept it from finding a signer in a ValueError.
    cause = error.__cause__ if type(error) is ValueError and isinstance(error.__cause__, Exception) else error
    if meaning_of(cause) is Meaning.OUTAGE:
        return SignInUnavailable(uid, f"the custom token could not be signed ({type(cause).__name__})")
    return SignInRefused(uid, f"there is nothing to sign a custom token with: {error}")
