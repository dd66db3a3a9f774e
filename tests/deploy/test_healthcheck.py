"""deploy/docker/healthcheck.py: the health check of the image."""

import importlib.util
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import ModuleType

import pytest

from tests.deploy import files
from tests.silent_server import SilentServer


def module() -> ModuleType:
    """Load the file, which is no part of a package in the image."""
    specification = importlib.util.spec_from_file_location("healthcheck", files.DEPLOY / "docker/healthcheck.py")
    assert specification is not None
    assert specification.loader is not None
    loaded = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(loaded)
    return loaded


healthcheck = module()


class Service(BaseHTTPRequestHandler):
    """Answers /healthz with the status of its server."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Write no log."""


class FailingService(Service):
    status = 503


@pytest.fixture(params=[Service, FailingService])
def server(request: pytest.FixtureRequest) -> Iterator[HTTPServer]:
    """A server on a free port."""
    server = HTTPServer(("127.0.0.1", 0), request.param)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_answer_decides(server: HTTPServer) -> None:
    """200 is healthy, and everything else is not."""
    problem = healthcheck.problem(server.server_port)
    if server.RequestHandlerClass is Service:
        assert problem is None
    else:
        assert problem == f"/healthz on port {server.server_port} was answered with 503"


def test_no_answer_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that hangs, or that does not listen, is not healthy."""
    monkeypatch.setattr(healthcheck, "TIMEOUT_SECONDS", 0.05)
    with SilentServer() as silent:
        assert "was not answered (TimeoutError)" in healthcheck.problem(silent.port)
    assert "was not answered (ConnectionRefusedError)" in healthcheck.problem(1)


def test_a_port_that_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without PORT, nothing is asked, and the message says what to set."""
    monkeypatch.delenv("PORT", raising=False)
    assert healthcheck.main() == 1
    assert "PORT is ''" in capsys.readouterr().err
