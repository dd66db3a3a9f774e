"""`AiohttpAuth`, with aiohttp and a callee with real sockets."""

import io
import pickle
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import httpx
import pytest

from mstoken.aiohttp import AiohttpAuth, AiohttpCallNotRepeatable, AiohttpSignInRefused, AiohttpSignInUnavailable
from mstoken.errors import CallNotRepeatable, MsTokenError, SignInError
from mstoken.wire import Mode
from tests.mstoken.callee_server import OK, STALE, CalleeServer, nonce_of
from tests.mstoken.caller.fakes import Project, claims_of


@pytest.fixture
def project() -> Iterator[Project]:
    project = Project()
    with project.identity:
        yield project


def session_for(project: Project, mode: Mode = "fresh", *, origin: str | None = None) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(middlewares=[AiohttpAuth(project.identity, "product", mode, origin=origin)])


async def chunks() -> AsyncIterator[bytes]:
    yield b"once"


@pytest.mark.parametrize("mode", ["fresh", "proof"])
async def test_each_request_has_a_token(project: Project, mode: Mode) -> None:
    """A session sends a token of its own with each call, or the bound one with a new proof."""
    with CalleeServer() as product:
        async with session_for(project, mode) as session:
            for _ in range(2):
                async with session.get(f"{product.url}/products?limit=1") as answer:
                    assert answer.status == 200
    first, second = product.received
    assert first.token is not None
    assert claims_of(first.token).mode == mode
    assert (first.token == second.token) == (mode == "proof")
    assert (first.proof is None, second.proof is None) == ((mode == "fresh"),) * 2
    assert mode == "fresh" or first.proof != second.proof


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": b"bill"},
        {"data": "bill"},
        {"data": {"bill": "1"}},
        {"json": {"bill": 1}},
        {"data": io.BytesIO(b"bill")},
        {"data": {"bill": io.BytesIO(b"bill")}},
    ],
    ids=["no body", "bytes", "text", "a form", "JSON", "a file", "a file in a form"],
)
async def test_a_refused_call_is_sent_again(project: Project, body: dict[str, Any]) -> None:
    """The second request has a new token and the same body."""
    with CalleeServer(STALE, OK) as product:
        async with session_for(project) as session, session.post(f"{product.url}/bills", **body) as answer:
            assert (answer.status, await answer.json(content_type=None)) == (200, 2)
    first, second = product.received
    assert first.token != second.token
    assert (first.body, bool(first.body)) == (second.body, bool(body))


async def test_a_second_refusal_is_the_answer(project: Project) -> None:
    """A call is sent at most twice."""
    with CalleeServer(STALE, STALE, OK) as product:
        async with session_for(project) as session, session.get(product.url) as answer:
            assert answer.status == 401
    assert len(product.received) == 2


async def test_a_stream_is_not_sent_twice(project: Project) -> None:
    """The error is one of aiohttp too, and says what to do."""
    with CalleeServer(STALE) as product:
        async with session_for(project) as session:
            with pytest.raises(aiohttp.ClientError, match="pass the body as bytes") as caught:
                await session.post(product.url, data=chunks())
    assert isinstance(caught.value, CallNotRepeatable)
    assert len(product.received) == 1


async def test_the_next_nonce_is_taken_from_any_answer(project: Project) -> None:
    """It is in the proofs of later calls."""
    answers = (200, [("DPoP-Nonce", "nonce-1")]), (200, [("DPoP-Nonce", "a"), ("DPoP-Nonce", "b")])
    with CalleeServer(*answers) as product:
        async with session_for(project, "proof") as session:
            for _ in range(3):
                async with session.get(product.url):
                    pass
    assert [nonce_of(received.proof) for received in product.received] == [None, "nonce-1", "nonce-1"]


async def test_a_redirect_to_another_host_gets_no_token(project: Project) -> None:
    """Aiohttp follows redirects. One to the same host is a call of its own, with a token of its own."""
    with CalleeServer(STALE) as thief:
        elsewhere = (302, [("Location", f"{thief.url}/stolen")])
        with CalleeServer((302, [("Location", "/moved")]), elsewhere) as product:
            async with session_for(project) as session, session.get(product.url) as answer:
                assert (answer.status, str(answer.url)) == (401, f"{thief.url}/stolen")
    assert [received.token for received in thief.received] == [None]
    tokens = [received.token for received in product.received]
    assert len(set(tokens)) == 2
    assert None not in tokens


async def test_a_redirect_after_a_refusal_gets_no_token(project: Project) -> None:
    """Neither the token that was refused nor the new one goes to another host."""
    with CalleeServer() as thief, CalleeServer(STALE, (302, [("Location", thief.url)])) as product:
        async with session_for(project) as session, session.get(product.url):
            pass
    assert len(product.received) == 2
    assert [received.token for received in thief.received] == [None]


async def test_the_origin_can_be_named(project: Project) -> None:
    """Then no other host gets a token, even if it is called first."""
    with CalleeServer() as product, CalleeServer() as other:
        async with session_for(project, origin=f"{product.url}/v1") as session:
            for url in (other.url, product.url):
                async with session.get(url):
                    pass
    assert [received.token is None for received in other.received + product.received] == [True, False]


async def test_a_failed_sign_in_is_an_error_of_aiohttp(project: Project) -> None:
    """An outage is a `ClientConnectionError`, which code around calls catches. Nothing is sent."""
    project.transport.error = httpx.ConnectError("unreachable")
    with CalleeServer() as product:
        async with session_for(project) as session:
            with pytest.raises(aiohttp.ClientConnectionError) as caught:
                await session.get(product.url)
    assert type(caught.value) is AiohttpSignInUnavailable
    assert isinstance(caught.value, SignInError)
    assert product.received == []
    assert not issubclass(AiohttpSignInRefused, aiohttp.ClientConnectionError)


@pytest.mark.parametrize(
    "error",
    [
        AiohttpSignInUnavailable("svc:billing", "x", retry_after_seconds=7),
        AiohttpSignInRefused("svc:billing", "x"),
        AiohttpCallNotRepeatable("product", "token_stale"),
    ],
)
def test_the_errors_can_be_pickled(error: MsTokenError) -> None:
    """A process pool can return them."""
    restored = pickle.loads(pickle.dumps(error))
    assert (type(restored), str(restored), restored.__dict__) == (type(error), str(error), error.__dict__)


def test_mistakes_are_reported_at_once(project: Project) -> None:
    """The error comes when the session is made, not at the first call."""
    with pytest.raises(ValueError, match="not a service name"):
        AiohttpAuth(project.identity, "Product!")
    with pytest.raises(ValueError, match="absolute"):
        AiohttpAuth(project.identity, "product", origin="product")
