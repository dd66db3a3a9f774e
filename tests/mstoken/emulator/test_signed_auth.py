"""The signed Auth emulator, in front of a fake Auth emulator in memory."""

import base64
import copy
import functools
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from google.auth import jwt

from emulator.run.ports import HOST
from emulator.run.stack import Stack
from mstoken.emulator.keys import Key
from mstoken.emulator.signed_auth import CERTIFICATES_PATH, STILL_PUBLISHED_SECONDS, KeyRing, TokenSpec, create_app
from tests.clock import FakeClock
from tests.mstoken.emulator.sockets import is_open
from tests.recording_proxy import recording_proxy

SIGN_IN = "/identitytoolkit.googleapis.com/v1/accounts:signInWithCustomToken"


def unsigned(payload: dict[str, Any], alg: str = "none") -> str:
    """Return a token as the Auth emulator makes it."""
    parts = (json.dumps(part).encode() for part in ({"alg": alg, "typ": "JWT"}, payload))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + "."


def id_token() -> str:
    """Return an ID token as the emulator makes it, valid for an hour."""
    now = int(time.time())
    issuer = "https://securetoken.google.com/demo-shop"
    return unsigned({"iss": issuer, "aud": "demo-shop", "sub": "svc:billing", "iat": now, "exp": now + 3600})


@functools.cache
def known_key(number: int) -> Key:
    """Return the same key for the same number: to make an RSA key takes longer than a test."""
    return Key()


def key_maker() -> Callable[[], Key]:
    """Return a function that returns another key with each call, the same ones for each proxy."""
    numbers = itertools.count()
    return lambda: copy.copy(known_key(next(numbers)))


class FakeAuthEmulator:
    """Answers sign-ins with unsigned tokens, and records the requests. Refuses connections while `down`."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.token = id_token()
        self.down = False

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("the emulator has ended")
        self.requests.append(request)
        if request.method == "OPTIONS":
            return httpx.Response(204, headers={"Access-Control-Allow-Origin": request.headers["origin"]})
        if request.url.path == SIGN_IN:
            return httpx.Response(200, json={"idToken": self.token, "refreshToken": "refresh", "expiresIn": "3600"})
        if request.url.path == "/plain":
            return httpx.Response(418, text="short and stout", headers={"X-Emulator": "yes"})
        return httpx.Response(404, json={"error": {"message": "NOT_FOUND"}})


@pytest.fixture
def emulator() -> FakeAuthEmulator:
    return FakeAuthEmulator()


@pytest.fixture
async def proxy(emulator: FakeAuthEmulator) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the proxy in front of that emulator."""
    app = create_app("127.0.0.1:9099", transport=httpx.MockTransport(emulator), make_key=key_maker())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:9100") as client,
    ):
        yield client


async def sign_in(proxy: httpx.AsyncClient) -> str:
    """Return the ID token of a sign-in through the proxy."""
    token: str = (await proxy.post(SIGN_IN, params={"key": "x"}, json={"token": "custom"})).json()["idToken"]
    return token


async def certificates(proxy: httpx.AsyncClient) -> dict[str, str]:
    found: dict[str, str] = (await proxy.get(CERTIFICATES_PATH)).json()
    return found


async def test_id_tokens_are_signed(proxy: httpx.AsyncClient) -> None:
    """google-auth verifies ID tokens with the published certificates, and reads the emulator's claims."""
    token = await sign_in(proxy)
    claims = jwt.decode(token, certs=await certificates(proxy), audience="demo-shop")
    assert claims["sub"] == "svc:billing"
    header = jwt.decode_header(token)
    assert (header["alg"], header["typ"]) == ("RS256", "JWT")


async def test_requests_arrive_as_they_were_sent(proxy: httpx.AsyncClient, emulator: FakeAuthEmulator) -> None:
    """The emulator gets the method, path, query, headers and body that the client sent."""
    await proxy.request(
        "PATCH", "/v1/projects/demo-shop/a%2Fb?x=1&x=2", headers={"Authorization": "Bearer owner"}, content=b"body"
    )
    (request,) = emulator.requests
    assert request.method == "PATCH"
    assert request.url.raw_path == b"/v1/projects/demo-shop/a%2Fb?x=1&x=2"
    assert request.url.host == "127.0.0.1"
    assert request.headers["authorization"] == "Bearer owner"
    assert request.content == b"body"


