"""Every sample of docs/guide/recipes.md runs, and does what the page says."""

import asyncio
import importlib
import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import uvicorn
from google.auth import jwt
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import override

from emulator.run.ports import HOST, Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import ROOT, Stack
from mstoken import ServiceIdentity
from mstoken.fastapi import protect
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from mstoken.testing import FakeFirebase
from tests.mstoken.test_settings import environment
from tests.waiting import WAIT_SECONDS

PAGE = (ROOT / "docs/guide/recipes.md").read_text()
SAMPLES = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
GUNICORN = re.findall(r"^gunicorn .*$", PAGE, re.MULTILINE)
Recipe = Callable[[str], ModuleType]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the samples under their names."""
    for name, text in SAMPLES.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


@pytest.fixture
def recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recipe]:
    """Imports a sample, in an environment without any setting."""
    monkeypatch.syspath_prepend(str(folder))
    with environment():
        yield importlib.import_module
    for name in SAMPLES:
        sys.modules.pop(name, None)


@pytest.fixture
def firebase() -> FakeFirebase:
    """A Firebase project in memory, in the place of the one that the settings name."""
    return FakeFirebase()


@contextmanager
def served(app: ASGIApp, *, root_path: str = "") -> Iterator[str]:
    """Serve an app with uvicorn in a thread. Yields host:port."""
    config = uvicorn.Config(app, HOST, 0, http="h11", ws="websockets-sansio", log_level="warning", root_path=root_path)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield f"{HOST}:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def test_each_sample_is_tested() -> None:
    """Each Python block has a name, and a test below uses it."""
    assert len(SAMPLES) == PAGE.count("```python")
    own_text = Path(__file__).read_text()
    assert [name for name in SAMPLES if not re.search(rf"\b{name}\b", own_text)] == []


def test_one_rule_for_a_router(recipe: Recipe, firebase: FakeFirebase) -> None:
    """A request passes the rule of the router and that of the route, and is verified once."""
    app = recipe("reports").app
    protect(app, firebase.verifier("product"))
    admin = firebase.user_headers("ada", role="admin")
    with TestClient(app) as client:
        assert client.get("/reports/daily", headers=firebase.service_headers("billing", to="product")).is_success
        assert client.delete("/reports/daily", headers=admin).json() == "deleted by user:ada"
        refused = client.delete("/reports/daily", headers=firebase.service_headers("billing", to="product"))
        assert refused.json()["code"] == "caller_not_allowed"
        assert client.get("/reports/daily").json()["code"] == "token_missing"
        assert client.get("/healthz").is_success


def test_a_mounted_app(recipe: Recipe, firebase: FakeFirebase) -> None:
    """The verifier of the outer app serves the mounted one."""
    app = recipe("mounted").app
    protect(app, firebase.verifier("product"))
    with TestClient(app) as client:
        admitted = client.get("/back-office/stock", headers=firebase.user_headers("ada", role="admin"))
        assert admitted.json() == "stock for user:ada"
        assert client.get("/back-office/stock", headers=firebase.user_headers("maya")).status_code == 403
        assert client.get("/back-office/stock").json()["code"] == "user_token_missing"


def test_the_path_of_a_mount_belongs_to_a_proof(recipe: Recipe) -> None:
    """Callers prove calls of the URL that they write, with the base URL that the page names."""
    firebase = FakeFirebase(mode="proof", base_url="https://product.example.com")
    app = recipe("mounted").app
    protect(app, firebase.verifier("product"))
    auth = firebase.service_auth("billing", to="product", mode="proof")

    async def code(url: str) -> str:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), auth=auth) as client:
            return str((await client.get(url)).json()["code"])

    # Billing is verified, and then refused: the route is for administrators.
    assert asyncio.run(code("https://product.example.com/back-office/stock")) == "caller_not_allowed"
    assert asyncio.run(code("https://evil.example.com/back-office/stock")) == "proof_invalid"


def test_websockets(recipe: Recipe, firebase: FakeFirebase) -> None:
    """A handshake is refused before it is accepted, and the caller's sample gets a price."""
    app, feed = recipe("prices").app, recipe("price_feed")
    protect(app, firebase.verifier("product"))
    with TestClient(app) as client:
        headers = firebase.service_headers("billing", to="product")
        with client.websocket_connect("/prices", headers=headers) as websocket:
            assert websocket.receive_json() == {"teapot": 1999, "for": "svc:billing"}
        for refused, status in ((headers, 401), (firebase.service_headers("delivery", to="product"), 403)):
            with pytest.raises(WebSocketDenialResponse) as answer, client.websocket_connect("/prices", headers=refused):
                pass
            assert answer.value.status_code == status
    with firebase.identity("billing") as identity, served(app) as address:
        assert asyncio.run(feed.first_price(identity, f"ws://{address}")) == '{"teapot":1999,"for":"svc:billing"}'


def test_several_services_in_one_process(recipe: Recipe, firebase: FakeFirebase) -> None:
    """Each app accepts its own tokens only. Both verifiers are open while the outer app is."""
    module = recipe("two_services")
    protect(module.product, firebase.verifier("product"))
    protect(module.billing, firebase.verifier("billing"))
    with TestClient(module.app) as client:
        for path, caller, audience in (
            ("/product/products", "billing", "product"),
            ("/billing/bills", "delivery", "billing"),
        ):
            headers = firebase.service_headers(caller, to=audience)
            assert client.get(path, headers=headers).json().endswith(f"for svc:{caller}")
            other = firebase.service_headers(caller, to="user")
            assert client.get(path, headers=other).json()["code"] == "token_wrong_audience"
        stray = firebase.service_headers("delivery", to="billing")
        assert client.get("/product/products", headers=stray).json()["code"] == "token_wrong_audience"


