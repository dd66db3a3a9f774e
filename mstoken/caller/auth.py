"""The service token on its way: an `httpx.Auth` that puts a new one on every request."""

import re
from collections.abc import AsyncGenerator, Generator
from typing import Protocol

import httpx

from mstoken.claims import SERVICE_TOKEN_HEADER
from mstoken.errors import SERVICE_SCHEME

WORTH_ANOTHER_TOKEN = frozenset({"token_stale", "token_replayed"})
"""Refusals that come before the callee has done anything, and that a new token mends."""

_ERROR = re.compile(rf'{SERVICE_SCHEME} realm="[^"]*", error="([a-z_]+)"')


class Tokens(Protocol):
    """Where the tokens come from: a `ServiceIdentity`."""

    async def token(self, audience: str) -> str: ...  # noqa: D102

    def token_sync(self, audience: str) -> str: ...  # noqa: D102


class ServiceAuth(httpx.Auth):
    """Puts `X-MS-TOKEN: <fresh token for audience>` on each request, in `httpx.Client` and `httpx.AsyncClient`.

    A call that the callee refused as stale or replayed is sent once more with a new token: nothing was done yet.
    A body that can be sent only once (a stream) is not. Sign-in errors come out of the call as `SignInError`.

    A client that follows redirects takes the header along, to other hosts too: httpx drops only `Authorization`
    there. Leave `follow_redirects` off, as httpx does by default.
    """

    def __init__(self, tokens: Tokens, audience: str) -> None:
        self._tokens = tokens
        self.audience = audience

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See `httpx.Auth.sync_auth_flow`."""
        request.headers[SERVICE_TOKEN_HEADER] = self._tokens.token_sync(self.audience)
        response = yield request
        if _another_token_may_help(request, response):
            request.headers[SERVICE_TOKEN_HEADER] = self._tokens.token_sync(self.audience)
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See `httpx.Auth.async_auth_flow`."""
        request.headers[SERVICE_TOKEN_HEADER] = await self._tokens.token(self.audience)
        response = yield request
        if _another_token_may_help(request, response):
            request.headers[SERVICE_TOKEN_HEADER] = await self._tokens.token(self.audience)
            yield request


def _another_token_may_help(request: httpx.Request, response: httpx.Response) -> bool:
    if response.status_code != httpx.codes.UNAUTHORIZED or not isinstance(request.stream, httpx.ByteStream):
        return False
    error = _ERROR.search(response.headers.get("WWW-Authenticate", ""))
    return error is not None and error.group(1) in WORTH_ANOTHER_TOKEN