async def test_the_emulator_is_not_reached_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables for proxies do not count, because the Auth emulator is on this machine."""
    with recording_proxy() as recorder:
        for name, value in recorder.variables().items():
            monkeypatch.setenv(name, value)
        app = create_app("127.0.0.1:1")
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1:9100") as client,
        ):
            response = await client.post(SIGN_IN, json={})
        assert recorder.requests == []
    assert response.status_code == 503
    assert "ConnectError" in response.text


async def test_other_answers_come_back_as_they_are(proxy: httpx.AsyncClient) -> None:
    """Answers without ID tokens come back with the emulator's status, headers and body."""
    response = await proxy.get("/plain")
    assert (response.status_code, response.text, response.headers["x-emulator"]) == (418, "short and stout", "yes")


async def test_only_unsigned_id_tokens_are_signed(proxy: httpx.AsyncClient, emulator: FakeAuthEmulator) -> None:
    """A token with an algorithm, a token of another issuer, and plain text are passed on unchanged."""
    for text in (unsigned({"iss": "https://securetoken.google.com/x"}, alg="RS256"), unsigned({"iss": "me"}), "a.b."):
        emulator.token = text
        assert await sign_in(proxy) == text


async def test_certificates_may_be_cached(proxy: httpx.AsyncClient) -> None:
    """Certificates are served with Google's max-age."""
    response = await proxy.get(CERTIFICATES_PATH)
    assert "max-age=21600" in response.headers["cache-control"]


async def test_an_emulator_that_does_not_answer(proxy: httpx.AsyncClient, emulator: FakeAuthEmulator) -> None:
    """While the emulator is down, requests get 503 in Firebase's format, and certificates are still served."""
    emulator.down = True
    response = await proxy.post(SIGN_IN, json={})
    assert (response.status_code, response.json()["error"]["code"]) == (503, 503)
    assert await certificates(proxy)


async def test_rotation_without_notice(proxy: httpx.AsyncClient) -> None:
    """A new key signs at once. The old certificate stays published, so earlier tokens can still be verified."""
    before = await sign_in(proxy)
    new = (await proxy.post("/_signed/rotate")).json()["key_id"]
    after = await sign_in(proxy)
    assert jwt.decode_header(after)["kid"] == new != jwt.decode_header(before)["kid"]
    for token in (before, after):
        jwt.decode(token, certs=await certificates(proxy))


async def test_rotation_with_notice(proxy: httpx.AsyncClient) -> None:
    """An announced certificate is published before its key signs."""
    new = (await proxy.post("/_signed/announce")).json()["key_id"]
    assert new in await certificates(proxy)
    assert jwt.decode_header(await sign_in(proxy))["kid"] != new
    assert (await proxy.post("/_signed/rotate")).json()["key_id"] == new
    assert jwt.decode_header(await sign_in(proxy))["kid"] == new


def test_old_certificates_are_removed() -> None:
    """A certificate is removed two hours after its key stopped signing: by then every token of that key has expired."""
    clock = FakeClock()
    keys = KeyRing(make_key=key_maker(), clock=clock)
    old = keys.signing.key_id
    keys.rotate()
    clock.advance(STILL_PUBLISHED_SECONDS - 1)
    assert old in keys.published()
    clock.advance(1)
    assert old not in keys.published()


@pytest.mark.parametrize(
    ("scope", "broken"),
    [("all", {"auth", "certificates"}), ("auth", {"auth"}), ("certificates", {"certificates"})],
)
async def test_errors_can_be_injected(proxy: httpx.AsyncClient, scope: str, broken: set[str]) -> None:
    """The proxy answers with an injected status, for all requests or for a part of them, until that is ended."""

    async def failing() -> set[str]:
        answers = {"auth": await proxy.post(SIGN_IN, json={}), "certificates": await proxy.get(CERTIFICATES_PATH)}
        return {name for name, answer in answers.items() if answer.status_code == 503}

    await proxy.put("/_signed/faults", json={"status": 503, "scope": scope})
    assert await failing() == broken
    await proxy.put("/_signed/faults", json={})
    assert await failing() == set()


