"""The lab answers its own pages on this machine only, and does not start without the emulator."""

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient

from emulator.lab.app import create_lab
from emulator.lab.security import HEADERS, LabRefused
from emulator.run.errors import RunnerError
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests.emulator.lab.logged_shop import LoggedShop

PATHS = ("/", "/charts", "/calls/7", "/static/lab.css", "/design/tokens.css", "/missing")


@pytest.fixture
def client(shop: LoggedShop) -> TestClient:
    """A browser at the lab, which has one more route, that changes something."""
    app = create_lab(shop.lab, shop.environment)
    router = APIRouter()

    @router.post("/change")
    def change() -> str:
        return "changed"

    app.include_router(router)
    return TestClient(app, base_url="http://127.0.0.1:4100")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:4100",
        "127.0.0.1",
        "127.0.0.1:80",
        "localhost:4101",
        "127.0.0.1.evil.example:4100",
        "",
    ],
)
def test_other_names_are_refused(client: TestClient, path: str, host: str) -> None:
    """A page that gives its own name the address 127.0.0.1 (DNS rebinding) reads nothing of the lab."""
    answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 403
    assert "Host header" in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:4100", "localhost:4100", "LocalHost:4100"])
def test_the_names_of_this_machine_are_accepted(client: TestClient, host: str) -> None:
    """The lab answers under both of its names."""
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:5000"},
        {"Origin": "http://localhost:4100"},
        {"Origin": "https://127.0.0.1:4100"},
        {"Origin": "http://127.0.0.1:4100.evil.example"},
        {"Referer": "http://127.0.0.1:4100/"},
        {"Sec-Fetch-Site": "same-origin"},
    ],
    ids=["none", "null", "foreign", "the storefront", "another name", "https", "a longer name", "referer", "fetch"],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_only_pages_of_the_lab_may_change_something(client: TestClient, method: str, headers: dict[str, str]) -> None:
    """A request that changes something needs the lab's own origin: a foreign page can send a simple POST anywhere."""
    answer = client.request(method, "/change", headers=headers)
    assert answer.status_code == 403
    assert "Origin" in answer.text


def test_a_page_of_the_lab_may_change_something(client: TestClient) -> None:
    """With the origin of the address that was asked, the request is served."""
    assert client.post("/change", headers={"Origin": "http://127.0.0.1:4100"}).json() == "changed"
    local = {"Host": "localhost:4100", "Origin": "http://localhost:4100"}
    assert client.post("/change", headers=local).json() == "changed"


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_headers(client: TestClient, path: str) -> None:
    """Each answer, also of a file or an error, forbids inline scripts, other servers, frames and guessing of types."""
    headers = client.get(path).headers
    assert HEADERS.items() <= {name.title().replace("Csp", "CSP"): value for name, value in headers.items()}.items()
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_pages_are_not_kept(client: TestClient) -> None:
    """No cache keeps a page: what it shows is over in a second."""
    assert client.get("/").headers["Cache-Control"] == "no-store"


def test_no_cors(client: TestClient) -> None:
    """No other origin may read an answer."""
    answer = client.get("/", headers={"Origin": "http://127.0.0.1:5000"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    options = {"Origin": "http://127.0.0.1:5000", "Access-Control-Request-Method": "POST"}
    assert client.options("/change", headers=options).status_code == 405


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc"])
def test_there_is_no_description_of_the_routes(client: TestClient, path: str) -> None:
    """FastAPI's own pages load scripts from a CDN, and are not served."""
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/%2e%2e/app.py", "/design/../../../pyproject.toml"])
def test_only_static_files_are_served(client: TestClient, path: str) -> None:
    """No path leads out of the folders of static files."""
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("environment", "changes", "message"),
    [
        ({}, {}, "FIREBASE_AUTH_EMULATOR_HOST must be 127.0.0.1:9100"),
        ({AUTH_EMULATOR_VARIABLE: ""}, {}, "must be 127.0.0.1:9100"),
        ({AUTH_EMULATOR_VARIABLE: "elsewhere:9099"}, {}, "must be 127.0.0.1:9100"),
        ({AUTH_EMULATOR_VARIABLE: "127.0.0.1:9100"}, {"project": "real-shop"}, "begins with demo-"),
    ],
    ids=["no variable", "empty", "another emulator", "a real project"],
)
def test_it_does_not_start_without_the_emulator(
    tmp_path: Path, environment: dict[str, str], changes: dict[str, Any], message: str
) -> None:
    """Without the emulator of this stack, or for a project that is not a demo, the lab refuses to start."""
    shop = LoggedShop(tmp_path, **changes)
    with pytest.raises(LabRefused, match=re.escape(message)):
        create_lab(shop.lab, environment)
    assert issubclass(LabRefused, RunnerError)
