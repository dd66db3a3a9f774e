"""Signing in, answer by answer and without a network."""

import json

import httpx
import pytest

from mstoken.caller.signin import SignIn
from mstoken.errors import SettingsError, SignInRefused, SignInUnavailable
from mstoken.settings import Settings
from tests.mstoken.caller.fakes import Scripted

SETTINGS = Settings(project_id="demo-test", emulator_host="127.0.0.1:9099", api_key="web-key")


class SigningIn:
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
    signing_in = SigningIn(SIGNED_IN)
    await signing_in()
    (request,) = signing_in.toolkit.requests
    assert request.method == "POST"
    assert request.url == (
        "http://127.0.0.1:9099/identitytoolkit.googleapis.com/v1/accounts:signInWithCustomToken?key=web-key"
    )
    assert json.loads(request.content) == {"token": "custom-token", "returnSecureToken": True}
    assert set(request.extensions["timeout"].values()) == {5.0}


async def test_the_id_token_comes_back_alone() -> None:
    """The refresh token is thrown away: refreshing would repeat the id."""
    signing_in = SigningIn(SIGNED_IN)
    assert await signing_in() == "id-token"
    assert signing_in.pauses == []


async def test_a_firebase_that_is_busy_is_asked_again() -> None:
    """As `Exchange.post` does: the same request, after a pause that grows."""
    signing_in = SigningIn(answer(429), answer(503), SIGNED_IN)
    assert await signing_in() == "id-token"
    assert signing_in.pauses == [0.05, 0.1]
    assert len({(str(request.url), request.content) for request in signing_in.toolkit.requests}) == 1


async def test_a_firebase_that_stays_busy_is_unavailable() -> None:
    """Its code is told, and whose sign-in it was."""
    with pytest.raises(SignInUnavailable, match=r"Firebase answered 503 BACKEND_ERROR$") as caught:
        await SigningIn(*[answer(503, "BACKEND_ERROR : the token custom-token is odd")] * 3)()
    assert caught.value.identity == "svc:billing"


async def test_a_firebase_out_of_reach_is_unavailable() -> None:
    """Which Firebase is no secret; what it was sent is."""
    with pytest.raises(SignInUnavailable, match=r"Firebase could not be reached \(ReadTimeout\)$"):
        await SigningIn(httpx.ReadTimeout("custom-token"))()


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_other_answers_are_final(status: int) -> None:
    """No second try, and Firebase's code in the error, without the text behind it."""
    signing_in = SigningIn(answer(status, "INVALID_CUSTOM_TOKEN : the token custom-token is odd"))
    with pytest.raises(SignInRefused, match=r"INVALID_CUSTOM_TOKEN$") as caught:
        await signing_in()
    assert "custom-token" not in str(caught.value)
    assert caught.value.identity == "svc:billing"
    assert len(signing_in.toolkit.requests) == 1


@pytest.mark.parametrize("response", [httpx.Response(404, text="<html>"), httpx.Response(404, json={"error": "odd"})])
async def test_a_body_that_explains_nothing_is_no_obstacle(response: httpx.Response) -> None:
    """An answer of a proxy in the way is reported as well."""
    with pytest.raises(SignInRefused, match="404 without a reason"):
        await SigningIn(response)()


@pytest.mark.parametrize("body", [b"{}", b'{"idToken":""}', b'{"idToken":7}', b"[]", b"<html>", b"\xff"])
async def test_an_answer_without_a_token_is_no_sign_in(body: bytes) -> None:
    """200 alone is not enough."""
    with pytest.raises(SignInUnavailable, match=r"Firebase answered 200 without a member idToken$"):
        await SigningIn(httpx.Response(200, content=body))()


def test_production_needs_an_api_key() -> None:
    """It is asked for when the program starts, not at the first call."""
    with pytest.raises(SettingsError, match="MSTOKEN_API_KEY"):
        SignIn(Settings(project_id="real-shop", emulator_host=None, api_key=None))