async def test_a_delay_can_be_injected(proxy: httpx.AsyncClient) -> None:
    """With an injected delay, answers are late and correct."""
    await proxy.put("/_signed/faults", json={"delay_seconds": 0.2, "scope": "certificates"})
    started = time.monotonic()
    assert await certificates(proxy)
    assert time.monotonic() - started >= 0.2


async def test_an_unknown_fault_is_refused(proxy: httpx.AsyncClient) -> None:
    """A request for a fault that does not exist is answered with 422."""
    assert (await proxy.put("/_signed/faults", json={"slow": True})).status_code == 422


async def test_a_local_page_can_read_an_injected_fault(proxy: httpx.AsyncClient) -> None:
    """A preflight request is answered as before, and the page may read the fault, as it may read Google's errors."""
    await proxy.put("/_signed/faults", json={"status": 503})
    page = {"Origin": "http://127.0.0.1:5000"}
    assert (await proxy.options(SIGN_IN, headers=page)).status_code == 204
    answer = await proxy.post(SIGN_IN, json={"token": "custom"}, headers=page)
    assert answer.status_code == 503
    assert answer.headers["Access-Control-Allow-Origin"] == page["Origin"]
    assert "Access-Control-Allow-Origin" not in (await proxy.post(SIGN_IN, json={"token": "custom"})).headers


async def test_any_token_can_be_made(proxy: httpx.AsyncClient) -> None:
    """A token can be signed by the published key, by another key with its id, or not at all, with any content."""

    async def make(**spec: Any) -> str:
        token: str = (await proxy.post("/_signed/tokens", json=spec)).json()["token"]
        return token

    good = await make(payload={"iat": 1, "exp": 9_999_999_999})
    assert jwt.decode(good, certs=await certificates(proxy))["iat"] == 1
    other = await make(payload={"iat": 1, "exp": 9_999_999_999}, key="other")
    assert jwt.decode_header(other)["kid"] == jwt.decode_header(good)["kid"]
    with pytest.raises(ValueError, match="signature"):
        jwt.decode(other, certs=await certificates(proxy))
    assert (await make(key="none", header={"alg": "none"})).endswith(".")
    odd = await make(payload_text='{"exp": NaN, "exp": 1}')
    assert base64.urlsafe_b64decode(odd.split(".")[1] + "==") == b'{"exp": NaN, "exp": 1}'


def test_a_payload_may_have_bytes_that_are_not_utf_8() -> None:
    """Lone surrogates in the payload's text become bytes that are not UTF-8."""
    token = KeyRing().make(TokenSpec(payload_text='{"sub":"\udcff"}'))
    assert b"\xff" in base64.urlsafe_b64decode(token.split(".")[1] + "==")


