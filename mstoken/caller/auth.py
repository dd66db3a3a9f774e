"""An `httpx.Auth` that puts a service token on every request, with a proof if the token is bound to a key."""

import re
from collections.abc import AsyncGenerator, Generator
from typing import Protocol

import httpx
from typing_extensions import override

from mstoken.claims import service_name, token_mode
from mstoken.wire import NONCE_HEADER, PROOF_HEADER, PROOF_SCHEME, SERVICE_SCHEME, SERVICE_TOKEN_HEADER, Mode

RETRIED_ERRORS = frozenset({"token_stale", "token_replayed", "use_dpop_nonce"})
"""Refusals after which a call is sent again: the callee has done nothing yet, and a new token or proof may help."""
SIGN_IN_AGAIN_ERRORS = frozenset({"token_expired", "token_untrusted", "identity_disabled"})
"""Refusals of a bound token that stay until there is a new token."""

_ERROR = re.compile(rf'(?:{SERVICE_SCHEME}|{PROOF_SCHEME}) realm="[^"]*", error="([a-z_]+)"')


class TokenSource(Protocol):
    """Gives tokens and proofs: a `ServiceIdentity`, or a fake in tests."""

    async def token(self, audience: str, mode: Mode, *, new: bool = False) -> str:
        """Return a service token for `audience`. With `new`, a fresh one is signed in now. Raise `SignInError`."""
        ...

    def token_sync(self, audience: str, mode: Mode, *, new: bool = False) -> str:
        """Return what `token` returns, outside of an event loop."""
        ...

    def proof(self, method: str, url: str, token: str, nonce: str | None) -> str:
        """Return a proof for one call with the bound `token`."""
        ...

    def refused(self, audience: str, token: str) -> None:
        """Note that `audience` no longer accepts the bound `token`."""
        ...


class ServiceAuth(httpx.Auth):
    """Puts a service token for `audience` on each request, in `httpx.Client` and `httpx.AsyncClient`.

    In the mode `fresh`, each request has a new token in `X-MS-TOKEN`. In the mode `proof`, the token stays the same for
    an hour, and each request has a new proof in `DPoP`.

    If the callee refuses a call as stale or replayed, or because it requires a nonce, the call is sent once more with a
    new token or proof. A fresh token is signed in for then, because those in stock may be as stale. A body that can be
    sent only once (a stream) is not sent again. If signing in fails, the call raises `SignInError`.

    Leave `follow_redirects` off, as it is by default in httpx: after a redirect to another host, httpx removes only the
    header `Authorization`, so the other host would receive the token.
    """

    def __init__(self, source: TokenSource, audience: str, mode: Mode) -> None:
        self._source = source
        self.audience = service_name(audience)
        self.mode = token_mode(mode)
        self._nonce: str | None = None

    @override
    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self._source.token_sync(self.audience, self.mode)
        self._set_headers(request, token)
        response = yield request
        if self._should_retry(request, token, response):
            self._set_headers(request, self._source.token_sync(self.audience, self.mode, new=True))
            yield request

    @override
    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await self._source.token(self.audience, self.mode)
        self._set_headers(request, token)
        response = yield request
        if self._should_retry(request, token, response):
            self._set_headers(request, await self._source.token(self.audience, self.mode, new=True))
            yield request

    def _set_headers(self, request: httpx.Request, token: str) -> None:
        request.headers[SERVICE_TOKEN_HEADER] = token
        if self.mode == "proof":
            request.headers[PROOF_HEADER] = self._source.proof(request.method, str(request.url), token, self._nonce)

    def _should_retry(self, request: httpx.Request, token: str, response: httpx.Response) -> bool:
        """Return whether to send the request again. Keep a nonce, and report a token that is no longer accepted."""
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return False
        found = _ERROR.search(response.headers.get("WWW-Authenticate", ""))
        error = found.group(1) if found else None
        if self.mode == "proof" and error in SIGN_IN_AGAIN_ERRORS:
            self._source.refused(self.audience, token)
        if error == "use_dpop_nonce":
            # Later calls use this nonce too (RFC 9449, section 8.2).
            self._nonce = response.headers.get(NONCE_HEADER)
        return error in RETRIED_ERRORS and isinstance(request.stream, httpx.ByteStream)
