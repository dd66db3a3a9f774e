"""One thing for another over HTTP, answer by answer and without a network."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstoken.caller.exchange import Exchange, member
from mstoken.errors import SignInError, SignInRefused, SignInUnavailable
from tests.clock import ManualSleep
from tests.mstoken.caller.fakes import Scripted

URL = "https://tokens.example/token"
SENT = {"content": "content-secret", "params": "params-secret", "headers": "headers-secret"}


class Numbered:
    """Headers that are others every time."""

    def __init__(self) -> None:
        self.asked = 0
        self.fault: SignInError | None = None

    async def __call__(self) -> Mapping[str, str]:
        if self.fault is not None:
            raise self.fault
        self.asked += 1
        return {"Authorization": f"Bearer {SENT['headers']}-{self.asked}"}


class Asking:
    """One exchange for svc:billing; its random waits are half of the longest, and take no time but are written down."""

    def __init__(self, *answers: httpx.Response | httpx.HTTPError) -> None:
        self.server = Scripted(answers)
        self.headers = Numbered()
        self.pauses: list[float] = []

    async def __call__(self) -> str:
        return await self.of(self.server)

    async def of(self, server: Callable[[httpx.Request], httpx.Response]) -> str:
        exchange = Exchange("the office", URL, code_of, jitter=lambda: 0.5, sleep=self.sleep)
        async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
            return await exchange.post(
                client,
                "svc:billing",
                {"one": SENT["content"], "two": 2},
                params={"key": SENT["params"]},
                headers=self.headers,
                wanted="other",
            )

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


def code_of(response: httpx.Response) -> str:
    return str(member(response, "code"))


def answer(status: int, code: str = "", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code}, headers=headers)


GIVEN = httpx.Response(200, json={"other": "the other thing", "more": "of no interest"})


async def test_the_request_is_a_post_of_json() -> None:
    """To the address, with what it was given as parameters, headers and body, and with a deadline."""
    asking = Asking(GIVEN)
    await asking()
    (request,) = asking.server.requests
    assert (request.method, str(request.url)) == ("POST", f"{URL}?key=params-secret")
    assert (request.headers["Content-Type"], request.headers["Authorization"]) == (
        "application/json",
        "Bearer headers-secret-1",
    )
    assert json.loads(request.content) == {"one": "content-secret", "two": 2}
    assert set(request.extensions["timeout"].values()) == {5.0}


async def test_parameters_and_headers_may_be_left_out() -> None:
    """The body is what there has to be."""
    server = Scripted([GIVEN])
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
        assert await Exchange("the office", URL, code_of).post(client, "svc:billing", {}, wanted="other")
    (request,) = server.requests
    assert request.url == URL
    assert "Authorization" not in request.headers


async def test_what_is_wanted_comes_back_alone() -> None:
    """Out of all that stands in the answer, and at once."""
    asking = Asking(GIVEN)
    assert await asking() == "the other thing"
    assert asking.pauses == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
async def test_too_many_and_server_errors_are_tried_again(status: int) -> None:
    """After a pause, the same request once more; the pauses grow."""
    asking = Asking(answer(status), answer(status), GIVEN)
    assert await asking() == "the other thing"
    assert asking.pauses == [0.05, 0.1]
    assert len({(request.method, str(request.url), request.content) for request in asking.server.requests}) == 1


async def test_every_attempt_has_headers_of_its_own() -> None:
    """They are asked for anew, since what they say may count once."""
    asking = Asking(answer(503), answer(429), GIVEN)
    await asking()
    assert [request.headers["Authorization"] for request in asking.server.requests] == [
        f"Bearer headers-secret-{number}" for number in (1, 2, 3)
    ]
    assert asking.headers.asked == 3


@pytest.mark.parametrize("kind", [SignInRefused, SignInUnavailable])
async def test_without_headers_nothing_is_asked(kind: type[SignInError]) -> None:
    """What kept them from being there comes out as it is, and is not tried again."""
    asking = Asking(GIVEN)
    asking.headers.fault = kind("svc:billing", "there are none")
    with pytest.raises(kind) as caught:
        await asking()
    assert caught.value is asking.headers.fault
    assert (asking.server.requests, asking.pauses) == ([], [])


async def test_three_attempts_are_enough() -> None:
    """Then it is unavailable, and says who answered what, and when to try again."""
    asking = Asking(*[answer(503, "too_busy")] * 3)
    with pytest.raises(SignInUnavailable, match=r"the office answered 503 too_busy$") as caught:
        await asking()
    assert (caught.value.identity, caught.value.retry_after_seconds) == ("svc:billing", 1.0)
    assert len(asking.server.requests) == 3
    assert len(asking.pauses) == 2


async def test_the_last_answer_is_the_one_that_is_told() -> None:
    """What went before is history."""
    with pytest.raises(SignInUnavailable, match=r"429 third$"):
        await Asking(answer(500, "first"), answer(503, "second"), answer(429, "third"))()


@pytest.mark.parametrize("seconds", [1, 2])
async def test_a_short_retry_after_is_kept_to(seconds: int) -> None:
    """The server's own wish counts where it is longer than our pause."""
    asking = Asking(answer(429, **{"Retry-After": str(seconds)}), GIVEN)
    await asking()
    assert asking.pauses == [seconds]


