"""Signing in: a custom token for an ID token, over the Identity Toolkit REST API.

Source: Firebase Auth REST API, "Exchange custom token for an ID and refresh token"
(`accounts:signInWithCustomToken`).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

import httpx

from mstoken.caller.exchange import Exchange, member
from mstoken.settings import Settings


class SignIn:
    """Exchanges custom tokens of one Firebase project. `jitter` gives a number in [0, 1)."""

    def __init__(
        self,
        settings: Settings,
        *,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        url = f"{settings.identity_toolkit_url}/accounts:signInWithCustomToken"
        self._exchange = Exchange("Firebase", url, _error_code, jitter=jitter, sleep=sleep)
        self._params = {"key": settings.web_api_key}

    async def exchange(self, client: httpx.AsyncClient, uid: str, custom_token: str) -> str:
        """The ID token for `custom_token`, whose uid is `uid`. Tries again and raises as `Exchange.post` does.

        The refresh token in the answer is dropped here: what it gives would repeat the token's id.
        """
        content = {"token": custom_token, "returnSecureToken": True}
        return await self._exchange.post(client, uid, content, params=self._params, wanted="idToken")


def _error_code(response: httpx.Response) -> str:
    """The code in Firebase's error body, such as USER_DISABLED; the text behind a colon is left out."""
    message = member(response, "error", "message")
    return "without a reason" if message is None else str(message).partition(" :")[0][:80]
