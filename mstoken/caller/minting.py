"""Custom tokens for signing in: who signs them, this process or the token service.

Anyone who can sign custom tokens can sign in as any identity. So `AdminMinter` (in `admin_minter`), with which this
process signs, is for laptops and for the token service. All other services use `BrokerMinter`, which asks the token
service.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from typing_extensions import override

from mstoken import strict_jwt
from mstoken.caller.connections import Connections
from mstoken.caller.credentials import Credential, GoogleIdentity, PrivateKeyCredential
from mstoken.caller.signin import TokenExchange
from mstoken.claims import ServiceClaims
from mstoken.errors import SettingsError, SignInRefused
from mstoken.extras import needed_by
from mstoken.settings import Settings
from mstoken.wire import BEARER_SCHEME


class Minter(Protocol):
    """Makes custom tokens for service identities."""

    async def mint(self, connections: Connections, claims: ServiceClaims) -> str:
        """Return a custom token for `claims.uid` with these developer claims. Requests are sent by `connections`.

        The time at which it is signed replaces `claims.minted_at`. The token service also replaces `claims.token_id` by
        an id of its own. Raise `SignInRefused` if another attempt cannot help, and `SignInUnavailable` if it may.
        """
        ...


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
    """Return the minter for `service`: the token service if the settings name one, and otherwise this process.

    Raise `MissingExtra` if this process must sign, and firebase-admin is not installed.
    """
    if settings.token_service_url:
        return BrokerMinter(settings, service, sleep=sleep)
    with needed_by("A process without MSTOKEN_TOKEN_SERVICE_URL signs its custom tokens itself, which", "admin"):
        from mstoken.caller.admin_minter import AdminMinter
    return AdminMinter(settings)


def _unverified_uid(custom_token: str) -> object:
    try:
        return strict_jwt.unverified(custom_token).payload.get("uid")
    except ValueError:
        return None