CALL_TWICE = """
import sys, time
from mstoken import ServiceIdentity
from private_product import product_client

with ServiceIdentity("billing") as identity, product_client(identity, sys.argv[1]) as client:
    while (answer := client.get("/products")).status_code == 503:  # The store of spent ids is new.
        time.sleep(0.1)
    print(answer.json(), client.get("/products").json(), sep="; ")
"""


@pytest.mark.process
def test_a_private_service_on_cloud_run(
    recipe: Recipe, folder: Path, emulators: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call has a Google identity token for the callee's URL, beside its service token, which is accepted."""
    variables = {"GOOGLE_CLOUD_PROJECT": emulators.project, AUTH_EMULATOR_VARIABLE: emulators.auth_host}
    for name, value in (variables | {"MSTOKEN_REPLAY_URL": "memory:"}).items():
        monkeypatch.setenv(name, value)
    app = recipe("product").app
    google_tokens: set[str] = set()

    async def cloud_run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            google_tokens.add(dict(scope["headers"])[b"x-serverless-authorization"].decode())
            # What a container may get in place of the token that was checked.
            scope["headers"] = [*scope["headers"], (b"authorization", b"Bearer x.y.SIGNATURE_REMOVED_BY_GOOGLE")]
        await app(scope, receive, send)

    # google-auth reads the address of the metadata server when it is imported, so this needs a process.
    metadata = {
        name: value
        for name, value in emulators.identity_environment("billing").items()
        if name.startswith("GCE_METADATA")
    }
    with served(cloud_run) as address:
        done = subprocess.run(
            [sys.executable, "-c", CALL_TWICE, f"http://{address}"],
            cwd=folder,
            env=os.environ | metadata,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout == "a teapot, for svc:billing; a teapot, for svc:billing\n", done.stderr
    (google_token,) = google_tokens
    claims = jwt.decode(google_token.removeprefix("Bearer "), verify=False)
    assert (claims["aud"], claims["email"]) == (f"http://{address}", "billing@demo-shop.iam.gserviceaccount.com")


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("command", GUNICORN, ids=["forked before the import", "--preload"])
def test_gunicorn(command: str, folder: Path, emulators: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers accept each token once, together, with the app imported before or after they are forked."""
    port = Ports.shifted(free_offset()).product
    url = f"http://{HOST}:{port}"
    variables = {
        "GOOGLE_CLOUD_PROJECT": emulators.project,
        AUTH_EMULATOR_VARIABLE: emulators.auth_host,
        "MSTOKEN_REPLAY_URL": f"sqlite:///{folder}/spent-ids.db",
    }
    monkeypatch.setenv(AUTH_EMULATOR_VARIABLE, emulators.auth_host)
    supervisor = Supervisor()
    words = shlex.split(command.replace(":8002", f":{port}"))
    assert words[:2] == ["gunicorn", "product:app"]
    try:
        log = folder / "gunicorn.log"
        env = os.environ | variables
        supervisor.start("gunicorn", [sys.executable, "-m", *words], env=env, cwd=folder, log=log)
        supervisor.wait_until(lambda: _answers(url), "gunicorn", WAIT_SECONDS)
        with (
            ServiceIdentity("billing", emulators.settings) as identity,
            httpx.Client(base_url=url, timeout=WAIT_SECONDS) as client,
        ):
            auth = identity.to("product")
            # The store of spent ids is new, so it refuses calls for a moment.
            supervisor.wait_until(lambda: client.get("/products", auth=auth).is_success, "the store", WAIT_SECONDS)
            assert [client.get("/products", auth=auth).json() for _ in range(8)] == ["a teapot, for svc:billing"] * 8
            headers = {"X-MS-TOKEN": identity.token_sync("product")}
            with ThreadPoolExecutor(12) as pool:
                answers = list(
                    pool.map(
                        lambda _: httpx.get(f"{url}/products", headers=headers, timeout=WAIT_SECONDS).status_code,
                        range(12),
                    )
                )
        assert sorted(answers) == [200] + [401] * 11
    finally:
        supervisor.stop()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/openapi.json", timeout=WAIT_SECONDS).is_success
    except httpx.TransportError:
        return False


class StrippingProxy(httpx.BaseTransport):
    """A reverse proxy in front of the server at `address`. It removes the prefix /product, and sets another host."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._inner = httpx.HTTPTransport()

    @override
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.removeprefix(b"/product").decode()
        headers = httpx.Headers(request.headers)
        headers.update({"Host": "10.0.0.7:8002", "X-Forwarded-Host": "evil.example.com"})
        return self._inner.handle_request(httpx.Request("GET", f"http://{self._address}{path}", headers=headers))

    @override
    def close(self) -> None:
        self._inner.close()


@pytest.mark.parametrize("root_path", ["", "/product"])
def test_behind_a_proxy_that_removes_a_prefix(recipe: Recipe, root_path: str) -> None:
    """A proof is compared with the URL that the caller wrote, whatever path and host the proxy passes on."""
    assert "uvicorn behind_a_proxy:app --http h11 --no-proxy-headers --root-path /product\n" in PAGE
    firebase = FakeFirebase(mode="proof", base_url="https://shop.example.com/product")
    app = recipe("behind_a_proxy").app
    protect(app, firebase.verifier("product"))
    auth = firebase.service_auth("billing", to="product", mode="proof")
    with (
        served(app, root_path=root_path) as address,
        httpx.Client(transport=StrippingProxy(address), auth=auth) as client,
    ):
        for name in ("pot", "a@b:c", "%C3%BC"):
            answer = client.get(f"https://shop.example.com/product/items/{name}")
            assert answer.is_success, answer.text
        elsewhere = client.get("https://evil.example.com/product/items/pot")
    assert elsewhere.json()["code"] == "proof_invalid"
