"""Requests as bytes, as no HTTP library would send them."""

import contextlib
import json
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from emulator.run.ports import HOST

TIMEOUT_SECONDS = 20.0
PATH = b"/products?limit=1"
SEGMENT_PAUSE_SECONDS = 0.05
"""The pause between two segments, in seconds. Nothing tells a client that the server has read the first one alone."""


@dataclass(frozen=True)
class Answer:
    """The status of an answer, and the code of its problem details, or an empty string.

    `detail` is what the problem details say about this occurrence. `head` and `body` are the answer as it arrived.
    """

    status: int
    code: str
    detail: str = ""
    head: str = field(default="", repr=False)
    body: str = field(default="", repr=False)

    def __str__(self) -> str:
        return "accepted" if 200 <= self.status < 300 else self.code or str(self.status)


@dataclass(frozen=True)
class RawRequest:
    """A request with exactly these header lines.

    With trailer lines it has a chunked body whose trailer has these lines (RFC 9112, section 7.1.2). With one segment,
    the server reads the header, the body and the trailer at once. With two segments, it reads the header first.
    """

    header_lines: Sequence[bytes]
    path: bytes = PATH
    method: bytes = b"GET"
    host: bytes = b"product"
    trailer_lines: Sequence[bytes] = ()
    segments: int = 1

    def parts(self) -> list[bytes]:
        """Return the bytes of each segment."""
        if not self.trailer_lines:
            return [_head(self.header_lines, self.path, method=self.method, host=self.host)]
        names = b", ".join(line.partition(b":")[0] for line in self.trailer_lines)
        lines = [b"Transfer-Encoding: chunked", b"Trailer: " + names, *self.header_lines]
        head = _head(lines, self.path, method=self.method, host=self.host)
        body = b"\r\n".join([b"1", b"x", b"0", *self.trailer_lines, b"", b""])
        return [head + body] if self.segments == 1 else [head, body]

    def send(self, port: int) -> Answer:
        """Send the request to a port of this machine, over a connection of its own. Return the answer."""
        return exchange(port, self.parts())


def send(
    port: int, header_lines: Sequence[bytes], path: bytes = PATH, *, method: bytes = b"GET", host: bytes = b"product"
) -> Answer:
    """Send a request without a body, with exactly these header lines. Return the answer."""
    return RawRequest(header_lines, path, method, host).send(port)


def send_with_trailer(
    port: int, header_lines: Sequence[bytes], trailer_lines: Sequence[bytes], *, segments: int
) -> Answer:
    """Send a GET with a chunked body whose trailer has these lines. Return the answer."""
    return RawRequest(header_lines, trailer_lines=trailer_lines, segments=segments).send(port)


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


def _head(header_lines: Sequence[bytes], path: bytes, *, method: bytes, host: bytes) -> bytes:
    """Return the bytes of a request up to the end of its header."""
    return b"\r\n".join(
        [method + b" " + path + b" HTTP/1.1", b"Host: " + host, b"Connection: close", *header_lines, b"", b""]
    )


_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


def _is_complete(received: bytes) -> bool:
    """Return whether an answer has arrived with its whole body. Without a length it ends with the connection."""
    head, end, body = received.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return bool(end and length and len(body) >= int(length[1]))


def exchange(port: int, segments: Sequence[bytes]) -> Answer:
    """Send the segments of one request, and return the answer, which may come before the last segment.

    Its body ends with its `Content-Length`, or else with the connection. Raises OSError if there is no answer.
    """
    received = b""
    with socket.create_connection((HOST, port), timeout=TIMEOUT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for number, segment in enumerate(segments):
                if number:
                    time.sleep(SEGMENT_PAUSE_SECONDS)
                connection.sendall(segment)
        with contextlib.suppress(ConnectionError):
            while not _is_complete(received) and (data := connection.recv(65536)):
                received += data
    if not received:
        raise ConnectionError("the server ended the connection without an answer")
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    try:
        details = json.loads(body)
    except ValueError:
        details = {}
    details = details if isinstance(details, dict) else {}
    return Answer(
        status,
        str(details.get("code", "")),
        str(details.get("detail") or ""),
        head.decode("latin-1"),
        body.decode("utf-8", "replace"),
    )
