"""The header on its way, by `next` and `send`, then over a transport that answers from memory."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from mstoken.caller.auth import ServiceAuth
from mstoken.errors import SignInUnavailable


class CountingTokens:
    """Gives token-1, token-2, and so on."""

    def __init__(self) -> None:
        self.given = 0

    def token_sync(self, audience: str) -> str:
        self.given += 1
        return f"{audience}-token-{self.given}"

    async def token(self, audience: str) -> str:
        return self.token_sync(audience)


class NoTokens:
    """Cannot sign in."""

    def token_sync(self, audience: str) -> str:
        raise SignInUnavailable("svc:billing", "Firebase is away")

    async def token(self, audience: str) -> str:
        return self.token_sync(audience)


def refused(code: str, status: int = 401) -> httpx.Response:
    return httpx.Response(status, headers={"WWW-Authenticate": f'MsToken realm="product", error="{code}"'})


def test_each_request_carries_a_new_token() -> None:
    """No token is used for two requests."""
    auth = ServiceAuth(CountingTokens(), "product")
    first = next(auth.sync_auth_flow(httpx.Request("GET", "http://product/")))
    second = next(auth.sync_auth_flow(httpx.Request("GET", "http://product/")))
    assert (first.headers["X-MS-TOKEN"], second.headers["X-MS-TOKEN"]) == ("product-token-1", "product-token-2")


@pytest.mark.parametrize("code", ["token_stale", "token_replayed"])
def test_a_token_that_came_too_late_is_replaced_once(code: str) -> None:
    """The callee did nothing yet, so the call goes out again, and only once."""
    flow = ServiceAuth(CountingTokens(), "product").sync_auth_flow(httpx.Request("POST", "http://product/", json={}))
    next(flow)
    assert flow.send(refused(code)).headers["X-MS-TOKEN"] == "product-token-2"
    with pytest.raises(StopIteration):
        flow.send(refused(code))


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200),
        httpx.Response(401),
        refused("token_untrusted"),
        refused("token_missing"),
        refused("token_stale", status=403),
        refused("token_stale", status=503),
        httpx.Response(401, headers={"WWW-Authenticate": 'Bearer realm="x", error="token_stale"'}),
        httpx.Response(500),
    ],
)
def test_no_other_answer_is_tried_again(response: httpx.Response) -> None:
    """What the callee may have begun is not repeated by us."""
    flow = ServiceAuth(CountingTokens(), "product").sync_auth_flow(httpx.Request("GET", "http://product/"))
    next(flow)
    with pytest.raises(StopIteration):
        flow.send(response)


def test_a_body_that_streams_is_not_sent_twice() -> None:
    """A stream is spent by the first attempt."""

    def chunks() -> Iterator[bytes]:
        yield b"once"

    flow = ServiceAuth(CountingTokens(), "product").sync_auth_flow(
        httpx.Request("POST", "http://product/", content=chunks())
    )
    next(flow)
    with pytest.raises(StopIteration):
        flow.send(refused("token_stale"))


class OnceStale:
    """A callee that refuses the first token as stale and echoes the second."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request.headers["X-MS-TOKEN"])
        return refused("token_stale") if len(self.seen) == 1 else httpx.Response(200, content=request.content)


def test_a_sync_client_makes_the_call() -> None:
    """httpx.Client drives the same retry, body included."""
    callee = OnceStale()
    with httpx.Client(transport=httpx.MockTransport(callee), auth=ServiceAuth(CountingTokens(), "product")) as client:
        assert client.post("http://product/", content=b"bill").text == "bill"
    assert callee.seen == ["product-token-1", "product-token-2"]


async def test_an_async_client_makes_the_call() -> None:
    """httpx.AsyncClient too."""
    callee = OnceStale()
    auth = ServiceAuth(CountingTokens(), "product")
    async with httpx.AsyncClient(transport=httpx.MockTransport(callee), auth=auth) as client:
        assert (await client.post("http://product/", content=b"bill")).text == "bill"
    assert callee.seen == ["product-token-1", "product-token-2"]


async def test_an_async_stream_is_not_sent_twice() -> None:
    """An async body is no more repeatable than a sync one."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"once"

    request = httpx.Request("POST", "http://product/", content=chunks())
    flow = ServiceAuth(CountingTokens(), "product").async_auth_flow(request)
    await anext(flow)
    with pytest.raises(StopAsyncIteration):
        await flow.asend(refused("token_stale"))


async def test_a_failed_sign_in_comes_out_of_the_call() -> None:
    """Without a token nothing is sent."""
    callee = OnceStale()
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(callee), auth=ServiceAuth(NoTokens(), "product")
    ) as client:
        with pytest.raises(SignInUnavailable):
            await client.get("http://product/")
    assert callee.seen == []
