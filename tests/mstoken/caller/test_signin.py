"""Signing in: which answers are tried again, and what each answer means. Nothing here needs a network."""

import asyncio
import json
from collections.abc import Callable, Mapping

import httpx
import pytest

from mstoken.caller.connections import DIED, Connections
from mstoken.caller.signin import SignIn, TokenExchange
from mstoken.errors import SettingsError, SignInError, SignInRefused, SignInUnavailable
from mstoken.settings import Settings
from tests.clock import ManualSleep
from tests.mstoken.caller.fakes import RecordedSleep, Scripted

URL = "https://tokens.example/token"
SENT = {"content": "content-secret", "headers": "headers-secret"}


class NumberedHeaders:
    """Returns other headers each time, or raises `error`."""

    def __init__(self) -> None:
        self.made = 0
        self.error: SignInError | None = None

    async def __call__(self) -> Mapping[str, str]:
        if self.error is not None:
            raise self.error
        self.made += 1
        return {"Authorization": f"Bearer {SENT['headers']}-{self.made}"}


async def no_headers() -> Mapping[str, str]:
    return {}


class Exchange:
    """One exchange for svc:billing with a server that gives these answers. Its back-off has a jitter of 0.5."""

    def __init__(self, *answers: httpx.Response | httpx.HTTPError) -> None:
        self.server = Scripted(answers)
        self.headers = NumberedHeaders()
        self.sleep = RecordedSleep()

    async def __call__(self, server: Callable[[httpx.Request], httpx.Response] | None = None) -> str:
        exchange = TokenExchange("the server", URL, code_path=("code",), jitter=lambda: 0.5, sleep=self.sleep)
        async with Connections(transport=httpx.MockTransport(server or self.server)) as connections:
            return await exchange.post(
                connections,
                "svc:billing",
                {"one": SENT["content"], "two": 2},
                member="token",
                headers=self.headers,
            )


def dead(kind: type[httpx.HTTPError]) -> httpx.HTTPError:
    return kind("the connection ended")


def answer(status: int, code: str = "", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code}, headers=headers)


TOKEN = httpx.Response(200, json={"token": "the-token", "more": "ignored"})


class TestRequest:
    """What is sent, and what is returned."""

    async def test_the_request_is_a_post_of_json(self) -> None:
        """It has the headers and the content, and a time-out of 5 s."""
        exchange = Exchange(TOKEN)
        await exchange()
        (request,) = exchange.server.requests
        assert (request.method, str(request.url)) == ("POST", URL)
        assert request.headers["Content-Type"] == "application/json"
        assert request.headers["Authorization"] == "Bearer headers-secret-1"
        assert json.loads(request.content) == {"one": "content-secret", "two": 2}
        assert set(request.extensions["timeout"].values()) == {5.0}

    async def test_the_member_is_returned(self) -> None:
        """The other members of the answer are ignored, and there is no pause."""
        exchange = Exchange(TOKEN)
        assert await exchange() == "the-token"
        assert exchange.sleep.pauses == []

    @pytest.mark.parametrize(
        "body", [b"{}", b'{"token":""}', b'{"token":7}', b'{"token":["text"]}', b"[]", b"null", b"<html>", b"\xff", b""]
    )
    async def test_an_answer_without_the_member(self, body: bytes) -> None:
        """A 200 without a token is an outage of the server, and is not tried again."""
        exchange = Exchange(httpx.Response(200, content=body))
        with pytest.raises(SignInUnavailable, match=r"the server answered 200 without a member token$"):
            await exchange()
        assert len(exchange.server.requests) == 1


