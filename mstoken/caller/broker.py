"""Custom tokens from the token service, which knows who may call whom, and is the only one that can sign."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from mstoken import strict_jwt
from mstoken.caller.credentials import Credential, GoogleIdentity, RegisteredKey
from mstoken.caller.exchange import Exchange, member
from mstoken.claims import ServiceClaims
from mstoken.errors import SettingsError, SignInRefused
from mstoken.settings import Settings


class BrokerMinter:
    """Asks the token service that the settings name. Retries, time-outs and errors are those of signing in; to get an
    identity token from its platform, google-auth has its own.
    """

    def __init__(
        self,
        settings: Settings,
        service: str,
        *,
        credential: Credential | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`credential` is how `service` proves itself; left out, it is its registered key, if the settings have one,
        and else what its platform gave it. Raises `SettingsError` where a key cannot be read.
        """
        url = settings.token_service_url
        if url is None:
            raise SettingsError("MSTOKEN_TOKEN_SERVICE_URL is not set: the URL of the token service is wanted.")
        self._exchange = Exchange("the token service", url, _error_code, sleep=sleep)
        if credential is None:
            key_file = settings.private_key_file
            credential = RegisteredKey(service, url, key_file) if key_file else GoogleIdentity(url)
        self._credential = credential

    async def mint(self, client: httpx.AsyncClient, claims: ServiceClaims) -> str:
        """See `mstoken.caller.minting.Minter.mint`."""

        async def headers() -> Mapping[str, str]:
            return {"Authorization": f"Bearer {await self._credential.assertion(claims.uid)}"}

        content = {"audience": claims.audience, "mode": claims.mode}
        if claims.key_thumbprint is not None:
            content["jkt"] = claims.key_thumbprint
        try:
            token = await self._exchange.post(client, claims.uid, content, headers=headers, wanted="custom_token")
        except SignInRefused:
            self._credential.refused()
            raise
        if (uid := _uid(token)) != claims.uid:
            raise SignInRefused(claims.uid, f"to the token service this process is {uid}")
        return token


def _uid(custom_token: str) -> Any:
    """Whom a custom token is for. Firebase verifies it; here it only tells whose credentials this process has."""
    try:
        return strict_jwt.unverified(custom_token).payload.get("uid")
    except ValueError:
        return None


def _error_code(response: httpx.Response) -> str:
    code = member(response, "code")
    return "without a code" if code is None else str(code)[:80]
