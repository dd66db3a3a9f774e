"""How google-auth sends its requests: with httpx, and to the metadata server without a proxy.

The metadata server answers with tokens over plain HTTP, because it is part of the machine. google-auth and
firebase-admin ask it through the proxy that HTTP_PROXY names, so the proxy sees the tokens in clear
(fluent-plugin-google-cloud#329). Here no request over plain HTTP uses a proxy. Requests over HTTPS, which go to Google,
do. google-auth's own transports would also need the package requests.
"""

import ssl
from collections.abc import Mapping
from typing import Any

import httpx
from google.auth import transport
from google.auth.exceptions import TransportError
from typing_extensions import override

from mstoken.per_process import PerProcess

TIMEOUT_SECONDS = 120.0
"""How long to wait for an answer, unless google-auth says so. It is the default of google-auth's own transports."""


_NO_CONNECTION_IS_KEPT = httpx.Limits(max_keepalive_connections=0)
"""A request is rare, and an idle connection would be reported as unclosed at the end of a program."""

_https = PerProcess(lambda: httpx.Client(limits=_NO_CONNECTION_IS_KEPT))
_http = PerProcess(
    # This client never speaks TLS. A context that trusts no one is made at once; reading certificates takes longer.
    lambda: httpx.Client(limits=_NO_CONNECTION_IS_KEPT, trust_env=False, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
)


class GoogleAnswer(transport.Response):
    """An answer, as google-auth reads it."""

    def __init__(self, answer: httpx.Response) -> None:
        self._answer = answer

    @property
    @override
    def status(self) -> int:
        """The status code."""
        return self._answer.status_code

    @property
    @override
    def headers(self) -> Mapping[str, str]:
        """The header fields, whose names may be looked up in any case."""
        return self._answer.headers

    @property
    @override
    def data(self) -> bytes:
        """The body."""
        return self._answer.content


class GoogleRequest(transport.Request):
    """Sends the requests of google-auth. Any number of threads may use it.

    Source: google-auth, `google.auth.transport.Request`.
    """

    @override
    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = TIMEOUT_SECONDS,
        **_others: Any,
    ) -> GoogleAnswer:
        """Send a request. Raise `google.auth.exceptions.TransportError` if there is no answer."""
        try:
            client = (_http if url.startswith("http:") else _https).get()
            answer = client.request(method, url, content=body, headers=dict(headers or {}), timeout=timeout)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise TransportError(error) from error
        return GoogleAnswer(answer)