async def test_a_retry_after_of_nothing_is_no_reason_to_hurry() -> None:
    """Our own pause counts where it is longer."""
    asking = Asking(answer(429, **{"Retry-After": "0"}), GIVEN)
    await asking()
    assert asking.pauses == [0.05]


async def test_a_long_retry_after_is_handed_on() -> None:
    """A call does not hang for half a minute; its maker is told instead."""
    asking = Asking(answer(429, **{"Retry-After": "30"}))
    with pytest.raises(SignInUnavailable) as caught:
        await asking()
    assert caught.value.retry_after_seconds == 30.0
    assert asking.pauses == []


async def test_the_last_retry_after_is_handed_on_too() -> None:
    """Also a short one, when the attempts are used up."""
    asking = Asking(*[answer(429, **{"Retry-After": "2"})] * 3)
    with pytest.raises(SignInUnavailable) as caught:
        await asking()
    assert caught.value.retry_after_seconds == 2.0


@pytest.mark.parametrize("seconds", ["3601", "9" * 30, "9" * 400, "9" * 5000], ids=len)
async def test_what_nobody_would_wait_for_is_an_hour(seconds: str) -> None:
    """An absurd Retry-After keeps no process waiting for ever."""
    with pytest.raises(SignInUnavailable) as told:
        await Asking(answer(503, **{"Retry-After": seconds}))()
    assert told.value.retry_after_seconds == 3600


@pytest.mark.parametrize("value", ["Wed, 21 Oct 2026 07:28:00 GMT", "-5", "1.5", "soon", "", "²"])
async def test_a_retry_after_that_is_no_number_of_seconds_is_no_wish(value: str) -> None:
    """The pause is then ours."""
    response = httpx.Response(503, headers=[(b"Retry-After", value.encode())])
    asking = Asking(response, GIVEN)
    await asking()
    assert asking.pauses == [0.05]


@pytest.mark.parametrize("status", [201, 204, 302, 400, 401, 403, 404, 409])
async def test_other_answers_are_final(status: int) -> None:
    """No second try; the error says who answered what, to whom."""
    asking = Asking(answer(status, "not_you"))
    with pytest.raises(SignInRefused, match=rf"the office answered {status} not_you$") as caught:
        await asking()
    assert caught.value.identity == "svc:billing"
    assert len(asking.server.requests) == 1


async def test_a_refusal_after_an_outage_is_final() -> None:
    """What the second attempt is told counts."""
    asking = Asking(answer(503), answer(400, "not_you"))
    with pytest.raises(SignInRefused, match="not_you"):
        await asking()
    assert len(asking.server.requests) == 2


NETWORK_ERRORS = [httpx.ConnectError, httpx.ReadTimeout, httpx.PoolTimeout, httpx.RemoteProtocolError]


