"""How google-auth's requests are sent: the metadata server is never asked through a proxy."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from google.auth.exceptions import TransportError

from emulator.run.ports import HOST
from mstoken.google_transport import GoogleRequest
from tests.mstoken.metadata_server import Google, Machine

PREAMBLE = """
import asyncio, json, logging, time
from mstoken import Settings
from mstoken.callee.firebase import AdminDirectory
from mstoken.caller.credentials import GoogleIdentity
from mstoken.caller.admin_minter import AdminMinter
from mstoken.claims import ServiceClaims
from mstoken.errors import MsTokenError

settings = Settings(project_id="real-shop", emulator_host=None)
claims = ServiceClaims.fresh("billing", "product", minted_at=0)

def report(work):
    try:
        asyncio.run(work)
    except MsTokenError as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
    else:
        print(json.dumps("done"))
"""
SIGN = "report(AdminMinter(settings, deadline_seconds=2).sign(claims))"
LOOK_UP = "report(AdminDirectory(settings, deadline_seconds=2).look_up(['svc:billing']))"
IDENTITY_TOKEN = "report(GoogleIdentity('https://tokens.example/token').assertion('svc:billing'))"


class Proxy(ThreadingHTTPServer):
    """A proxy that refuses everything, and keeps what it was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), ProxyHandler)
        self.asked: list[str] = []

    def __enter__(self) -> "Proxy":
        self._serving = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._serving.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._serving.join()
        self.server_close()


class ProxyHandler(BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        self.send_response(403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_CONNECT()

    def do_POST(self) -> None:
        self.do_CONNECT()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as google:
        yield google


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as proxy:
        yield proxy


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with Machine(tmp_path, PREAMBLE) as machine:
        yield machine


def proxies(proxy: Proxy) -> dict[str, str]:
    """Return the variables with which every request passes the proxy."""
    url = f"http://{HOST}:{proxy.server_port}"
    names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    return dict.fromkeys(names, url) | {"no_proxy": "", "NO_PROXY": ""}


@pytest.mark.process
class TestProxies:
    """A machine of Google's, on which all proxy variables are set."""

    @pytest.mark.parametrize(
        ("script", "asked", "outcome"),
        [
            (IDENTITY_TOKEN, set(), "done"),
            (SIGN, {"CONNECT iamcredentials.googleapis.com:443"}, "SignInUnavailable"),
            (LOOK_UP, {"CONNECT identitytoolkit.googleapis.com:443"}, "VerifierUnavailable"),
        ],
        ids=["identity token", "signature", "look-up"],
    )
    def test_the_metadata_server_is_asked_directly(
        self, here: Machine, google: Google, proxy: Proxy, script: str, asked: set[str], outcome: str
    ) -> None:
        """The proxy sees only that a connection to Google is wanted, and none of the tokens."""
        assert here.run(script, google.host, **proxies(proxy)).partition(":")[0] == outcome
        assert asked <= set(proxy.asked)
        assert all(request.startswith("CONNECT ") and ".googleapis.com:443" in request for request in proxy.asked)
        assert bool(proxy.asked) == bool(asked)
        assert any(path.endswith(("/token", "/identity")) for path in google.paths)

    def test_an_outage_of_the_metadata_server(self, here: Machine, google: Google, proxy: Proxy) -> None:
        """It may answer the next attempt. Its answer is not repeated."""
        google.answers["/token"] = (503, "secret")
        error = here.run(SIGN, google.host, **proxies(proxy))
        assert error.startswith("SignInUnavailable: svc:billing could not sign in")
        assert "could not be signed" in error
        assert "secret" not in error
        assert proxy.asked == []


class TestGoogleRequest:
    """The transport itself, in this process."""

    def test_an_answer_is_read_as_google_auth_reads_it(self, google: Google) -> None:
        """It has a status, header fields in any case, and a body in bytes."""
        answer = GoogleRequest()(f"http://{google.host}/", headers={"Metadata-Flavor": "Google"}, timeout=5)
        assert answer.status == 200
        assert answer.headers["metadata-FLAVOR"] == "Google"
        assert isinstance(answer.data, bytes)

    def test_an_error_of_the_server_is_an_answer(self, google: Google) -> None:
        """google-auth decides what a status means."""
        google.answers["/gone"] = (404, "no such page")
        answer = GoogleRequest()(f"http://{google.host}/gone", headers={"Metadata-Flavor": "Google"})
        assert (answer.status, answer.data) == (404, b"no such page")

    @pytest.mark.parametrize("url", [f"http://{HOST}:1/", "http://[::1/", "ftp://127.0.0.1/", "no-url"])
    def test_no_answer_is_a_transport_error(self, url: str) -> None:
        """A server that does not answer, and a URL that cannot be called, are errors that google-auth knows."""
        with pytest.raises(TransportError):
            GoogleRequest()(url, timeout=1)
