"""Requests as bytes, as no HTTP library would send them."""

import json
import socket
from dataclasses import dataclass

from emulator.run.ports import HOST

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True)
class Answer:
    """The status of an answer, and the code of its problem details, or an empty string."""

    status: int
    code: str

    def __str__(self) -> str:
        return "accepted" if self.status == 200 else self.code or str(self.status)


def send(
    port: int,
    header_lines: list[bytes],
    path: bytes = b"/products?limit=1",
    *,
    method: bytes = b"GET",
    host: bytes = b"product",
) -> Answer:
    """Send a request without a body, with exactly these header lines. Return the answer."""
    request = b"\r\n".join(
        [method + b" " + path + b" HTTP/1.1", b"Host: " + host, b"Connection: close", *header_lines, b"", b""]
    )
    received = b""
    with socket.create_connection((HOST, port), timeout=TIMEOUT_SECONDS) as connection:
        try:
            connection.sendall(request)
            while data := connection.recv(65536):
                received += data
        except ConnectionError:
            if not received:
                raise
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    try:
        details = json.loads(body)
    except ValueError:
        details = {}
    return Answer(status, str(details.get("code", "")))
