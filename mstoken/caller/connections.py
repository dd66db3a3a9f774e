"""The HTTP connections of one process to Firebase and to the token service."""

from collections.abc import Mapping
from typing import Any, Self

import httpx

from mstoken.caller.fresh import MAX_SIGN_INS

TIMEOUT_SECONDS = 5.0
MAX_CONNECTIONS = 2 * MAX_SIGN_INS
MAX_KEPT_CONNECTIONS = MAX_SIGN_INS

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
        self._kept = self._client(MAX_KEPT_CONNECTIONS)
        self._new: httpx.AsyncClient | None = None

    async def post(
        self, url: str, content: Mapping[str, Any], headers: Mapping[str, str], *, new: bool = False
    ) -> httpx.Response:
        """Return the answer to a POST of `content` as JSON. With `new`, the connection is a new one.

        The time-out is 5 s. Raise `httpx.HTTPError`; after one of `DIED`, another try needs a new connection, because
        the other kept connections may have died too.
        """
        client = self._kept
        if new:
            client = self._new = self._new or self._client(0)
        return await client.post(url, json=content, headers=headers)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._kept.aclose()
        if self._new is not None:
            await self._new.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.aclose()

    def _client(self, max_kept: int) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=max_kept)
        return httpx.AsyncClient(
            transport=self._transport, timeout=TIMEOUT_SECONDS, limits=limits, trust_env=self._may_use_proxies
        )
