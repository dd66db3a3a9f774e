"""The service token on its way: an `httpx.Auth` that puts it on every request, with a proof where it is bound."""

import re
from collections.abc import AsyncGenerator, Generator
from typing import Protocol

import httpx

from mstoken.claims import service_name
from mstoken.wire import MODES, NONCE_HEADER, PROOF_HEADER, SERVICE_SCHEME, SERVICE_TOKEN_HEADER, Mode

WORTH_ANOTHER_TRY = frozenset({"token_stale", "token_replayed", "use_dpop_nonce"})
"""Refusals that come before the callee has done anything, and that a new token or a new proof mends."""
WORTH_ANOTHER_SIGN_IN = frozenset({"token_expired", "token_untrusted", "identity_disabled"})
"""Refusals of a bound token that will not change before there is a new one."""

_ERROR = re.compile(rf'(?:{SERVICE_SCHEME}|DPoP) realm="[^"]*", error="([a-z_]+)"')


class Tokens(Protocol):
    """Where tokens and proofs come from: a `ServiceIdentity`."""

    async def token(self, audience: str, mode: Mode) -> str: ...  # noqa: D102

    def token_sync(self, audience: str, mode: Mode) -> str: ...  # noqa: D102

    def proof(self, method: str, url: str, token: str, nonce: str | None) -> str: ...  # noqa: D102

    def refused(self, audience: str, token: str) -> None: ...  # noqa: D102


class ServiceAuth(httpx.Auth):
    """Puts a service token for `audience` on each request, in `httpx.Client` and `httpx.AsyncClient`.

    In the mode `fresh` that is `X-MS-TOKEN: <token for this one call>`; in the mode `proof` the token is the same for
    an hour, and `DPoP: <proof>` is for this one call.

    A call that the callee refused as stale or replayed, or for want of a nonce, is sent once more with a new token or
    proof: nothing was done yet. A body that can be sent only once (a stream) is not. Sign-in errors come out of the
    call as `SignInError`.

    A client that follows redirects takes the headers along, to other hosts too: httpx drops only `Authorization`
    there. Leave `follow_redirects` off, as httpx does by default.
    """

    def __init__(self, tokens: Tokens, audience: str, mode: Mode) -> None:
        if mode not in MODES:
            raise ValueError(f"{mode!r} is no mode: {' or '.join(MODES)} is wanted")
        self._tokens = tokens
        self.audience = service_name(audience)
        self.mode = mode
        self._nonce: str | None = None

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """See `httpx.Auth.sync_auth_flow`."""
        token = self._tokens.token_sync(self.audience, self.mode)
        self._put_on(request, token)
        response = yield request
        if self._is_worth_another_try(request, token, response):
            self._put_on(request, self._tokens.token_sync(self.audience, self.mode))
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """See `httpx.Auth.async_auth_flow`."""
        token = await self._tokens.token(self.audience, self.mode)
        self._put_on(request, token)
        response = yield request
        if self._is_worth_another_try(request, token, response):
            self._put_on(request, await self._tokens.token(self.audience, self.mode))
            yield request

    def _put_on(self, request: httpx.Request, token: str) -> None:
        request.headers[SERVICE_TOKEN_HEADER] = token
        if self.mode == "proof":
            request.headers[PROOF_HEADER] = self._tokens.proof(request.method, str(request.url), token, self._nonce)

    def _is_worth_another_try(self, request: httpx.Request, token: str, response: httpx.Response) -> bool:
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return False
        found = _ERROR.search(response.headers.get("WWW-Authenticate", ""))
        error = found.group(1) if found else None
        if self.mode == "proof" and error in WORTH_ANOTHER_SIGN_IN:
            self._tokens.refused(self.audience, token)
        if error == "use_dpop_nonce":
            # Kept for the calls after this one, too (RFC 9449, section 8.2).
            self._nonce = response.headers.get(NONCE_HEADER)
        return error in WORTH_ANOTHER_TRY and isinstance(request.stream, httpx.ByteStream)
