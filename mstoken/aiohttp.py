"""The adapter for aiohttp: a client middleware that puts a service token on every request.

async with aiohttp.ClientSession(middlewares=[AiohttpAuth(ServiceIdentity("billing"), "product")]) as session:
    async with session.get("https://product.example.com/products") as answer: ...
"""

from mstoken.caller.calls import Answer, ClientErrors
from mstoken.caller.identity import ServiceIdentity
from mstoken.errors import CallNotRepeatable, MsTokenError, SignInRefused, SignInUnavailable
from mstoken.extras import needed_by
from mstoken.wire import Mode

with needed_by("mstoken.aiohttp", "aiohttp"):
    import aiohttp
    from yarl import URL


class AiohttpSignInRefused(SignInRefused, aiohttp.ClientError):
    """`SignInRefused`, raised by a call of aiohttp. It is a `ClientError` too."""


class AiohttpSignInUnavailable(SignInUnavailable, aiohttp.ClientConnectionError):
    """`SignInUnavailable`, raised by a call of aiohttp. It is a `ClientConnectionError` too."""


class AiohttpCallNotRepeatable(CallNotRepeatable, aiohttp.ClientError):
    """`CallNotRepeatable`, raised by a call of aiohttp. It is a `ClientError` too."""


_ERRORS = ClientErrors(AiohttpSignInUnavailable, AiohttpSignInRefused, AiohttpCallNotRepeatable)


class AiohttpAuth:
    """A client middleware that puts a service token on each request of a session, or of one call (`middlewares=`).

    A call is sent once more after the same refusals as with httpx (`mstoken.caller.auth`). A body that can be read only
    once makes such a call raise `AiohttpCallNotRepeatable`. If signing in fails, the call raises `AiohttpSignInRefused`
    or `AiohttpSignInUnavailable`, which are errors of aiohttp too.

    Tokens are sent to one origin only: `origin`, or that of the first request. aiohttp follows redirects, and asks this
    middleware for each of them. A redirect to another host gets no token.
    """

    def __init__(
        self, identity: ServiceIdentity, audience: str, mode: Mode | None = None, *, origin: str | None = None
    ) -> None:
        """`audience` is the service that is called, `origin` the beginning of its URLs, with scheme, host and port.

        The default mode is that of the settings. Raise ValueError for an invalid name, an unknown mode, and a URL that
        is not absolute.
        """
        self._calls = identity.calls(audience, mode)
        self._origin = URL(origin).origin() if origin is not None else None

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send one request by `handler`, or two. Return the last answer. Raise `MsTokenError`."""
        self._origin = self._origin or request.url.origin()
        if request.url.origin() != self._origin:
            return await handler(request)
        call = self._calls.begin(request.method, str(request.url))
        try:
            headers = await call.start()
        except MsTokenError as error:
            raise _ERRORS.of(error) from error
        while True:
            request.headers.update(headers)
            response = await handler(request)
            try:
                following = await call.answered(_answer(request, response))
            except MsTokenError as error:
                response.close()
                raise _ERRORS.of(error) from error
            if following is None:
                return response
            response.release()
            headers = following


def _answer(request: aiohttp.ClientRequest, response: aiohttp.ClientResponse) -> Answer:
    is_repeatable = not getattr(request.body, "consumed", False)
    return Answer(response.status, lambda name: response.headers.getall(name, []), is_repeatable)
