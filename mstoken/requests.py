"""The adapter for requests: an `AuthBase` that puts a service token on every request.

product = requests.Session()
product.auth = RequestsAuth(ServiceIdentity("billing"), "product")
product.get("https://product.example.com/products")
"""

from collections.abc import Callable, Sequence
from typing import Any

from typing_extensions import override

from mstoken.caller.calls import Answer, ClientErrors, OutgoingCall
from mstoken.caller.identity import ServiceIdentity
from mstoken.errors import CallNotRepeatable, MsTokenError, SignInRefused, SignInUnavailable
from mstoken.extras import needed_by
from mstoken.wire import PROOF_HEADER, SERVICE_TOKEN_HEADER, Mode

with needed_by("mstoken.requests", "requests"):
    import requests
    from requests.auth import AuthBase


class RequestsSignInRefused(SignInRefused, requests.RequestException):
    """`SignInRefused`, raised by a call of requests. It is a `RequestException` too."""


class RequestsSignInUnavailable(SignInUnavailable, requests.ConnectionError):
    """`SignInUnavailable`, raised by a call of requests. It is a `ConnectionError` of requests too."""


class RequestsCallNotRepeatable(CallNotRepeatable, requests.RequestException):
    """`CallNotRepeatable`, raised by a call of requests. It is a `RequestException` too."""


_ERRORS = ClientErrors(RequestsSignInUnavailable, RequestsSignInRefused, RequestsCallNotRepeatable)


class RequestsAuth(AuthBase):
    """Puts a service token on each request of a session, or of one call (`auth=`). Any number of threads may use it.

    A call is sent once more after the same refusals as with httpx (`mstoken.caller.auth`). Files are rewound. Another
    body that can be read only once makes such a call raise `RequestsCallNotRepeatable`. If signing in fails, the call
    raises `RequestsSignInRefused` or `RequestsSignInUnavailable`, which are errors of requests too.

    If the answer is a redirect, which requests follows, the redirected request has no token: it may go to another host.
    """

    def __init__(self, identity: ServiceIdentity, audience: str, mode: Mode | None = None) -> None:
        """`audience` is the service that is called. The default mode is that of the settings.

        Raise ValueError for an invalid name or an unknown mode.
        """
        self._calls = identity.calls(audience, mode)

    @override
    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the headers on a request that requests has prepared, and look at its answer. Raise `MsTokenError`."""
        call = self._calls.begin(str(r.method), str(r.url))
        try:
            r.headers.update(call.start_sync())
        except MsTokenError as error:
            raise _as_requests_error(error, r) from error
        r.register_hook("response", _Sent(call, r).answered)  # type: ignore[no-untyped-call]
        return r


class _Sent:
    """One call, from its first request to its last answer."""

    def __init__(self, call: OutgoingCall, request: requests.PreparedRequest) -> None:
        self._call: OutgoingCall | None = call
        self._body: Any = request.body
        self._position = _position_of(request.body)

    def answered(self, response: requests.Response, **options: Any) -> requests.Response:
        """Return the answer, or that to another request that was sent because of it."""
        call, self._call = self._call, None
        if call is None:  # This is the answer to a redirected request, which has taken over the hook.
            return response
        while True:
            answer = Answer(response.status_code, _lines_of(response), is_repeatable=self._position is not None)
            try:
                headers = call.answered_sync(answer)
            except MsTokenError as error:
                response.close()
                raise _as_requests_error(error, response.request) from error
            if headers is None:
                break
            response = self._sent_again(response, headers, options)
        if response.is_redirect:
            # requests copies the headers of the first request of the call, also if this answer is to the second one. It
            # removes only `Authorization` if the host is another one.
            for sent in (response.request, *(earlier.request for earlier in response.history)):
                for name in (SERVICE_TOKEN_HEADER, PROOF_HEADER):
                    sent.headers.pop(name, None)
        return response

    def _sent_again(self, refused: requests.Response, headers: Any, options: Any) -> requests.Response:
        # The connection can be used again when the answer has been read.
        _ = refused.content
        refused.close()
        request = refused.request.copy()
        request.headers.update(headers)
        if hasattr(self._body, "seek"):
            self._body.seek(self._position)
        connection: Any = refused.connection
        response: requests.Response = connection.send(request, **options)
        response.history.append(refused)
        response.request = request
        return response


def _position_of(body: Any) -> int | None:
    """Return the position to begin at when `body` is sent again, or None if it cannot be sent again."""
    if body is None or isinstance(body, str | bytes):
        return 0
    try:
        return int(body.tell()) if body.seekable() else None
    except (AttributeError, OSError):
        return None


def _lines_of(response: requests.Response) -> Callable[[str], Sequence[str]]:
    def lines(name: str) -> Sequence[str]:
        # requests joins the lines of a field. urllib3, which reads the answer, keeps them.
        fields: Any = getattr(response.raw, "headers", None)
        if hasattr(fields, "getlist"):
            found: list[str] = fields.getlist(name)
            return found
        return [response.headers[name]] if name in response.headers else []

    return lines


def _as_requests_error(error: MsTokenError, request: requests.PreparedRequest) -> MsTokenError:
    found = _ERRORS.of(error)
    if isinstance(found, requests.RequestException):
        found.request = request
    return found