class TestRetry:
    """Errors that pass are tried again."""

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
    async def test_the_request_is_sent_again(self, status: int) -> None:
        """After growing pauses, the same request is sent up to twice more."""
        exchange = Exchange(answer(status), answer(status), TOKEN)
        assert await exchange() == "the-token"
        assert exchange.sleep.pauses == pytest.approx([0.075, 0.15])
        assert len({(request.method, str(request.url), request.content) for request in exchange.server.requests}) == 1

    async def test_each_attempt_has_new_headers(self) -> None:
        """A header may contain an assertion, which is accepted once."""
        exchange = Exchange(answer(503), answer(429), TOKEN)
        await exchange()
        assert [request.headers["Authorization"] for request in exchange.server.requests] == [
            f"Bearer headers-secret-{number}" for number in (1, 2, 3)
        ]

    @pytest.mark.parametrize("kind", [SignInRefused, SignInUnavailable])
    async def test_without_headers_nothing_is_sent(self, kind: type[SignInError]) -> None:
        """An error of the headers is raised as it is, and is not tried again."""
        exchange = Exchange(TOKEN)
        exchange.headers.error = kind("svc:billing", "no headers")
        with pytest.raises(kind) as caught:
            await exchange()
        assert caught.value is exchange.headers.error
        assert (exchange.server.requests, exchange.sleep.pauses) == ([], [])

    async def test_there_are_three_attempts(self) -> None:
        """The error says which server answered what, and when to try again."""
        exchange = Exchange(*[answer(503, "too_busy")] * 3)
        with pytest.raises(SignInUnavailable, match=r"the server answered 503 too_busy$") as caught:
            await exchange()
        assert (caught.value.identity, caught.value.retry_after_seconds) == ("svc:billing", 1.0)
        assert len(exchange.server.requests) == 3
        assert len(exchange.sleep.pauses) == 2

    async def test_the_error_is_that_of_the_last_answer(self) -> None:
        """The answers before it are forgotten."""
        with pytest.raises(SignInUnavailable, match=r"429 third$"):
            await Exchange(answer(500, "first"), answer(503, "second"), answer(429, "third"))()

    async def test_cancelling_during_a_pause(self) -> None:
        """A call that is cancelled sends no further request."""
        server, sleep = Scripted([answer(503), TOKEN]), ManualSleep()
        exchange = TokenExchange("the server", URL, code_path=("code",), sleep=sleep)
        async with Connections(transport=httpx.MockTransport(server)) as connections:
            posting = asyncio.create_task(
                exchange.post(connections, "svc:billing", {}, member="token", headers=no_headers)
            )
            await sleep.asked_seconds.get()
            posting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await posting
        assert len(server.requests) == 1

    async def test_pauses_are_spread_by_default(self) -> None:
        """Processes that were refused at the same time do not all come back at the same time."""
        server, sleep = Scripted([answer(503), answer(503), TOKEN] * 20), RecordedSleep()
        exchange = TokenExchange("the server", URL, code_path=("code",), sleep=sleep)
        async with Connections(transport=httpx.MockTransport(server)) as connections:
            for _ in range(20):
                await exchange.post(connections, "svc:billing", {}, member="token", headers=no_headers)
        assert len(set(sleep.pauses)) > 30
        assert max(sleep.pauses[::2]) <= 0.1
        assert max(sleep.pauses[1::2]) <= 0.2


class TestDeadConnection:
    """A connection that ended before the answer."""

    @pytest.mark.parametrize("kind", DIED)
    async def test_the_request_is_sent_once_more(self, kind: type[httpx.HTTPError]) -> None:
        """It has new headers, because the server may have spent the assertion in the old ones. There is no pause."""
        exchange = Exchange(dead(kind), TOKEN)
        assert await exchange() == "the-token"
        assert [request.headers["Authorization"] for request in exchange.server.requests] == [
            f"Bearer headers-secret-{number}" for number in (1, 2)
        ]
        assert exchange.sleep.pauses == []

    @pytest.mark.parametrize("kind", DIED)
    async def test_a_second_death_is_an_outage(self, kind: type[httpx.HTTPError]) -> None:
        """A new connection that dies too is not the fault of an old one."""
        exchange = Exchange(dead(kind), dead(kind))
        with pytest.raises(
            SignInUnavailable, match=rf"the server could not be reached at tokens.example \({kind.__name__}\)$"
        ):
            await exchange()
        assert len(exchange.server.requests) == 2


class TestRetryAfter:
    """The server may say how long to wait."""

    @pytest.mark.parametrize("seconds", [1, 2])
    async def test_a_short_one_is_the_pause(self, seconds: int) -> None:
        """Up to 2 s, the pause is as long as the server asks."""
        exchange = Exchange(answer(429, **{"Retry-After": str(seconds)}), TOKEN)
        await exchange()
        assert exchange.sleep.pauses == [seconds]

    async def test_a_long_one_is_in_the_error(self) -> None:
        """A call does not wait longer than that. Its error says when to try again."""
        exchange = Exchange(answer(429, **{"Retry-After": "30"}))
        with pytest.raises(SignInUnavailable) as caught:
            await exchange()
        assert caught.value.retry_after_seconds == 30.0
        assert exchange.sleep.pauses == []

    async def test_a_short_one_in_the_last_answer_is_in_the_error(self) -> None:
        """After the last attempt, the error says when to try again."""
        with pytest.raises(SignInUnavailable) as caught:
            await Exchange(*[answer(429, **{"Retry-After": "2"})] * 3)()
        assert caught.value.retry_after_seconds == 2.0

    @pytest.mark.parametrize("seconds", ["3601", "9" * 30, "9" * 400, "9" * 5000], ids=len)
    async def test_more_than_an_hour_counts_as_an_hour(self, seconds: str) -> None:
        """A mistake of the server does not make a process wait for ever."""
        with pytest.raises(SignInUnavailable) as caught:
            await Exchange(answer(503, **{"Retry-After": seconds}))()
        assert caught.value.retry_after_seconds == 3600

    @pytest.mark.parametrize("value", ["0", "Wed, 21 Oct 2026 07:28:00 GMT", "-5", "1.5", "soon", "", "²"])
    async def test_other_values_do_not_shorten_the_pause(self, value: str) -> None:
        """For 0, a date, and anything else, the pause is that of the back-off."""
        response = httpx.Response(503, headers=[(b"Retry-After", value.encode())])
        exchange = Exchange(response, TOKEN)
        await exchange()
        assert exchange.sleep.pauses == pytest.approx([0.075])