@pytest.mark.parametrize("kind", NETWORK_ERRORS)
async def test_a_network_that_fails_is_not_tried_again(kind: type[httpx.RequestError]) -> None:
    """Whether the server did what it was asked is unknown; the caller decides."""
    error = kind("x")
    asking = Asking(error)
    with pytest.raises(SignInUnavailable, match=rf"the office could not be reached \({kind.__name__}\)$") as caught:
        await asking()
    assert caught.value.__cause__ is error
    assert len(asking.server.requests) == 1


async def test_a_body_that_cannot_be_unpacked_is_a_network_that_fails() -> None:
    """It is no answer that could be read."""
    garbled = httpx.DecodingError("not gzip")
    with pytest.raises(SignInUnavailable, match=r"could not be reached \(DecodingError\)"):
        await Asking(garbled)()


@pytest.mark.parametrize(
    "body", [b"{}", b'{"other":""}', b'{"other":7}', b'{"other":["text"]}', b"[]", b"null", b"<html>", b"\xff", b""]
)
async def test_an_answer_without_what_is_wanted_is_none(body: bytes) -> None:
    """200 alone is not enough."""
    asking = Asking(httpx.Response(200, content=body))
    with pytest.raises(SignInUnavailable, match=r"the office answered 200 without a member other$"):
        await asking()
    assert len(asking.server.requests) == 1


class Echo:
    """A server that repeats everything that it is sent, in whichever way it fails."""

    def __init__(self, status: int | None) -> None:
        self._status = status

    def __call__(self, request: httpx.Request) -> httpx.Response:
        text = f"{request.url} {request.headers.raw} {request.content!r}"
        assert all(secret in text for secret in SENT.values())
        if self._status is None:
            raise httpx.ConnectError(text, request=request)
        return httpx.Response(self._status, json={"code": "odd", "detail": text})


@pytest.mark.parametrize("status", [None, 200, 302, 400, 401, 429, 503])
async def test_texts_never_hold_what_was_sent(status: int | None) -> None:
    """Whatever the server repeats beside its code: the text of an error may end up in a log."""
    with pytest.raises(SignInError) as caught:
        await Asking().of(Echo(status))
    assert not [secret for secret in SENT.values() if secret in f"{caught.value} {caught.value!r}"]


async def test_a_caller_that_gives_up_ends_the_pause() -> None:
    """Nobody asks for nobody."""
    server, sleep = Scripted([answer(503), GIVEN]), ManualSleep()
    exchange = Exchange("the office", URL, code_of, sleep=sleep)
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
        asking = asyncio.create_task(exchange.post(client, "svc:billing", {}, wanted="other"))
        await sleep.asked_seconds.get()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert len(server.requests) == 1


async def test_pauses_are_random_parts_of_what_they_may_be() -> None:
    """So that many who were turned away together do not come back together."""
    server, pauses = Scripted([answer(503), answer(503), GIVEN] * 20), []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    exchange = Exchange("the office", URL, code_of, sleep=sleep)
    async with httpx.AsyncClient(transport=httpx.MockTransport(server)) as client:
        for _ in range(20):
            await exchange.post(client, "svc:billing", {}, wanted="other")
    assert len(set(pauses)) > 30
    assert max(pauses[::2]) <= 0.1
    assert max(pauses[1::2]) <= 0.2


NAMES = st.sampled_from(["error", "message", "code", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(), inner, max_size=3),
)


def stands_at(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


@given(value=JSON, path=st.lists(NAMES, max_size=3))
def test_a_member_of_any_json_is_what_stands_there(value: Any, path: list[str]) -> None:
    """Or nothing; no JSON is a surprise."""
    found = member(httpx.Response(400, content=json.dumps(value).encode()), *path)
    assert json.dumps(found) == json.dumps(stands_at(value, path))


@given(body=st.binary() | st.text().map(str.encode), path=st.lists(NAMES, min_size=1, max_size=3))
def test_a_member_of_anything_else_is_none(body: bytes, path: list[str]) -> None:
    """What a server answers is nobody's promise."""
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    assert member(httpx.Response(400, content=body), *path) == stands_at(value, path)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"code":' * 100_000, b'{"code":' + b"9" * 10_000 + b"}"])
def test_a_body_that_breaks_a_parser_has_no_members(body: bytes) -> None:
    """Neither depth nor length gets an error out of it."""
    assert member(httpx.Response(400, content=body), "code") is None
