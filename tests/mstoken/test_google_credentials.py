"""Application Default Credentials: what can sign, and that the metadata server is never asked through a proxy."""

import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from emulator.run.ports import HOST
from mstoken.errors import SettingsError
from mstoken.google_credentials import CANNOT_SIGN, CREDENTIALS_VARIABLE, check_can_sign, check_file, gcloud_file
from tests.mstoken.metadata_server import Google, Machine

PREAMBLE = """
import asyncio, json, logging, time
from mstoken import Settings
from mstoken.callee.firebase import AdminDirectory
from mstoken.caller.credentials import GoogleIdentity
from mstoken.caller.minting import AdminMinter
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
        self._serving = threading.Thread(target=self.serve_forever)
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


def written(folder: Path, content: Mapping[str, Any] | str) -> dict[str, str]:
    """Write a file of credentials, and return the environment that names it."""
    file = folder / "credentials.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return {CREDENTIALS_VARIABLE: str(file)}


class TestFiles:
    """Files of credentials, which are read when a program starts."""

    @pytest.mark.parametrize("kind", CANNOT_SIGN)
    def test_credentials_that_cannot_sign(self, tmp_path: Path, kind: str) -> None:
        """The error names the file and its type, and says what to do."""
        environment = written(tmp_path, {"type": kind, "refresh_token": "secret"})
        with pytest.raises(SettingsError, match=rf"credentials\.json' cannot.*\({kind}\)\. Set GOOGLE_APP") as caught:
            check_can_sign(environment, tmp_path)
        assert "MSTOKEN_TOKEN_SERVICE_URL" in str(caught.value)
        assert "secret" not in str(caught.value)
        check_file(environment)

    @pytest.mark.parametrize(
        "content", [{"type": "service_account"}, {"type": "impersonated_service_account"}, {"type": "new"}, {}, "[]"]
    )
    def test_credentials_that_may_sign(self, tmp_path: Path, content: Mapping[str, Any] | str) -> None:
        """Keys and impersonated accounts can sign. About what is unknown here, google-auth decides."""
        check_can_sign(written(tmp_path, content), tmp_path)

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        """The error says why. It does not repeat the contents."""
        missing = {CREDENTIALS_VARIABLE: str(tmp_path / "none.json")}
        for check in (check_file, lambda environment: check_can_sign(environment, tmp_path)):
            with pytest.raises(SettingsError, match=r"none\.json': it cannot be read \(No such file"):
                check(missing)
            with pytest.raises(SettingsError, match=r"credentials\.json': it is not JSON") as caught:
                check(written(tmp_path, "secret"))
            assert "secret" not in str(caught.value)

    def test_the_file_of_gcloud(self, tmp_path: Path) -> None:
        """Without the variable, the file of `gcloud auth application-default login` counts."""
        check_can_sign({}, tmp_path)
        for environment in ({}, {"CLOUDSDK_CONFIG": str(tmp_path / "elsewhere")}):
            file = gcloud_file(environment, tmp_path)
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps({"type": "authorized_user"}))
            with pytest.raises(SettingsError, match="of a person"):
                check_can_sign(environment, tmp_path)
        check_file({})
