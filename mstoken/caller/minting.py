"""Custom tokens for signing in: who signs them, this process or the token service.

Anyone who can sign custom tokens can sign in as any identity. So `AdminMinter`, with which this process signs, is for
laptops and for the token service. All other services use `BrokerMinter`, which asks the token service.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import google.auth.exceptions
from firebase_admin import auth, exceptions
from typing_extensions import override

from mstoken import strict_jwt
from mstoken.admin import AdminApp
from mstoken.blocking import DEADLINE_SECONDS, call_blocking
from mstoken.caller.connections import Connections
from mstoken.caller.credentials import Credential, GoogleIdentity, PrivateKeyCredential
from mstoken.caller.signin import TokenExchange
from mstoken.claims import ServiceClaims
from mstoken.errors import SettingsError, SignInError, SignInRefused, SignInUnavailable
from mstoken.google_credentials import check_can_sign
from mstoken.settings import Settings
from mstoken.upstream_errors import Meaning, meaning_of
from mstoken.wire import BEARER_SCHEME


class Minter(Protocol):
    """Makes custom tokens for service identities."""

    async def mint(self, connections: Connections, claims: ServiceClaims) -> str:
        """Return a custom token for `claims.uid` with these developer claims. Requests are sent by `connections`.

        The time at which it is signed replaces `claims.minted_at`. The token service also replaces `claims.token_id` by
        an id of its own. Raise `SignInRefused` if another attempt cannot help, and `SignInUnavailable` if it may.
        """
        ...


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


class BrokerMinter(Minter):
    """Gets custom tokens from the token service, which signs them for the service that it has authenticated.

    Retries, time-outs and errors are those of `TokenExchange`. google-auth has its own for the identity token.
    """

    def __init__(
        self,
        settings: Settings,
        service: str,
        *,
        credential: Credential | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`credential` authenticates `service`. By default it is the private key in the settings, if there is one, and
        otherwise the identity token of the platform.

        Raise `SettingsError` if the settings have no URL of the token service, or if the key cannot be read.
        """
        url = settings.token_service_url
        if url is None:
            raise SettingsError("MSTOKEN_TOKEN_SERVICE_URL is not set. Set it to the URL of the token service.")
        self._exchange = TokenExchange("the token service", url, code_path=("code",), sleep=sleep)
        if credential is None:
            key_file = settings.private_key_file
            credential = PrivateKeyCredential(service, url, key_file) if key_file else GoogleIdentity(url)
        self._credential = credential

    @override
    async def mint(self, connections: Connections, claims: ServiceClaims) -> str:
        async def headers() -> Mapping[str, str]:
            return {"Authorization": f"{BEARER_SCHEME} {await self._credential.assertion(claims.uid)}"}

        content = {"audience": claims.audience, "mode": claims.mode}
        if claims.key_thumbprint is not None:
            content["jkt"] = claims.key_thumbprint
        try:
            token = await self._exchange.post(connections, claims.uid, content, member="custom_token", headers=headers)
        except SignInRefused:
            self._credential.refused()
            raise
        # Firebase verifies the token. This check only explains a process that has the credential of another service.
        if (uid := _unverified_uid(token)) != claims.uid:
            reason = f"the token service issued a custom token for {uid}: check which credential this process uses"
            raise SignInRefused(claims.uid, reason)
        return token


def default_minter(settings: Settings, service: str, sleep: Callable[[float], Awaitable[object]]) -> Minter:
    """Return the minter for `service`: the token service if the settings name one, and otherwise this process."""
    return BrokerMinter(settings, service, sleep=sleep) if settings.token_service_url else AdminMinter(settings)


def _signing_error(uid: str, error: Exception) -> SignInError:
    """Return what a failure to sign means for a caller: an outage passes, a missing credential does not."""
    # If firebase-admin finds no way to sign, it wraps the reason in a ValueError.
    cause = error.__cause__ if type(error) is ValueError and isinstance(error.__cause__, Exception) else error
    if meaning_of(cause) is Meaning.OUTAGE:
        return SignInUnavailable(uid, f"the custom token could not be signed ({type(cause).__name__})")
    return SignInRefused(uid, f"this process has no credential to sign a custom token with: {error}")


def _unverified_uid(custom_token: str) -> object:
    try:
        return strict_jwt.unverified(custom_token).payload.get("uid")
    except ValueError:
        return None
