"""Signing in: a custom token for an ID token, over the Identity Toolkit REST API.

Source: Firebase Auth REST API, "Exchange custom token for an ID and refresh token"
(`accounts:signInWithCustomToken`).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

import httpx

from mstoken.errors import SignInRefused, SignInUnavailable
from mstoken.settings import Settings

ATTEMPTS = 3
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 2.0
TIMEOUT_SECONDS = 5.0


class SignIn:
    """Exchanges custom tokens of one Firebase project. `jitter` gives a number in [0, 1)."""

    def __init__(
        self,
        settings: Settings,
        *,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._url = f"{settings.identity_toolkit_url}/accounts:signInWithCustomToken"
        self._api_key = settings.web_api_key
        self._jitter = jitter
        self._sleep = sleep

    async def exchange(self, client: httpx.AsyncClient, uid: str, custom_token: str) -> str:
        """The ID token for `custom_token`, whose uid is `uid`.

        The refresh token in the answer is dropped here: what it gives would repeat the token's id. An answer of 429
        or 5xx is tried again, three times in all, after a random part of a growing delay, or after the `Retry-After`
        of the answer where that is no longer than 2 s. Any other failure is not.

        Raises `SignInRefused` for another status, and `SignInUnavailable` when the attempts are used up or the
        network fails.
        """
        for attempt in range(1, ATTEMPTS + 1):
            response = await self._ask(client, uid, custom_token)
            if response.status_code == httpx.codes.OK:
                return _id_token(uid, response)
            if response.status_code != httpx.codes.TOO_MANY_REQUESTS and not response.is_server_error:
                raise SignInRefused(uid, f"Firebase answered {response.status_code} {_error_code(response)}")
            asked_seconds = _retry_after_seconds(response)
            backoff_seconds = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (attempt - 1)) * self._jitter()
            if attempt == ATTEMPTS or asked_seconds > LONGEST_BACKOFF_SECONDS:
                raise SignInUnavailable(
                    uid,
                    f"Firebase answered {response.status_code} {_error_code(response)}",
                    retry_after_seconds=max(1.0, asked_seconds),
                )
            await self._sleep(max(asked_seconds, backoff_seconds))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _ask(self, client: httpx.AsyncClient, uid: str, custom_token: str) -> httpx.Response:
        try:
            return await client.post(
                self._url,
                params={"key": self._api_key},
                json={"token": custom_token, "returnSecureToken": True},
                timeout=TIMEOUT_SECONDS,
            )
        except httpx.HTTPError as error:
            raise SignInUnavailable(uid, f"Firebase could not be reached ({type(error).__name__})") from error


def _id_token(uid: str, response: httpx.Response) -> str:
    try:
        token = response.json()["idToken"]
    except (ValueError, KeyError, TypeError):
        token = None
    if not isinstance(token, str) or not token:
        raise SignInUnavailable(uid, "Firebase answered 200 without an ID token")
    return token


def _error_code(response: httpx.Response) -> str:
    """The code in Firebase's error body, such as USER_DISABLED; the text behind a colon is left out."""
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return "without a reason"
    return str(message).partition(" :")[0][:80]


def _retry_after_seconds(response: httpx.Response) -> float:
    """The seconds of `Retry-After` (RFC 9110, section 10.2.3); 0 where it is absent or a date."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0
