"""Signing in, answer by answer and without a network."""

import json
from collections.abc import Sequence

import httpx
import pytest

from mstoken.caller.signin import SignIn
from mstoken.errors import SettingsError, SignInRefused, SignInUnavailable
from mstoken.settings import Settings

SETTINGS = Settings(project_id="demo-test", emulator_host="127.0.0.1:9099", api_key="web-key")


class Scripted:
    """An Identity Toolkit that gives these answers in turn, and keeps what it was asked."""

    def __init__(self, answers: Sequence[httpx.Response | httpx.HTTPError]) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = iter(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, httpx.HTTPError):
            raise answer
        return answer


class Exchange:
    """One sign-in of svc:billing; its random waits are half of the longest, and take no time but are written down."""

    def __init__(self, *answers: httpx.Response | httpx.HTTPError) -> None:
        self.toolkit = Scripted(answers)
        self.pauses: list[float] = []

    async def __call__(self) -> str:
        sign_in = SignIn(SETTINGS, jitter=lambda: 0.5, sleep=self.sleep)
        async with httpx.AsyncClient(transport=httpx.MockTransport(self.toolkit)) as client:
            return await sign_in.exchange(client, "svc:billing", "custom-token")

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


def answer(status: int, message: str = "", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message}}, headers=headers)


SIGNED_IN = httpx.Response(200, json={"idToken": "id-token", "refreshToken": "refresh"})


async def test_the_request_is_what_identity_toolkit_wants() -> None:
    """POST with the API key as parameter, the custom token in the body, and a deadline."""
    exchange = Exchange(SIGNED_IN)
    await exchange()
    (request,) = exchange.toolkit.requests
    assert request.method == "POST"
    assert request.url == (
        "http://127.0.0.1:9099/identitytoolkit.googleapis.com/v1/accounts:signInWithCustomToken?key=web-key"
    )
    assert json.loads(request.content) == {"token": "custom-token", "returnSecureToken": True}
    assert set(request.extensions["timeout"].values()) == {5.0}


async def test_the_id_token_comes_back_alone() -> None:
    """The refresh token is thrown away: refreshing would repeat the id."""
    exchange = Exchange(SIGNED_IN)
    assert await exchange() == "id-token"
    assert exchange.pauses == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_too_many_and_server_errors_are_tried_again(status: int) -> None:
    """After a pause, the same request once more; the pauses grow."""
    exchange = Exchange(answer(status), answer(status), SIGNED_IN)
    assert await exchange() == "id-token"
    assert exchange.pauses == [0.05, 0.1]
    assert len({(str(request.url), request.content) for request in exchange.toolkit.requests}) == 1


async def test_three_attempts_are_enough() -> None:
    """Then it is unavailable, and says when to try again."""
    exchange = Exchange(*[answer(503, "BACKEND_ERROR")] * 3)
    with pytest.raises(SignInUnavailable, match=r"503 BACKEND_ERROR$") as caught:
        await exchange()
    assert caught.value.retry_after_seconds == 1.0
    assert len(exchange.toolkit.requests) == 3
    assert len(exchange.pauses) == 2


@pytest.mark.parametrize("seconds", [1, 2])
async def test_a_short_retry_after_is_kept_to(seconds: int) -> None:
    """Firebase's own wish counts where it is longer than our pause."""
    exchange = Exchange(answer(429, **{"Retry-After": str(seconds)}), SIGNED_IN)
    await exchange()
    assert exchange.pauses == [seconds]


async def test_a_retry_after_of_nothing_is_no_reason_to_hurry() -> None:
    """Our own pause counts where it is longer."""
    exchange = Exchange(answer(429, **{"Retry-After": "0"}), SIGNED_IN)
    await exchange()
    assert exchange.pauses == [0.05]


async def test_a_long_retry_after_is_handed_on() -> None:
    """A call does not hang for half a minute; its maker is told instead."""
    exchange = Exchange(answer(429, **{"Retry-After": "30"}))
    with pytest.raises(SignInUnavailable) as caught:
        await exchange()
    assert caught.value.retry_after_seconds == 30.0
    assert exchange.pauses == []


async def test_the_last_retry_after_is_handed_on_too() -> None:
    """Also a short one, when the attempts are used up."""
    exchange = Exchange(*[answer(429, **{"Retry-After": "2"})] * 3)
    with pytest.raises(SignInUnavailable) as caught:
        await exchange()
    assert caught.value.retry_after_seconds == 2.0


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2026 07:28:00 GMT", "-5", "1.5", "soon", "", "²"])
async def test_a_retry_after_that_is_no_number_of_seconds_is_no_wish(value: str) -> None:
    """The pause is then ours."""
    response = httpx.Response(503, headers=[(b"Retry-After", value.encode())])
    exchange = Exchange(response, SIGNED_IN)
    await exchange()
    assert exchange.pauses == [0.05]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_other_answers_are_final(status: int) -> None:
    """No second try, and Firebase's code in the error, without the text behind it."""
    exchange = Exchange(answer(status, "INVALID_CUSTOM_TOKEN : the token custom-token is odd"))
    with pytest.raises(SignInRefused, match=r"INVALID_CUSTOM_TOKEN$") as caught:
        await exchange()
    assert "custom-token" not in str(caught.value)
    assert caught.value.identity == "svc:billing"
    assert len(exchange.toolkit.requests) == 1


async def test_a_refusal_after_an_outage_is_final() -> None:
    """What the second attempt is told counts."""
    exchange = Exchange(answer(503), answer(400, "USER_DISABLED"))
    with pytest.raises(SignInRefused, match="USER_DISABLED"):
        await exchange()


@pytest.mark.parametrize("response", [httpx.Response(404, text="<html>"), httpx.Response(404, json={"error": "odd"})])
async def test_a_body_that_explains_nothing_is_no_obstacle(response: httpx.Response) -> None:
    """An answer of a proxy in the way is reported as well."""
    with pytest.raises(SignInRefused, match="404 without a reason"):
        await Exchange(response)()


@pytest.mark.parametrize("error", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")])
async def test_a_network_that_fails_is_not_tried_again(error: httpx.HTTPError) -> None:
    """Whether Firebase counted the sign-in is unknown; the caller decides."""
    exchange = Exchange(error)
    with pytest.raises(SignInUnavailable, match=type(error).__name__) as caught:
        await exchange()
    assert caught.value.__cause__ is error
    assert len(exchange.toolkit.requests) == 1


@pytest.mark.parametrize("body", [b"{}", b'{"idToken":""}', b'{"idToken":7}', b"[]", b"<html>", b"\xff"])
async def test_an_answer_without_a_token_is_no_sign_in(body: bytes) -> None:
    """200 alone is not enough."""
    with pytest.raises(SignInUnavailable, match="without an ID token"):
        await Exchange(httpx.Response(200, content=body))()


def test_production_needs_an_api_key() -> None:
    """It is asked for when the program starts, not at the first call."""
    with pytest.raises(SettingsError, match="MSTOKEN_API_KEY"):
        SignIn(Settings(project_id="real-shop", emulator_host=None, api_key=None))
