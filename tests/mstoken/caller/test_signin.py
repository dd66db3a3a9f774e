"""Signing in, step by step and without a network."""

import json

import httpx
import pytest

from mstoken.caller.flow import Flow, Pause
from mstoken.caller.signin import SignIn
from mstoken.errors import SignInRefused, SignInUnavailable
from mstoken.settings import Settings

SETTINGS = Settings(project_id="demo-test", emulator_host="127.0.0.1:9099", api_key="web-key")


def exchange() -> Flow[str]:
    """A sign-in of svc:billing, whose random waits are half of the longest."""
    return SignIn(SETTINGS, jitter=lambda: 0.5).exchange("svc:billing", "custom-token")


def result(flow: Flow[str], response: httpx.Response) -> str:
    """What the flow returns for its last response."""
    with pytest.raises(StopIteration) as end:
        flow.send(response)
    value: str = end.value.value
    return value


def answer(status: int, message: str = "", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message}}, headers=headers)


def test_the_request_is_what_identity_toolkit_wants() -> None:
    """POST with the API key as parameter, the custom token in the body, and a deadline."""
    request = next(exchange())
    assert isinstance(request, httpx.Request)
    assert request.method == "POST"
    assert request.url == (
        "http://127.0.0.1:9099/identitytoolkit.googleapis.com/v1/accounts:signInWithCustomToken?key=web-key"
    )
    assert json.loads(request.content) == {"token": "custom-token", "returnSecureToken": True}
    assert set(request.extensions["timeout"].values()) == {5.0}


def test_the_id_token_comes_back_alone() -> None:
    """The refresh token is thrown away: refreshing would repeat the id."""
    flow = exchange()
    next(flow)
    assert result(flow, httpx.Response(200, json={"idToken": "id-token", "refreshToken": "refresh"})) == "id-token"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_too_many_and_server_errors_are_tried_again(status: int) -> None:
    """After a pause, the same request once more; the pauses grow."""
    flow = exchange()
    first = next(flow)
    assert flow.send(answer(status)) == Pause(0.05)
    again = next(flow)
    assert isinstance(again, httpx.Request)
    assert isinstance(first, httpx.Request)
    assert again.url == first.url
    assert flow.send(answer(status)) == Pause(0.1)
    next(flow)
    assert result(flow, httpx.Response(200, json={"idToken": "id-token"})) == "id-token"


def test_three_attempts_are_enough() -> None:
    """Then it is unavailable, and says when to try again."""
    flow = exchange()
    next(flow)
    flow.send(answer(503))
    next(flow)
    flow.send(answer(503))
    next(flow)
    with pytest.raises(SignInUnavailable, match="503") as caught:
        flow.send(answer(503))
    assert caught.value.retry_after_seconds == 1.0


def test_a_short_retry_after_is_kept_to() -> None:
    """Firebase's own wish counts where it is longer than our pause."""
    flow = exchange()
    next(flow)
    assert flow.send(answer(429, **{"Retry-After": "2"})) == Pause(2.0)


def test_a_long_retry_after_is_handed_on() -> None:
    """A call does not hang for half a minute; its maker is told instead."""
    flow = exchange()
    next(flow)
    with pytest.raises(SignInUnavailable) as caught:
        flow.send(answer(429, **{"Retry-After": "30"}))
    assert caught.value.retry_after_seconds == 30.0


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_other_answers_are_final(status: int) -> None:
    """No second try, and Firebase's code in the error, without the text behind it."""
    flow = exchange()
    next(flow)
    with pytest.raises(SignInRefused, match=r"INVALID_CUSTOM_TOKEN$") as caught:
        flow.send(answer(status, "INVALID_CUSTOM_TOKEN : the token custom-token is odd"))
    assert "custom-token" not in str(caught.value)
    assert caught.value.identity == "svc:billing"


def test_a_body_that_explains_nothing_is_no_obstacle() -> None:
    """An answer of a proxy in the way is reported as well."""
    flow = exchange()
    next(flow)
    with pytest.raises(SignInRefused, match="404 without a reason"):
        flow.send(httpx.Response(404, text="<html>"))


@pytest.mark.parametrize("error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")])
def test_a_network_that_fails_is_not_tried_again(error: httpx.HTTPError) -> None:
    """Whether Firebase counted the sign-in is unknown; the caller decides."""
    flow = exchange()
    next(flow)
    with pytest.raises(SignInUnavailable, match=type(error).__name__):
        flow.throw(error)


@pytest.mark.parametrize("body", [b"{}", b'{"idToken":""}', b'{"idToken":7}', b"[]", b"<html>"])
def test_an_answer_without_a_token_is_no_sign_in(body: bytes) -> None:
    """200 alone is not enough."""
    flow = exchange()
    next(flow)
    with pytest.raises(SignInUnavailable, match="without an ID token"):
        flow.send(httpx.Response(200, content=body))
