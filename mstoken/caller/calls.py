"""The calls to one service: which headers each request carries, and when it is sent again. This module sends nothing.

Each HTTP client has an adapter, which asks an `OutgoingCall` for the headers of a request, sends the request, and tells
the call what was answered: `mstoken.caller.auth` for httpx and httpx2, `mstoken.requests`, `mstoken.aiohttp`.
"""

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, TypeAlias

from mstoken.claims import service_name, token_mode
from mstoken.errors import CallNotRepeatable, MsTokenError, SignInRefused, SignInUnavailable
from mstoken.header_fields import challenges
from mstoken.wire import NONCE_HEADER, PROOF_HEADER, PROOF_SCHEME, SERVICE_SCHEME, SERVICE_TOKEN_HEADER, Mode

RETRIED_ERRORS = frozenset({"token_stale", "token_replayed", "use_dpop_nonce"})
"""Refusals after which a call is sent again: the callee has done nothing yet, and a new token or proof may help."""
REVOKED_ERRORS = frozenset({"identity_disabled"})
"""Refusals of all tokens that were minted before some time. If the identity is alive again, a new token helps."""
ENDED_ERRORS = frozenset({"token_expired", "token_untrusted"})
"""Refusals of a bound token that stay until there is a new token."""

_SCHEMES = frozenset({SERVICE_SCHEME.lower(), PROOF_SCHEME.lower()})
_NONCE = re.compile(r"[!#-\[\]-~]{1,512}")
"""The characters of a nonce (RFC 9449, section 8.1). The limit keeps proofs below the size that callees accept."""


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

    def refused(self, audience: str, mode: Mode, token: str, *, is_revoked: bool) -> bool:
        """Note that `audience` no longer accepts `token`. Return whether it may accept a new one.

        With `is_revoked`, it accepts none of the tokens that were minted at the same time or earlier.
        """
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What a callee answered: the status, and a function that returns the lines of a header field.

    `is_repeatable` says whether the body of the request can be sent again.
    """

    status: int
    lines: Callable[[str], Sequence[str]]
    is_repeatable: bool


@dataclass(frozen=True, slots=True)
class _TokenNeeded:
    """The call needs a token. With `new`, it must be signed in now."""

    new: bool


@dataclass(frozen=True, slots=True)
class _Send:
    """The request must be sent with these headers."""

    headers: Mapping[str, str]


Headers: TypeAlias = Mapping[str, str]
_Steps: TypeAlias = Generator[_TokenNeeded | _Send, str | Answer | None, None]


class ServiceCalls:
    """The calls of one service identity to the service `audience`, in one mode. Any number of threads may use it."""

    def __init__(self, source: TokenSource, audience: str, mode: Mode | Callable[[], Mode]) -> None:
        """`mode` may be a function that tells the mode when it is needed.

        Raise ValueError for an invalid name or an unknown mode.
        """
        self.source = source
        self.audience = service_name(audience)
        self._mode = mode if callable(mode) else token_mode(mode)
        self._nonce: str | None = None

    @property
    def mode(self) -> Mode:
        """The mode of the calls."""
        return self._mode() if callable(self._mode) else self._mode

    def begin(self, method: str, url: str) -> "OutgoingCall":
        """Return a new call."""
        return OutgoingCall(self, self._steps(method, url))

    def _steps(self, method: str, url: str) -> _Steps:
        token = yield _TokenNeeded(new=False)
        answer = yield _Send(self._headers(method, url, token))
        error = self._error_to_retry(token, answer)
        if error is None:
            return
        if isinstance(answer, Answer) and not answer.is_repeatable:
            raise CallNotRepeatable(self.audience, error)
        token = yield _TokenNeeded(new=True)
        answer = yield _Send(self._headers(method, url, token))
        self._error_to_retry(token, answer)

    def _headers(self, method: str, url: str, token: str | Answer | None) -> dict[str, str]:
        assert isinstance(token, str)  # noqa: S101 - the answer to `_TokenNeeded`
        headers = {SERVICE_TOKEN_HEADER: token}
        if self.mode == "proof":
            headers[PROOF_HEADER] = self.source.proof(method, url, token, self._nonce)
        return headers

    def _error_to_retry(self, token: str | Answer | None, answer: str | Answer | None) -> str | None:
        """Return the error after which the request is sent again. Keep a nonce. Report a token that is not accepted."""
        assert isinstance(token, str)  # noqa: S101 - the answer to `_TokenNeeded`
        assert isinstance(answer, Answer)  # noqa: S101 - the answer to `_Send`
        # Any answer may have the nonce for the next proof (RFC 9449, section 8.2). Two lines do not count (8.1).
        nonces = answer.lines(NONCE_HEADER)
        if len(nonces) == 1 and _NONCE.fullmatch(nonces[0].strip(" \t")):
            self._nonce = nonces[0].strip(" \t")
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return None
        found = {
            challenge.parameters.get("error", "")
            for challenge in challenges(answer.lines("WWW-Authenticate"))
            if challenge.scheme in _SCHEMES
        }
        if found & RETRIED_ERRORS:
            return min(found & RETRIED_ERRORS)
        # A fresh token that has expired is used up by its call. Only those in stock matter.
        lasting = found & (REVOKED_ERRORS | ENDED_ERRORS if self.mode == "proof" else REVOKED_ERRORS)
        if lasting:
            is_revoked = bool(lasting & REVOKED_ERRORS)
            if self.source.refused(self.audience, self.mode, token, is_revoked=is_revoked):
                return min(lasting)
        return None


@dataclass(frozen=True, slots=True)
class ClientErrors:
    """The errors that calls of one HTTP client raise. Each is an error of that client too."""

    unavailable: Callable[..., SignInUnavailable]
    refused: Callable[[str, str], SignInRefused]
    not_repeatable: Callable[[str, str], CallNotRepeatable]

    def of(self, error: MsTokenError) -> MsTokenError:
        """Return the error of the client that says what `error` says."""
        match error:
            case SignInUnavailable():
                return self.unavailable(error.identity, error.reason, retry_after_seconds=error.retry_after_seconds)
            case SignInRefused():
                return self.refused(error.identity, error.reason)
            case CallNotRepeatable():
                return self.not_repeatable(error.audience, error.code)
        return error


class OutgoingCall:
    """One call. `start` returns the headers of its first request; `answered` those of the next one, or None."""

    def __init__(self, calls: ServiceCalls, steps: _Steps) -> None:
        self._calls = calls
        self._steps = steps

    async def start(self) -> Headers:
        """Return the headers of the first request. Raise `SignInError`."""
        headers = await self._next(None)
        assert headers is not None  # noqa: S101 - a call has at least one request
        return headers

    async def answered(self, answer: Answer) -> Headers | None:
        """Return the headers with which the request must be sent again, or None if this answer is final.

        Raise `SignInError`, and `CallNotRepeatable` if the request cannot be sent again.
        """
        return await self._next(answer)

    def start_sync(self) -> Headers:
        """Do what `start` does, outside of an event loop."""
        headers = self._next_sync(None)
        assert headers is not None  # noqa: S101 - a call has at least one request
        return headers

    def answered_sync(self, answer: Answer) -> Headers | None:
        """Do what `answered` does, outside of an event loop."""
        return self._next_sync(answer)

    async def _next(self, reply: str | Answer | None) -> Headers | None:
        step = self._step(reply)
        if isinstance(step, _TokenNeeded):
            calls = self._calls
            step = self._step(await calls.source.token(calls.audience, calls.mode, new=step.new))
        return step.headers if isinstance(step, _Send) else None

    def _next_sync(self, reply: str | Answer | None) -> Headers | None:
        step = self._step(reply)
        if isinstance(step, _TokenNeeded):
            calls = self._calls
            step = self._step(calls.source.token_sync(calls.audience, calls.mode, new=step.new))
        return step.headers if isinstance(step, _Send) else None

    def _step(self, reply: str | Answer | None) -> _TokenNeeded | _Send | None:
        try:
            return self._steps.send(reply)
        except StopIteration:
            return None
