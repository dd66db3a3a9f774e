"""`RequestsAuth`, with requests and a callee with real sockets."""

import io
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import requests

from mstoken.errors import CallNotRepeatable, MsTokenError, SignInError
from mstoken.requests import RequestsAuth, RequestsCallNotRepeatable, RequestsSignInRefused, RequestsSignInUnavailable
from mstoken.wire import Mode
from tests.mstoken.callee_server import OK, STALE, CalleeServer, nonce_of
from tests.mstoken.caller.fakes import Project, claims_of


@pytest.fixture
def project() -> Iterator[Project]:
    project = Project()
    with project.identity:
        yield project


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def chunks() -> Iterator[bytes]:
    yield b"once"


@pytest.mark.parametrize("mode", ["fresh", "proof"])
def test_each_request_has_a_token(project: Project, session: requests.Session, mode: Mode) -> None:
    """A session sends a token of its own with each call, or the bound one with a new proof."""
    session.auth = RequestsAuth(project.identity, "product", mode)
    with CalleeServer() as product:
        for _ in range(2):
            assert session.get(f"{product.url}/products?limit=1").status_code == 200
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
        {"files": {"bill": b"bill"}},
        {"files": {"bill": io.BytesIO(b"bill")}},
        {"data": io.BytesIO(b"bill")},
    ],
    ids=["no body", "bytes", "text", "a form", "JSON", "multipart of bytes", "multipart of a file", "a file"],
)
def test_a_refused_call_is_sent_again(project: Project, session: requests.Session, body: dict[str, Any]) -> None:
    """The second request has a new token and the same body. The first answer is in the history."""
    auth = RequestsAuth(project.identity, "product", "fresh")
    with CalleeServer(STALE, OK) as product:
        answer = session.post(f"{product.url}/bills", auth=auth, **body)
    assert (answer.status_code, [earlier.status_code for earlier in answer.history]) == (200, [401])
    first, second = product.received
    assert first.token != second.token
    assert (first.body, bool(first.body)) == (second.body, bool(body))


def test_a_file_is_sent_again_from_where_it_was(project: Project, session: requests.Session) -> None:
    """What the program has read of the file before is not sent."""
    file = io.BytesIO(b"read bill")
    file.read(5)
    with CalleeServer(STALE, OK) as product:
        session.post(product.url, auth=RequestsAuth(project.identity, "product", "fresh"), data=file)
    assert [received.body for received in product.received] == [b"bill", b"bill"]


def test_a_second_refusal_is_the_answer(project: Project, session: requests.Session) -> None:
    """A call is sent at most twice."""
    with CalleeServer(STALE, STALE, OK) as product:
        answer = session.get(product.url, auth=RequestsAuth(project.identity, "product", "fresh"))
    assert (answer.status_code, len(product.received)) == (401, 2)


def test_a_stream_is_not_sent_twice(project: Project, session: requests.Session) -> None:
    """The error is one of requests too, and says what to do."""
    with (
        CalleeServer(STALE) as product,
        pytest.raises(requests.RequestException, match="pass the body as bytes") as caught,
    ):
        session.post(product.url, auth=RequestsAuth(project.identity, "product", "fresh"), data=chunks())
    assert isinstance(caught.value, CallNotRepeatable)
    assert len(product.received) == 1


def test_the_next_nonce_is_taken_from_any_answer(project: Project, session: requests.Session) -> None:
    """It is in the proofs of later calls."""
    session.auth = RequestsAuth(project.identity, "product", "proof")
    with CalleeServer((200, [("DPoP-Nonce", "nonce-1")]), (200, [("DPoP-Nonce", "a"), ("DPoP-Nonce", "b")])) as product:
        for _ in range(3):
            session.get(product.url)
    proofs = [nonce_of(received.proof) for received in product.received]
    assert proofs == [None, "nonce-1", "nonce-1"]


def test_a_redirect_gets_no_token(project: Project, session: requests.Session) -> None:
    """Requests follows redirects, and would send the token to the other host. That host cannot ask for one either."""
    with CalleeServer(STALE) as thief, CalleeServer((302, [("Location", f"{thief.url}/stolen")])) as product:
        answer = session.get(product.url, auth=RequestsAuth(project.identity, "product", "proof"))
    assert (answer.status_code, answer.url) == (401, f"{thief.url}/stolen")
    assert [(received.token, received.proof) for received in thief.received] == [(None, None)]
    assert product.received[0].token is not None


@pytest.mark.parametrize("mode", ["fresh", "proof"])
def test_a_redirect_after_a_refusal_gets_no_token(project: Project, session: requests.Session, mode: Mode) -> None:
    """Requests copies the headers of the request that was refused. The other host gets neither that token nor the new.

    This holds whether requests follows the redirect, or the program sends the request that requests has prepared.
    """
    auth = RequestsAuth(project.identity, "product", mode)
    with CalleeServer() as thief:
        moved = (302, [("Location", f"{thief.url}/stolen")])
        with CalleeServer(STALE, moved, STALE, moved) as product:
            session.get(product.url, auth=auth)
            prepared = session.get(product.url, auth=auth, allow_redirects=False).next
            assert prepared is not None
            session.send(prepared)
    assert len(product.received) == 4
    assert [(received.token, received.proof) for received in thief.received] == [(None, None)] * 2


def test_a_failed_sign_in_is_an_error_of_requests(project: Project, session: requests.Session) -> None:
    """An outage is a `ConnectionError`, which code around calls catches. Nothing is sent."""
    project.transport.error = httpx.ConnectError("unreachable")
    with CalleeServer() as product, pytest.raises(requests.ConnectionError) as caught:
        session.get(product.url, auth=RequestsAuth(project.identity, "product", "fresh"))
    assert type(caught.value) is RequestsSignInUnavailable
    assert isinstance(caught.value, SignInError)
    assert caught.value.request is not None
    assert product.received == []
    assert not issubclass(RequestsSignInRefused, requests.ConnectionError)


def test_threads_share_a_session(project: Project, session: requests.Session) -> None:
    """No two calls have the same token."""
    session.auth = RequestsAuth(project.identity, "product", "fresh")
    with CalleeServer(*[STALE] * 4) as product, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: session.get(product.url).status_code, range(16)))
    assert set(answers) <= {200, 401}
    tokens = [received.token for received in product.received]
    assert len(set(tokens)) == len(tokens) > 16


@pytest.mark.parametrize(
    "error",
    [
        RequestsSignInUnavailable("svc:billing", "x", retry_after_seconds=7),
        RequestsSignInRefused("svc:billing", "x"),
        RequestsCallNotRepeatable("product", "token_stale"),
    ],
)
def test_the_errors_can_be_pickled(error: MsTokenError) -> None:
    """A process pool can return them."""
    restored = pickle.loads(pickle.dumps(error))
    assert (type(restored), str(restored), restored.__dict__) == (type(error), str(error), error.__dict__)


def test_mistakes_are_reported_at_once(project: Project) -> None:
    """The error comes when the session is made, not at the first call."""
    with pytest.raises(ValueError, match="not a service name"):
        RequestsAuth(project.identity, "Product!")
