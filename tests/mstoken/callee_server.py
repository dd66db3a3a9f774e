"""A callee with real sockets, for the tests of adapters to HTTP clients that have no transport to replace."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from mstoken.strict_jwt import unverified

HOST = "127.0.0.1"
POLL_SECONDS = 0.01
"""How often the server looks whether it must end."""
Headers = Sequence[tuple[str, str]]
STALE: tuple[int, Headers] = (
    401,
    [("WWW-Authenticate", "Basic realm=x"), ("WWW-Authenticate", "MsToken error=token_stale")],
)
OK: tuple[int, Headers] = (200, [])


@dataclass(frozen=True)
class Received:
    """A request that the callee has received."""

    method: str
    path: str
    token: str | None
    proof: str | None
    body: bytes


class CalleeServer(ThreadingHTTPServer):
    """Gives these answers in turn, and afterwards 200, with the number of the request. It keeps the requests."""

    daemon_threads = True

    def __init__(self, *answers: tuple[int, Headers]) -> None:
        super().__init__((HOST, 0), _Handler)
        self.received: list[Received] = []
        self.answers = iter(answers)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=[POLL_SECONDS], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: CalleeServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self._body()
        received = Received(self.command, self.path, self.headers["X-MS-TOKEN"], self.headers["DPoP"], body)
        self.server.received.append(received)
        status, headers = next(self.server.answers, OK)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        content = json.dumps(len(self.server.received)).encode()
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


def nonce_of(proof: str | None) -> str | None:
    """Return the nonce in a proof."""
    assert proof is not None
    nonce: str | None = unverified(proof).payload.get("nonce")
    return nonce
