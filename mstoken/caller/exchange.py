"""Exchanging one thing for another over HTTP: a POST of JSON, tried again where another try may help."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from mstoken.errors import SignInRefused, SignInUnavailable

ATTEMPTS = 3
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 2.0
TIMEOUT_SECONDS = 5.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0
"""What a server asks for beyond that is a mistake, and must not keep a process waiting for ever."""


class Exchange:
    """One address of a server that has a `name` in errors. `error_code` finds the code in an answer that is no 200.

    `jitter` gives a number in [0, 1).
    """

    def __init__(
        self,
        name: str,
        url: str,
        error_code: Callable[[httpx.Response], str],
        *,
        jitter: Callable[[], float] = random.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._url = url
        self._error_code = error_code
        self._jitter = jitter
        self._sleep = sleep

    async def post(
        self,
        client: httpx.AsyncClient,
        uid: str,
        content: Mapping[str, Any],
        *,
        params: Mapping[str, str] | None = None,
        headers: Callable[[], Awaitable[Mapping[str, str]]] | None = None,
        wanted: str,
    ) -> str:
        """The text `wanted` in the answer of 200 to `content`. Each attempt has `headers` of its own.

        An answer of 429 or 5xx is tried again, three times in all, after a random part of a growing delay, or after
        the `Retry-After` of the answer where that is no longer than 2 s. Any other failure is not.

        Raises `SignInRefused` for another status, and `SignInUnavailable` when the attempts are used up or the
        network fails; `uid` is who could not sign in.
        """
        for attempt in range(1, ATTEMPTS + 1):
            response = await self._ask(client, uid, content, params, await headers() if headers else None)
            if response.status_code == httpx.codes.OK:
                return self._wanted(uid, response, wanted)
            reason = f"{self._name} answered {response.status_code} {self._error_code(response)}"
            if response.status_code != httpx.codes.TOO_MANY_REQUESTS and not response.is_server_error:
                raise SignInRefused(uid, reason)
            asked_seconds = _retry_after_seconds(response)
            backoff_seconds = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (attempt - 1)) * self._jitter()
            if attempt == ATTEMPTS or asked_seconds > LONGEST_BACKOFF_SECONDS:
                raise SignInUnavailable(uid, reason, retry_after_seconds=max(1.0, asked_seconds))
            await self._sleep(max(asked_seconds, backoff_seconds))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _ask(
        self,
        client: httpx.AsyncClient,
        uid: str,
        content: Mapping[str, Any],
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response:
        try:
            return await client.post(self._url, params=params, json=content, headers=headers, timeout=TIMEOUT_SECONDS)
        except httpx.HTTPError as error:
            raise SignInUnavailable(uid, f"{self._name} could not be reached ({type(error).__name__})") from error

    def _wanted(self, uid: str, response: httpx.Response, wanted: str) -> str:
        found = member(response, wanted)
        if not isinstance(found, str) or not found:
            raise SignInUnavailable(uid, f"{self._name} answered 200 without a member {wanted}")
        return found


def member(response: httpx.Response, *path: str) -> object:
    """What stands at `path` in the JSON of an answer; None where there is no such thing."""
    try:
        value = response.json()
        for name in path:
            value = value[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value


def _retry_after_seconds(response: httpx.Response) -> float:
    """The seconds of `Retry-After` (RFC 9110, section 10.2.3), an hour at most; 0 where it is absent or a date."""
    value = response.headers.get("Retry-After", "")
    return min(float(value), LONGEST_RETRY_AFTER_SECONDS) if value.isascii() and value.isdigit() else 0.0
