"""A service ends in time after SIGTERM, whatever its clients do, and slow clients do not hinder the others."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from emulator.run.ports import Ports, free_offset
from emulator.run.stack import HTTP_PROTOCOL, ROOT, STOP_SECONDS

pytestmark = pytest.mark.process

HOST = "127.0.0.1"
START_SECONDS = 60.0
END_SECONDS = 10.0
"""How long Cloud Run waits after SIGTERM."""
ANSWER_SECONDS = 5.0
POST = b"POST /reservations HTTP/1.1\r\nHost: product\r\n"
SLOW = {
    "idle": b"",
    "half a header": b"GET /products HTTP/1.1\r\nX-Half: ",
    "half a header after a request": b"GET /healthz HTTP/1.1\r\nHost: product\r\n\r\nGET /products HTTP/1.1\r\nX-",
    "half a body": POST + b"Content-Length: 1000\r\n\r\n{",
    "half a chunked body": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n",
    "half of a body that is too large": POST + b"Content-Length: 100000000\r\n\r\n{",
    "no answer read": 400 * b"GET /openapi.json HTTP/1.1\r\nHost: product\r\n\r\n",
}
"""What a slow client does -> what it sends."""


@contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run Product as `make run` does, without Firebase. Give the block the process and the port."""
    port = Ports.shifted(free_offset()).product
    environment = {
        "GOOGLE_CLOUD_PROJECT": "demo-shop",
        "FIREBASE_AUTH_EMULATOR_HOST": f"{HOST}:9",
        "DATABASE_URL": f"sqlite:///{folder / 'product.db'}",
        "MSTOKEN_REPLAY_URL": f"sqlite:///{folder / 'spent-ids.db'}",
    }
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "--factory", "services.product.app:create_app"),
            *("--port", str(port), "--http", HTTP_PROTOCOL, "--timeout-graceful-shutdown", str(STOP_SECONDS)),
        ],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until_it_answers(process, port)
        yield process, port
    finally:
        process.kill()
        process.wait()


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    """Return when the service answers its probe. There is no event for that in another process."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(httpx.HTTPError):
            httpx.get(f"http://{HOST}:{port}/healthz", timeout=ANSWER_SECONDS)
            return
        time.sleep(0.1)
    raise AssertionError("Product has not started")


@contextmanager
def connections(port: int, number: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Open connections, and send the same on each, as far as the service takes it."""
    with ExitStack() as closing:
        opened = []
        for _ in range(number):
            connection = closing.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(ANSWER_SECONDS)
            connection.connect((HOST, port))
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.send(sent)
            opened.append(connection)
        yield opened


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a running Product."""
    with running(tmp_path_factory.mktemp("product")) as (_, port):
        yield port


@pytest.mark.slow
@pytest.mark.parametrize("what", SLOW)
def test_slow_clients_do_not_delay_the_end(tmp_path: Path, what: str) -> None:
    """SIGTERM ends a service with twenty of them within 10 s."""
    with running(tmp_path) as (process, port), connections(port, 20, SLOW[what]):
        httpx.get(f"http://{HOST}:{port}/healthz", timeout=START_SECONDS).raise_for_status()
        process.send_signal(signal.SIGTERM)
        process.wait(END_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["idle", "half a header"])
def test_a_thousand_slow_connections(product: int, what: str) -> None:
    """While they are open, the service answers others. Within 20 s all of them are closed."""
    number = 1_000 if open_files() > 1_200 else 300
    with connections(product, number, SLOW[what]) as opened:
        for _ in range(10):
            httpx.get(f"http://{HOST}:{product}/healthz", timeout=ANSWER_SECONDS).raise_for_status()
        end = time.monotonic() + 20
        for connection in opened:
            connection.settimeout(max(0.01, end - time.monotonic()))
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""


def open_files() -> int:
    """Return how many files this process may have open, on systems that say so."""
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
