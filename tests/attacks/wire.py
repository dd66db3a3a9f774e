"""Requests as bytes, as no HTTP library would send them."""

import contextlib
import json
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from emulator.run.ports import HOST

TIMEOUT_SECONDS = 20.0
PATH = b"/products?limit=1"
SEGMENT_PAUSE_SECONDS = 0.05
"""The pause between two segments, in seconds. Nothing tells a client that the server has read the first one alone."""


@dataclass(frozen=True)
class Answer:
    """The status of an answer, and the code of its problem details, or an empty string."""

    status: int
    code: str

    def __str__(self) -> str:
        return "accepted" if self.status == 200 else self.code or str(self.status)


def send(
    port: int, header_lines: Sequence[bytes], path: bytes = PATH, *, method: bytes = b"GET", host: bytes = b"product"
) -> Answer:
    """Send a request without a body, with exactly these header lines. Return the answer."""
    return _exchange(port, [_head(header_lines, path, method=method, host=host)])


def send_with_trailer(
    port: int, header_lines: Sequence[bytes], trailer_lines: Sequence[bytes], *, segments: int
) -> Answer:
    """Send a GET with a chunked body whose trailer has these lines (RFC 9112, section 7.1.2). Return the answer.

    With one segment, the server reads the header, the body and the trailer at once. With two segments, it reads the
    header first.
    """
    names = b", ".join(line.partition(b":")[0] for line in trailer_lines)
    head = _head([b"Transfer-Encoding: chunked", b"Trailer: " + names, *header_lines])
    body = b"\r\n".join([b"1", b"x", b"0", *trailer_lines, b"", b""])
    return _exchange(port, [head + body] if segments == 1 else [head, body])


def send_without_end(port: int, beginning: bytes, more: bytes, *, limit: int) -> int:
    """Send `beginning`, then `more` again and again, until the server ends the connection or `limit` bytes are sent.

    Return how many bytes were sent, those included that the server has not read.
    """
    sent = 0
    with socket.create_connection((HOST, port), timeout=TIMEOUT_SECONDS) as connection:
        # With a small buffer, few of the bytes that are sent have not reached the server.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(more))
        with contextlib.suppress(ConnectionError):
            connection.sendall(beginning)
            while sent < limit:
                connection.sendall(more)
                sent += len(more)
    return sent


def _head(
    header_lines: Sequence[bytes], path: bytes = PATH, *, method: bytes = b"GET", host: bytes = b"product"
) -> bytes:
    """Return the bytes of a request up to the end of its header."""
    return b"\r\n".join(
        [method + b" " + path + b" HTTP/1.1", b"Host: " + host, b"Connection: close", *header_lines, b"", b""]
    )


def _exchange(port: int, segments: Sequence[bytes]) -> Answer:
    """Send the segments of one request, and return the answer, which may come before the last segment."""
    received = b""
    with socket.create_connection((HOST, port), timeout=TIMEOUT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for number, segment in enumerate(segments):
                if number:
                    time.sleep(SEGMENT_PAUSE_SECONDS)
                connection.sendall(segment)
        with contextlib.suppress(ConnectionError):
            while data := connection.recv(65536):
                received += data
    if not received:
        raise ConnectionError("the server ended the connection without an answer")
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    try:
        details = json.loads(body)
    except ValueError:
        details = {}
    return Answer(status, str(details.get("code", "")))
