"""The HTTP connections of one process to Firebase and to the token service."""

from collections.abc import Mapping
from typing import Any, Self

import httpx

from mstoken.caller.fresh import MAX_SIGN_INS
from mstoken.client_pool import ClientPool

TIMEOUT_SECONDS = 5.0
MAX_REQUESTS = 2 * MAX_SIGN_INS
"""Maximum number of requests at the same time."""
MAX_KEPT_CLIENTS = MAX_SIGN_INS
"""Maximum number of clients that are kept, each with a connection to Firebase and one to the token service."""
KEPT_SECONDS = 5.0

DIED: tuple[type[httpx.HTTPError], ...] = (
    httpx.ReadError,
    httpx.WriteError,
    httpx.CloseError,
    httpx.RemoteProtocolError,
)
"""Errors of a connection that ended before the answer.

This is normal for a kept connection: a server may close it at the moment at which the next request is sent (RFC 9112,
section 9.3.1), and a NAT gateway forgets it without a word.
"""


class Connections:
    """Sends requests through kept connections, and through a new one if it is asked to. Use it in one event loop."""

    def __init__(self, *, transport: httpx.AsyncBaseTransport | None = None, may_use_proxies: bool = True) -> None:
        """`transport` replaces the network.

        With `may_use_proxies`, the variables HTTPS_PROXY, ALL_PROXY and NO_PROXY are obeyed. Emulators are asked
        directly: a proxy does not reach this machine, and would see tokens in clear.
        """
        self._transport = transport
        self._may_use_proxies = may_use_proxies
        self._verify = httpx.create_ssl_context(trust_env=may_use_proxies) if transport is None else True
        """The certificates that are trusted, read once for all connections."""
        self._kept = self._pool(httpx.Limits(keepalive_expiry=KEPT_SECONDS), max_idle=MAX_KEPT_CLIENTS)
        self._new = self._pool(httpx.Limits(max_keepalive_connections=0), max_idle=0)

    async def post(
        self, url: str, content: Mapping[str, Any], headers: Mapping[str, str], *, new: bool = False
    ) -> httpx.Response:
        """Return the answer to a POST of `content` as JSON. With `new`, the connection is a new one.

        The time-out is 5 s. Raise `httpx.HTTPError`; after one of `DIED`, another try needs a new connection, because
        the other kept connections may have died too.
        """
        async with (self._new if new else self._kept).client() as client:
            return await client.post(url, json=content, headers=headers)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._kept.aclose()
        await self._new.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    def _pool(self, limits: httpx.Limits, *, max_idle: int) -> ClientPool:
        return ClientPool(
            lambda: self._client(limits),
            max_clients=MAX_REQUESTS,
            max_idle=max_idle,
            idle_seconds=KEPT_SECONDS,
            wait_seconds=TIMEOUT_SECONDS,
        )

    def _client(self, limits: httpx.Limits) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=self._transport,
            timeout=TIMEOUT_SECONDS,
            limits=limits,
            verify=self._verify,
            trust_env=self._may_use_proxies,
        )