FOREIGN = [
    {"Host": "evil.example:9100"},
    {"Host": "evil.example:9100", "Origin": "http://evil.example:9100", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Connection": "Upgrade", "Upgrade": "websocket", "Origin": "http://evil.example"},
]
LOCAL = [
    {},
    {"Host": "localhost:9100"},
    {"Origin": "http://localhost:5000", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "http://127.0.0.1:5000", "Sec-Fetch-Site": "same-site"},
    {"Origin": "http://[::1]:5000", "Sec-Fetch-Site": "cross-site"},
]
REQUESTS = [
    ("POST", SIGN_IN),
    ("OPTIONS", SIGN_IN),
    ("GET", "/plain"),
    ("GET", "/emulator/action?mode=verifyEmail&oobCode=x"),
    ("DELETE", "/emulator/v1/projects/demo-shop/accounts"),
]
CONTROL = [
    ("POST", "/_signed/announce", None),
    ("POST", "/_signed/rotate", None),
    ("POST", "/_signed/tokens", {"payload": {"sub": "svc:billing"}}),
    ("PUT", "/_signed/faults", {"status": 503}),
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@pytest.mark.parametrize(("method", "path"), [*REQUESTS, ("GET", CERTIFICATES_PATH)])
async def test_a_foreign_web_page_is_refused(
    proxy: httpx.AsyncClient, emulator: FakeAuthEmulator, method: str, path: str, headers: dict[str, str]
) -> None:
    """It gets 403 in Firebase's format, without CORS headers, and the Auth emulator does not get the request."""
    response = await proxy.request(method, path, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, 403)
    assert "access-control-allow-origin" not in response.headers
    assert emulator.requests == []


@pytest.mark.parametrize("headers", LOCAL, ids=str)
@pytest.mark.parametrize(("method", "path"), REQUESTS)
async def test_programs_and_local_web_pages_are_served(
    proxy: httpx.AsyncClient, emulator: FakeAuthEmulator, method: str, path: str, headers: dict[str, str]
) -> None:
    """The Auth emulator gets their requests, CORS preflights included."""
    await proxy.request(method, path, headers={"Origin": "http://localhost"} | headers)
    assert [request.method for request in emulator.requests] == [method]


@pytest.mark.parametrize("headers", [*FOREIGN, *LOCAL[2:]], ids=str)
@pytest.mark.parametrize(("method", "path", "body"), CONTROL)
async def test_no_web_page_controls_the_proxy(
    proxy: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]
) -> None:
    """A control path is refused for every web page, a preflight for it as well, and nothing changes."""
    before = await certificates(proxy)
    for sent in method, "OPTIONS":
        response = await proxy.request(sent, path, json=body, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (403, 403)
        assert "access-control-allow-origin" not in response.headers
    assert await certificates(proxy) == before
    assert jwt.decode_header(await sign_in(proxy))["kid"] in before


@pytest.mark.parametrize("key", [{"params": {"key": "any"}}, {"headers": {"x-goog-api-key": "any"}}], ids=str)
def test_the_api_key_may_be_in_the_query_or_in_a_header(emulators: Stack, key: dict[str, Any]) -> None:
    """Firebase's web SDK sends it in the query, and this library in a header. Without a key, a sign-in is refused."""
    url = f"{emulators.settings.identity_toolkit_url}/accounts:signInWithCustomToken"
    assert httpx.post(url, json={"token": "odd"}).status_code == 403
    answer = httpx.post(url, json={"token": "odd"}, **key)
    assert answer.json()["error"]["message"].startswith("INVALID_CUSTOM_TOKEN")


def test_it_listens_on_this_machine_only(emulators: Stack) -> None:
    """It listens at 127.0.0.1, and not at every address: 127.0.0.2 is another address of this machine."""
    assert is_open(HOST, emulators.ports.signed_auth)
    assert not is_open("127.0.0.2", emulators.ports.signed_auth)


@pytest.mark.parametrize("origin", ["http://localhost:5000", "http://127.0.0.1:5000", "http://[::1]:5000"])
def test_a_local_web_app_signs_in(emulators: Stack, origin: str) -> None:
    """Firebase's web SDK in the browser can sign in: the Auth emulator answers with CORS headers, on 9100 as well."""
    url = f"http://{emulators.auth_host}/identitytoolkit.googleapis.com/v1/accounts:signInWithPassword?key=fake"
    body = {"email": "maya@example.com", "password": "maya-demo-password", "returnSecureToken": True}
    page = {"Origin": origin, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-client-version"}
    preflight = httpx.options(url, headers=page | asked)
    assert preflight.is_success
    assert preflight.headers["access-control-allow-origin"] == origin
    assert preflight.headers["access-control-allow-headers"] == "content-type,x-client-version"
    answer = httpx.post(url, json=body, headers=page)
    assert answer.headers["access-control-allow-origin"] == origin
    assert jwt.decode_header(answer.json()["idToken"])["alg"] == "RS256"


def test_a_websocket_is_never_opened(emulators: Stack) -> None:
    """CORS does not apply to WebSockets. A foreign page is refused, and a local one gets the answer to a plain GET."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    statuses = [
        httpx.get(f"http://{emulators.auth_host}/", headers=upgrade | {"Origin": origin}).status_code
        for origin in ("http://evil.example", "http://localhost:5000")
    ]
    assert statuses == [403, 200]
