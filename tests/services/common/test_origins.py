"""services/common/origins.py, and the path under which a front end offers a service"""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from mstoken.errors import SettingsError
from mstoken.testing import FakeFirebase
from services.common.bodies import MAX_BODY_BYTES
from services.common.errors import Overloaded
from services.common.load import Load
from services.common.origins import ANSWER_HEADERS, METHODS, REQUEST_HEADERS, is_origin
from services.common.settings import ServiceSettings
from tests.services.common.test_app import an_app
from tests.services.shop import answered, refused, serving

SHOP = "https://shop.example.com"
LOCAL = "http://127.0.0.1:5000"
UNUSED = "sqlite:///unused.db"
STRANGERS = [
    "null",
    "*",
    "https://evil.example",
    "https://shop.example.com.evil.example",
    "https://evil-shop.example.com",
    "https://evil.example/https://shop.example.com",
    "https://user@shop.example.com",
    "https://shop.example.com@evil.example",
    "https://sub.shop.example.com",
    "https://example.com",
    "https://shop.example.com:8443",
    "https://shop.example.com:443",
    "https://shop.example.com/",
    "https://shop.example.com.",
    "https://shop-example.com",
    "https://SHOP.example.com",
    "http://shop.example.com",
    "http://127.0.0.1",
    "http://127.0.0.1:50000",
    "http://localhost:5000",
    "https://shop.example.com, https://evil.example",
    "file://",
    "",
]
"""Origins that are not allowed although most of them resemble one that is."""


@pytest.fixture
async def client(tmp_path: Path, firebase: FakeFirebase) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that allows two origins, and that a front end offers at /api/some."""
    settings = ServiceSettings(database_url=UNUSED, allowed_origins=(SHOP, LOCAL), root_path="/api/some")
    async with serving(an_app(tmp_path, firebase, settings=settings)) as client:
        yield client


async def preflight(
    client: httpx.AsyncClient, origin: str = SHOP, method: str = "POST", headers: str = "authorization"
) -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return await client.options("/letters", headers=asked)


@pytest.mark.parametrize("origin", [SHOP, LOCAL])
async def test_an_allowed_origin_may_send_what_the_api_needs(client: httpx.AsyncClient, origin: str) -> None:
    """A preflight request needs no token. Its answer names the origin, the methods and the headers, and no cookies."""
    answer = await preflight(client, origin, headers="authorization,content-type,idempotency-key")
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Methods"] == ", ".join(METHODS)
    assert set(REQUEST_HEADERS) <= set(answer.headers["Access-Control-Allow-Headers"].split(", "))
    assert answer.headers["Access-Control-Max-Age"] == "7200"
    assert "Origin" in answer.headers["Vary"]
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("origin", STRANGERS)
async def test_other_origins_may_read_nothing(client: httpx.AsyncClient, origin: str) -> None:
    """Any other origin gets neither a good answer to its preflight request nor the right to read an answer."""
    answer = await preflight(client, origin)
    assert answer.status_code == 400
    assert "Access-Control-Allow-Origin" not in answer.headers
    answer = await client.get("/healthz", headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("header", ["x-ms-token", "X-MS-TOKEN", "authorization, x-ms-token", "dpop", "x-forwarded-for"])
async def test_a_page_can_send_no_service_token(client: httpx.AsyncClient, header: str) -> None:
    """No page may send the headers of services, not even the storefront's."""
    answer = await preflight(client, headers=header)
    assert answer.status_code == 400
    assert "x-ms-token" not in answer.headers["Access-Control-Allow-Headers"].lower()
    assert "dpop" not in answer.headers["Access-Control-Allow-Headers"].lower()


@pytest.mark.parametrize("header", ["traceparent", "tracestate", "baggage", "authorization, traceparent"])
async def test_a_page_is_not_the_parent_of_a_trace(client: httpx.AsyncClient, header: str) -> None:
    """A page exports no spans, and must not decide which requests are traced, so it may not send these headers."""
    answer = await preflight(client, headers=header)
    assert answer.status_code == 400
    allowed = {name.strip().lower() for name in answer.headers["Access-Control-Allow-Headers"].split(",")}
    assert not allowed & {"traceparent", "tracestate", "baggage"}


