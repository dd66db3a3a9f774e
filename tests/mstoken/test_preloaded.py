"""A service under `gunicorn --preload`: its module makes and uses everything, and then gunicorn forks three workers."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.emulator.signed_auth import KeyRing
from mstoken.errors import StoreIsNew
from mstoken.wire import SERVICE_TOKEN_HEADER
from tests.mstoken.production import PRELOADED_TOKEN, PROJECT, Issuer, service_token, write_service_account

ROOT = Path(__file__).parents[2]
WORKERS = 3
START_SECONDS = 60.0
APPS = [("app", "-k", "uvicorn_worker.UvicornWorker"), ("flask_app", "-k", "gthread", "--threads", "4")]
"""The apps in `preloaded.py`, and the workers of gunicorn that run them."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running gunicorn, and the token that the module of its app has used before the fork."""

    url: str
    issuer: Issuer
    used_token: str

    def get(self, path: str, token: str | None = None) -> httpx.Response:
        """Call the service on a new connection, which any of the workers may accept."""
        return httpx.get(f"{self.url}{path}", headers={SERVICE_TOKEN_HEADER: token} if token else {}, timeout=30)

    def new_token(self) -> str:
        return service_token(self.issuer.keys, "billing", "product")

    def ask_all_workers(self, path: str, *, with_token: bool = False) -> list[tuple[Any, str | None]]:
        """Return answers, and the token of each, until every worker has given three of them."""
        answers: list[tuple[Any, str | None]] = []
        by_worker: dict[int, int] = defaultdict(int)
        end = time.monotonic() + START_SECONDS
        while len(by_worker) < WORKERS or min(by_worker.values()) < 3:
            assert time.monotonic() < end, f"only these workers answer: {dict(by_worker)}"
            token = self.new_token() if with_token else None
            response = self.get(path, token)
            assert response.status_code == 200, response.text
            answer = response.json()
            by_worker[answer["process"]] += 1
            answers.append((answer, token))
        return answers


@pytest.fixture(scope="module", params=APPS, ids=["FastAPI", "Flask"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service, with the settings of production and no network."""
    app, *kind = request.param
    folder = tmp_path_factory.mktemp("preloaded")
    issuer = Issuer(KeyRing(), folder / "certificates.json")
    begin_memory(folder / "spent.db")
    used_token = service_token(issuer.keys, "billing", "product")
    variables = {
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "GOOGLE_APPLICATION_CREDENTIALS": str(write_service_account(folder / "account.json")),
        "MSTOKEN_CERTIFICATES_FILE": str(folder / "certificates.json"),
        "MSTOKEN_REPLAY_URL": f"sqlite:///{folder}/spent.db",
        PRELOADED_TOKEN: used_token,
    }
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        command = [
            sys.executable,
            "-W",
            "ignore::DeprecationWarning",
            "-m",
            "gunicorn",
            f"tests.mstoken.preloaded:{app}",
        ]
        options = [*kind, "-w", str(WORKERS), "-b", f"fd://{listening.fileno()}"]
        process = subprocess.Popen(
            [*command, "--preload", *options], cwd=ROOT, env=os.environ | variables, pass_fds=[listening.fileno()]
        )
        try:
            yield Server(f"http://127.0.0.1:{listening.getsockname()[1]}", issuer, used_token)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()


def begin_memory(path: Path) -> None:
    """Make the file of spent ids as if the service had begun a minute ago, so that it accepts tokens at once."""

    async def begin() -> None:
        store = SQLiteReplayStore(path, clock=lambda: time.time() - 60)
        with suppress(StoreIsNew):
            await store.ready()
        await store.aclose()

    asyncio.run(begin())


@pytest.mark.process
@pytest.mark.slow
class TestGunicornWithPreload:
    """What was made and used before the fork works in each worker, and nothing is used by two of them."""

    def test_a_token_counts_once_in_all_workers(self, server: Server) -> None:
        """Each worker verifies tokens, and refuses those that another one or the module has spent."""
        answers = server.ask_all_workers("/products", with_token=True)
        for _answer, token in answers:
            assert server.get("/products", token).json()["code"] == "token_replayed"
        for _ in range(3 * WORKERS):
            assert server.get("/products", server.used_token).json()["code"] == "token_replayed"

    def test_two_tokens_in_a_request(self, server: Server) -> None:
        """The servers pass on both lines, or join them with a comma. Neither token is accepted."""
        lines = [(SERVICE_TOKEN_HEADER, server.new_token()), (SERVICE_TOKEN_HEADER.lower(), server.new_token())]
        response = httpx.get(f"{server.url}/products", headers=lines, timeout=30)
        assert (response.status_code, response.json()["code"]) == (401, "token_malformed")

    def test_a_name_with_underscores_is_another_name(self, server: Server) -> None:
        """WSGI writes both names alike. gunicorn leaves the header out that has underscores."""
        response = httpx.get(f"{server.url}/products", headers={"X_MS_TOKEN": server.new_token()}, timeout=30)
        assert (response.status_code, response.json()["code"]) == (401, "token_missing")

    def test_a_trailer_is_not_a_header(self, server: Server) -> None:
        """A token after a chunked body does not count."""
        url = httpx.URL(server.url)
        start = "GET /products HTTP/1.1\r\nHost: product\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        request = f"{start}2\r\n{{}}\r\n0\r\n{SERVICE_TOKEN_HEADER}: {server.new_token()}\r\n\r\n"
        with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
            connection.sendall(request.encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 401")
        assert b'"code":"token_missing"' in answer

    def test_each_worker_has_tokens_of_its_own(self, server: Server) -> None:
        """No two workers send the same token. Each has its own key for proofs, and so a bound token of its own."""
        answers = [answer for answer, _ in server.ask_all_workers("/tokens")]
        assert len({answer["fresh"] for answer in answers}) == len(answers)
        bound = {(answer["process"], answer["proof"]) for answer in answers}
        assert len(bound) == len({token for _, token in bound}) == WORKERS

    def test_a_token_of_another_key_is_refused_by_all_workers(self, server: Server) -> None:
        """The certificates that the module fetched are those of each worker."""
        forged = service_token(KeyRing(), "billing", "product")
        for _ in range(3 * WORKERS):
            response = server.get("/products", forged)
            assert (response.status_code, response.json()["code"]) == (401, "token_untrusted")