class TestFinalErrors:
    """What is not tried again."""

    @pytest.mark.parametrize("status", [201, 204, 302, 400, 401, 403, 404, 409])
    async def test_other_answers_are_final(self, status: int) -> None:
        """The error says which server answered what, and who could not sign in."""
        exchange = Exchange(answer(status, "not_you"))
        with pytest.raises(SignInRefused, match=rf"the server answered {status} not_you$") as caught:
            await exchange()
        assert caught.value.identity == "svc:billing"
        assert len(exchange.server.requests) == 1

    async def test_a_refusal_after_an_outage_is_final(self) -> None:
        """The second attempt may be refused."""
        exchange = Exchange(answer(503), answer(400, "not_you"))
        with pytest.raises(SignInRefused, match="not_you"):
            await exchange()
        assert len(exchange.server.requests) == 2

    @pytest.mark.parametrize(
        "kind",
        [
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.ReadTimeout,
            httpx.PoolTimeout,
            httpx.LocalProtocolError,
            httpx.DecodingError,
        ],
    )
    async def test_other_network_errors_are_not_tried_again(self, kind: type[httpx.RequestError]) -> None:
        """Waiting twice for a server that does not answer would make the call wait too long."""
        error = kind("x")
        exchange = Exchange(error)
        with pytest.raises(
            SignInUnavailable, match=rf"the server could not be reached at tokens.example \({kind.__name__}\)$"
        ) as caught:
            await exchange()
        assert caught.value.__cause__ is error
        assert len(exchange.server.requests) == 1

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"code":null}', b""])
    async def test_a_refusal_without_a_code(self, body: bytes) -> None:
        """An answer of a proxy is reported as well."""
        response = httpx.Response(403, content=body)
        with pytest.raises(SignInRefused, match=r"the server answered 403 without a code$"):
            await Exchange(response)()

    async def test_a_long_code_is_cut_off(self) -> None:
        """A server cannot fill the log."""
        with pytest.raises(SignInRefused) as caught:
            await Exchange(answer(403, "x" * 10_000))()
        assert len(str(caught.value)) < 200


class Echo:
    """A server that repeats everything that it is sent. A status of None means a network error."""

    def __init__(self, status: int | None) -> None:
        self._status = status

    def __call__(self, request: httpx.Request) -> httpx.Response:
        text = f"{request.url} {request.headers.raw} {request.content!r}"
        assert all(secret in text for secret in SENT.values())
        if self._status is None:
            raise httpx.ConnectError(text, request=request)
        return httpx.Response(self._status, json={"code": "odd", "detail": text})


@pytest.mark.parametrize("status", [None, 200, 302, 400, 401, 429, 503])
async def test_errors_never_contain_what_was_sent(status: int | None) -> None:
    """The text of an error may be logged, so it repeats nothing but the code of the server."""
    with pytest.raises(SignInError) as caught:
        await Exchange()(Echo(status))
    assert not [secret for secret in SENT.values() if secret in f"{caught.value} {caught.value!r}"]


SETTINGS = Settings(project_id="demo-test", emulator_host="127.0.0.1:9099", api_key="web-key")


class SigningIn:
    """One sign-in of svc:billing at a Firebase that gives these answers. The back-off has a jitter of 0.5."""

    def __init__(self, *answers: httpx.Response | httpx.HTTPError) -> None:
        self.firebase = Scripted(answers)
        self.sleep = RecordedSleep()

    async def __call__(self) -> str:
        sign_in = SignIn(SETTINGS, jitter=lambda: 0.5, sleep=self.sleep)
        async with Connections(transport=httpx.MockTransport(self.firebase)) as connections:
            return await sign_in.exchange(connections, "svc:billing", "custom-token")


def firebase_error(status: int, message: str = "") -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message}})


SIGNED_IN = httpx.Response(200, json={"idToken": "id-token", "refreshToken": "refresh"})