@pytest.mark.parametrize("method", ["PUT", "TRACE", "CONNECT", "get"])
async def test_other_methods_are_not_allowed(client: httpx.AsyncClient, method: str) -> None:
    """A page may use the methods of the API only."""
    assert (await preflight(client, method=method)).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/healthz", b"", 200),
        ("GET", "/me", b"", 401),
        ("GET", "/nowhere", b"", 404),
        ("PUT", "/letters", b"", 405),
        pytest.param("POST", "/letters", b"x" * (MAX_BODY_BYTES + 1), 413, id="too large"),
        ("POST", "/letters", b"{}", 422),
        ("GET", "/teapot", b"", 418),
        ("GET", "/defect", b"", 500),
    ],
)
async def test_a_page_can_read_every_answer(
    client: httpx.AsyncClient, method: str, path: str, body: bytes, status: int
) -> None:
    """The storefront can show what went wrong: refusals and errors have the headers too."""
    headers = {"Origin": SHOP, "Content-Type": "application/json"}
    answer = await client.request(method, path, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert answer.headers["Access-Control-Expose-Headers"] == ", ".join(ANSWER_HEADERS)
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_a_page_can_read_that_the_service_is_busy(tmp_path: Path, firebase: FakeFirebase) -> None:
    """A request that the load limit refuses has the headers. A preflight request takes no place, so it is answered."""
    settings = ServiceSettings(database_url=UNUSED, allowed_origins=(SHOP,))
    app = an_app(tmp_path, firebase, settings=settings)
    load = Load(max_concurrent=0, max_waiting=0, max_refusal_seconds=0)
    for middleware in app.user_middleware:
        if "load" in middleware.kwargs:
            middleware.kwargs["load"] = load
    async with serving(app) as client:
        answer = await client.get("/me", headers={"Origin": SHOP})
        refused(answer, Overloaded.status, Overloaded.code)
        assert answer.headers["Access-Control-Allow-Origin"] == SHOP
        assert (await preflight(client)).status_code == 200


async def test_without_the_setting_no_page_is_allowed(tmp_path: Path, firebase: FakeFirebase) -> None:
    """By default the services do not know CORS: a preflight request is an unknown method."""
    async with serving(an_app(tmp_path, firebase)) as client:
        assert (await preflight(client)).status_code == 405
        answer = await client.get("/healthz", headers={"Origin": SHOP})
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_service_answers_where_the_front_end_offers_it(client: httpx.AsyncClient) -> None:
    """Routes answer below ROOT_PATH and without it, and the page of the API finds its files in both places."""
    for prefix in ("", "/api/some"):
        assert answered(await client.get(f"{prefix}/healthz")) == {"status": "ok"}
        refused(await client.get(f"{prefix}/me"), 401, "user_token_missing")
        assert (await client.put(f"{prefix}/letters")).headers["Allow"] == "POST"
        servers = [{"url": prefix}] if prefix else None
        assert answered(await client.get(f"{prefix}/openapi.json")).get("servers") == servers
        assert f"'{prefix}/openapi.json'" in (await client.get(f"{prefix}/docs")).text


@pytest.mark.parametrize("path", ["/api/some/api/some/healthz", "/api/something/healthz", "/api/healthz", "/api/some"])
async def test_no_other_beginning_of_a_path_is_ignored(client: httpx.AsyncClient, path: str) -> None:
    """Only ROOT_PATH itself is ignored, as whole segments, and once."""
    refused(await client.get(path), 404, "not_found")


@pytest.mark.parametrize("origin", [text for text in STRANGERS if text.endswith(("*", "/", ".")) or "@" in text])
def test_what_is_not_an_origin(origin: str) -> None:
    """A wildcard, a path, a final dot and a user name are not parts of an origin."""
    assert not is_origin(origin)


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("https://shop.example.com", (SHOP,)),
        (" https://shop.example.com , http://127.0.0.1:5000\n", (SHOP, LOCAL)),
        ("https://shop-1.web.app:8443,http://[::1]:80000", ("https://shop-1.web.app:8443", "http://[::1]:80000")),
    ],
)
def test_the_setting_is_a_list(monkeypatch: pytest.MonkeyPatch, text: str, origins: tuple[str, ...]) -> None:
    """ALLOWED_ORIGINS has commas between its origins. Empty, it allows none."""
    monkeypatch.setenv("ALLOWED_ORIGINS", text)
    assert ServiceSettings(database_url=UNUSED).allowed_origins == origins


@pytest.mark.parametrize(
    "text",
    [
        "*",
        "null",
        "shop.example.com",
        "https://shop.example.com/",
        "https://*.example.com",
        "https://SHOP.example.com",
        "https://shop.example.com:443",
        "http://localhost:80",
        "http://shop.example.com",
        "https://shop.example.com;https://other.example.com",
        "https://shop.example.com,",
        "https://shop.example.com,*",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A service does not start with an origin that could never match, or that would allow every page."""
    monkeypatch.setenv("ALLOWED_ORIGINS", text)
    with pytest.raises(SettingsError, match=r"^ALLOWED_ORIGINS is not valid: it must be a list of origins with commas"):
        ServiceSettings(database_url=UNUSED)


@pytest.mark.parametrize("text", ["api/user", "/api/user/", "/", "/api//user", "https://shop.example.com/api"])
def test_a_root_path_is_a_path(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """ROOT_PATH begins with a slash and does not end with one."""
    monkeypatch.setenv("ROOT_PATH", text)
    with pytest.raises(SettingsError, match=r"^ROOT_PATH is not valid: it must be a path without a slash at its end"):
        ServiceSettings(database_url=UNUSED)
