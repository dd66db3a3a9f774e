"""An `httpx.Auth` that puts a service token on every request, with a proof if the token is bound to a key.

If httpx2 is installed, the same object is an `httpx2.Auth` too, and its errors are errors of httpx2 too.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import httpx
from typing_extensions import override

from mstoken.caller.calls import Answer, ClientErrors, Headers, OutgoingCall, ServiceCalls, TokenSource
from mstoken.errors import CallNotRepeatable, MsTokenError, SignInRefused, SignInUnavailable
from mstoken.wire import Mode

if TYPE_CHECKING:
    import httpx2
    from httpx import RequestError as _RequestError
    from httpx import TransportError as _TransportError

    class _Auth(httpx.Auth, httpx2.Auth):  # type: ignore[misc]  # their requests are of different classes
        pass
else:
    _LIBRARIES = [httpx]
    with suppress(ImportError):
        _LIBRARIES.append(import_module("httpx2"))

    def _of_each_library(name: str) -> type:
        return type(name, tuple(getattr(library, name) for library in _LIBRARIES), {})

    _Auth = _of_each_library("Auth")
    _RequestError = _of_each_library("RequestError")
    _TransportError = _of_each_library("TransportError")


class HttpxSignInRefused(SignInRefused, _RequestError):
    """`SignInRefused`, raised by a call of httpx or httpx2. It is a `RequestError` of that library too."""


class HttpxSignInUnavailable(SignInUnavailable, _TransportError):
    """`SignInUnavailable`, raised by a call of httpx or httpx2. It is a `TransportError` of that library too."""


class HttpxCallNotRepeatable(CallNotRepeatable, _RequestError):
    """`CallNotRepeatable`, raised by a call of httpx or httpx2. It is a `RequestError` of that library too."""


class ServiceAuth(_Auth):
    """Puts a service token on each request, in the clients of httpx and httpx2, both sync and async.

    In the mode `fresh`, each request has a new token in `X-MS-TOKEN`. In the mode `proof`, the token stays the same for
    an hour, and each request has a new proof in `DPoP`.

    If the callee refuses a call as stale or replayed, or because it requires a nonce, the call is sent once more with a
    new token or proof. A fresh token is signed in for then, because those in stock may be as stale. So is a call whose
    token was revoked, has expired or is not trusted, if there may be a better one: a service that was disabled and
    enabled again throws its older tokens away. If the body of such a call can be sent only once (a generator, or a file
    as `content`), the call raises `HttpxCallNotRepeatable`.

    If signing in fails, the call raises `HttpxSignInRefused` or `HttpxSignInUnavailable`. Code around a call that
    catches `httpx.HTTPError` catches these errors too. So does code that catches `SignInError`.

    Leave `follow_redirects` off, as it is by default in httpx: after a redirect to another host, httpx removes only the
    header `Authorization`, so the other host would receive the token.
    """

    def __init__(self, source: TokenSource, audience: str, mode: Mode | Callable[[], Mode]) -> None:
        """`mode` may be a function that tells the mode when it is needed.

        Raise ValueError for an invalid name or an unknown mode.
        """
        self._calls = ServiceCalls(source, audience, mode)

    @property
    def audience(self) -> str:
        """The service that is called."""
        return self._calls.audience

    @property
    def mode(self) -> Mode:
        """The mode of the calls."""
        return self._calls.mode

    @override
    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        call, can_repeat = self._begin(request), is_repeatable(request)
        try:
            headers: Headers | None = call.start_sync()
        except MsTokenError as error:
            raise _as_httpx_error(error, request) from error
        while headers is not None:
            request.headers.update(headers)
            response = yield request
            try:
                headers = call.answered_sync(_answer(response, can_repeat))
            except MsTokenError as error:
                raise _as_httpx_error(error, request) from error

    @override
    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        call, can_repeat = self._begin(request), is_repeatable(request)
        try:
            headers: Headers | None = await call.start()
        except MsTokenError as error:
            raise _as_httpx_error(error, request) from error
        while headers is not None:
            request.headers.update(headers)
            response = yield request
            try:
                headers = await call.answered(_answer(response, can_repeat))
            except MsTokenError as error:
                raise _as_httpx_error(error, request) from error

    def _begin(self, request: Any) -> OutgoingCall:
        return self._calls.begin(request.method, str(request.url))


def is_repeatable(request: Any) -> bool:
    """Return whether httpx can send the body of `request` twice: bytes, forms, and files that can be rewound.

    A multipart body is rewound by httpx. Other bodies can be sent again if they are not used up by being read once.
    """
    stream: object = request.stream
    if isinstance(fields := getattr(stream, "fields", None), list):
        return all(_can_be_rewound(getattr(part, "file", b"")) for part in fields)
    body = getattr(stream, "_stream", None)
    return body is not None and not hasattr(body, "read") and not isinstance(body, Iterator | AsyncIterator)


def _can_be_rewound(file: object) -> bool:
    if isinstance(file, str | bytes):
        return True
    seekable = getattr(file, "seekable", None)
    return bool(seekable()) if callable(seekable) else hasattr(file, "seek")


def _answer(response: Any, can_repeat: bool) -> Answer:
    return Answer(response.status_code, response.headers.get_list, can_repeat)


_ERRORS = ClientErrors(HttpxSignInUnavailable, HttpxSignInRefused, HttpxCallNotRepeatable)


def _as_httpx_error(error: MsTokenError, request: Any) -> MsTokenError:
    """Return the error as one that code around a call of httpx or httpx2 catches too."""
    found = _ERRORS.of(error)
    if isinstance(found, httpx.RequestError):
        found.request = request
    return found