class TestSignIn:
    """The exchange of a custom token for an ID token at Firebase."""

    async def test_the_request(self) -> None:
        """It is the one of the Identity Toolkit REST API, with the API key in a header: HTTP libraries log URLs."""
        signing_in = SigningIn(SIGNED_IN)
        await signing_in()
        (request,) = signing_in.firebase.requests
        assert request.method == "POST"
        assert request.url == ("http://127.0.0.1:9099/identitytoolkit.googleapis.com/v1/accounts:signInWithCustomToken")
        assert request.headers["x-goog-api-key"] == "web-key"
        assert json.loads(request.content) == {"token": "custom-token", "returnSecureToken": True}
        assert set(request.extensions["timeout"].values()) == {5.0}

    async def test_only_the_id_token_is_returned(self) -> None:
        """The refresh token is dropped."""
        assert await SigningIn(SIGNED_IN)() == "id-token"

    async def test_a_busy_firebase_is_asked_again(self) -> None:
        """Retries are those of `TokenExchange`."""
        signing_in = SigningIn(firebase_error(429), firebase_error(503), SIGNED_IN)
        assert await signing_in() == "id-token"
        assert signing_in.sleep.pauses == pytest.approx([0.075, 0.15])

    @pytest.mark.parametrize(
        ("status", "message"),
        [(400, "QUOTA_EXCEEDED : Exceeded quota for verifying passwords."), (400, "TOO_MANY_ATTEMPTS_TRY_LATER")],
    )
    async def test_a_quota_is_not_a_refusal(self, status: int, message: str) -> None:
        """Firebase answers 400 when a quota is used up. The call fails at once; its error says when to try again."""
        signing_in = SigningIn(firebase_error(status, message))
        with pytest.raises(SignInUnavailable, match=rf"Firebase answered 400 {message.partition(' ')[0]}$") as caught:
            await signing_in()
        assert caught.value.retry_after_seconds == 60.0
        assert (len(signing_in.firebase.requests), signing_in.sleep.pauses) == (1, [])

    async def test_a_rate_limit_is_not_a_refusal(self) -> None:
        """Google's API gateway answers 403 with a reason when there are too many requests in a second."""
        limit = {"message": "Rate Limit Exceeded", "errors": [{"domain": "usageLimits", "reason": "rateLimitExceeded"}]}
        with pytest.raises(SignInUnavailable, match=r"Firebase answered 403 Rate Limit Exceeded$") as caught:
            await SigningIn(httpx.Response(403, json={"error": limit}))()
        assert caught.value.retry_after_seconds == 5.0

    async def test_the_identity_that_another_process_created(self) -> None:
        """Two processes may create the identity at the same time. The second one tries again."""
        assert await SigningIn(firebase_error(400, "DUPLICATE_LOCAL_ID"), SIGNED_IN)() == "id-token"

    async def test_an_outage(self) -> None:
        """The error has Firebase's code without the text after it, which may repeat the token."""
        with pytest.raises(SignInUnavailable, match=r"Firebase answered 503 BACKEND_ERROR$") as caught:
            await SigningIn(*[firebase_error(503, "BACKEND_ERROR : the token custom-token is odd")] * 3)()
        assert caught.value.identity == "svc:billing"

    async def test_a_network_error(self) -> None:
        """The error names the address and what to do, and does not repeat the text of the network error."""
        advice = "Run `mstoken emulator`, and set FIREBASE_AUTH_EMULATOR_HOST to its address"
        text = rf"Firebase could not be reached at 127\.0\.0\.1:9099 \(ReadTimeout\)\. {advice}$"
        with pytest.raises(SignInUnavailable, match=text):
            await SigningIn(httpx.ReadTimeout("custom-token"))()

    @pytest.mark.parametrize("status", [400, 401, 403, 404])
    async def test_a_refusal(self, status: int) -> None:
        """It is final, and the error has Firebase's code without the text after it."""
        signing_in = SigningIn(firebase_error(status, "INVALID_CUSTOM_TOKEN : the token custom-token is odd"))
        with pytest.raises(SignInRefused, match=rf"Firebase answered {status} INVALID_CUSTOM_TOKEN$") as caught:
            await signing_in()
        assert caught.value.identity == "svc:billing"
        assert len(signing_in.firebase.requests) == 1

    @pytest.mark.parametrize(
        "response", [httpx.Response(404, text="<html>"), httpx.Response(404, json={"error": "odd"})]
    )
    async def test_a_refusal_without_a_code(self, response: httpx.Response) -> None:
        """An answer of a proxy is reported as well."""
        with pytest.raises(SignInRefused, match="Firebase answered 404 without a code"):
            await SigningIn(response)()

    async def test_an_answer_without_a_token(self) -> None:
        """A 200 without an ID token is an outage."""
        with pytest.raises(SignInUnavailable, match=r"Firebase answered 200 without a member idToken$"):
            await SigningIn(httpx.Response(200, json={"custom_token": "x"}))()

    def test_production_needs_an_api_key(self) -> None:
        """A missing key is reported when the program starts, not at the first call."""
        with pytest.raises(SettingsError, match="MSTOKEN_API_KEY"):
            SignIn(Settings(project_id="real-shop", emulator_host=None, api_key=None))
