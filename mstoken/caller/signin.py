"""Signing in at Firebase: the exchange of a custom token for an ID token, and the retries of such an exchange."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import httpx

from mstoken.backoff import RANDOM, Backoff
from mstoken.caller import answers
from mstoken.caller.answers import json_member
from mstoken.caller.connections import DIED, Connections
from mstoken.errors import SignInRefused, SignInUnavailable
from mstoken.header_fields import retry_after_seconds
from mstoken.settings import RUN_EMULATOR, Settings
from mstoken.wire import API_KEY_HEADER

MAX_ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
MAX_RETRY_AFTER_SECONDS = 3600.0
"""A server that asks for more is mistaken. A process must not pause for ever because of it."""
_MAX_CODE_CHARACTERS = 80


class TokenExchange:
    """Gets tokens from one URL of a server, by a POST of JSON."""

    def __init__(
        self,
        server: str,
        url: str,
        *,
        code_path: Sequence[str],
        advice: str = "",
        jitter: Callable[[], float] = RANDOM.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`server` is the name of the server in errors, `code_path` the place of the code in its error answers.
        `advice` says what to do if the server cannot be reached.

        `jitter` returns a number from 0 to 1, `clock` seconds since the epoch.
        """
        self._clock = clock
        self._server = server
        self._url = url
        self._code_path = code_path
        self._advice = f". {advice}" if advice else ""
        self._backoff = Backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, jitter)
        self._sleep = sleep

    async def post(
        self,
        connections: Connections,
        uid: str,
        content: Mapping[str, Any],
        *,
        member: str,
        headers: Callable[[], Awaitable[Mapping[str, str]]],
    ) -> str:
        """Send `content` and return the string in this `member` of the answer. `uid` is the identity that signs in.

        After an answer that stands for an error that passes (`answers`), try again: three attempts in all, each with
        new `headers`. The pause between two attempts is that of the back-off, or longer if the answer asks for it, but
        at most 2 s. If a connection dies before the answer, the attempt is made once more on a new connection: a
        sign-in may be repeated.

        Raise `SignInRefused` for another answer. Raise `SignInUnavailable` after the last attempt, if a longer pause is
        needed, and if the network fails.
        """
        for attempt in range(1, MAX_ATTEMPTS + 1):
            response = await self._send(connections, uid, content, headers)
            if response.status_code == httpx.codes.OK:
                return self._token(uid, response, member)
            reason = f"{self._server} answered {response.status_code} {self._code(response)}"
            pause_seconds = answers.pause_seconds(response)
            if pause_seconds is None:
                raise SignInRefused(uid, reason)
            wait_seconds = max(pause_seconds, self._retry_after_seconds(response))
            if attempt == MAX_ATTEMPTS or wait_seconds > LONGEST_PAUSE_SECONDS:
                raise SignInUnavailable(uid, reason, retry_after_seconds=max(1.0, wait_seconds))
            await self._sleep(max(wait_seconds, self._backoff.delay_seconds(attempt)))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send(
        self,
        connections: Connections,
        uid: str,
        content: Mapping[str, Any],
        headers: Callable[[], Awaitable[Mapping[str, str]]],
    ) -> httpx.Response:
        try:
            try:
                return await connections.post(self._url, content, await headers())
            except DIED:
                return await connections.post(self._url, content, await headers(), new=True)
        except httpx.HTTPError as error:
            host = httpx.URL(self._url).netloc.decode()
            text = f"{self._server} could not be reached at {host} ({type(error).__name__}){self._advice}"
            raise SignInUnavailable(uid, text) from error

    def _token(self, uid: str, response: httpx.Response, member: str) -> str:
        token = json_member(response, member)
        if not isinstance(token, str) or not token:
            raise SignInUnavailable(uid, f"{self._server} answered 200 without a member {member}")
        return token

    def _retry_after_seconds(self, response: httpx.Response) -> float:
        lines = response.headers.get_list
        return min(retry_after_seconds(lines("Retry-After"), lines("Date"), self._clock()), MAX_RETRY_AFTER_SECONDS)

    def _code(self, response: httpx.Response) -> str:
        code = json_member(response, *self._code_path)
        # Firebase adds a text after some codes, which may repeat the token.
        return "without a code" if code is None else str(code).partition(" :")[0][:_MAX_CODE_CHARACTERS]


class SignIn:
    """Exchanges the custom tokens of one Firebase project for ID tokens.

    Source: Firebase Auth REST API, "Exchange custom token for an ID and refresh token"
    (`accounts:signInWithCustomToken`).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        jitter: Callable[[], float] = RANDOM.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`jitter` returns a number from 0 to 1. Raise `SettingsError` if a production project has no API key."""
        url = f"{settings.identity_toolkit_url}/accounts:signInWithCustomToken"
        self._exchange = TokenExchange(
            "Firebase",
            url,
            code_path=("error", "message"),
            advice=RUN_EMULATOR if settings.emulator_host else "",
            jitter=jitter,
            sleep=sleep,
        )
        self._headers = {API_KEY_HEADER: settings.web_api_key}

    async def exchange(self, connections: Connections, uid: str, custom_token: str) -> str:
        """Return the ID token for `custom_token`, whose uid is `uid`. Retry and raise as `TokenExchange.post` does.

        The refresh token in the answer is dropped: a refreshed token would have the same id.
        """
        content = {"token": custom_token, "returnSecureToken": True}
        return await self._exchange.post(connections, uid, content, member="idToken", headers=self._request_headers)

    async def _request_headers(self) -> Mapping[str, str]:
        return self._headers
