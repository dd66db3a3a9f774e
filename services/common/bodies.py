"""Reads the body of each request before the work on the request begins.

A client can announce a body and send only a part of it. Therefore a request has its whole body before it takes one of
the places of `services.common.load.LoadLimit`: half-sent bodies cost a little memory, and never a place.

The memory for bodies is bounded. Bodies that are being read have at most `MAX_READING_BYTES` together. A request that
has its body waits or is worked on, and LoadLimit bounds those: 384 requests with 64 KiB each are 24 MiB. In addition,
uvicorn buffers up to about 64 KiB for each connection before it stops reading from it.

Kept by hand because `max_body_size` of FastAPI does worse: it answers in plain text when a route has not read the body,
even if the route has refused the caller with 401, and it has no deadline.

Source: CWE-400, "Uncontrolled Resource Consumption", and the attack that "slowhttptest" calls "Slow HTTP POST".
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mstoken.problem import Problem
from services.common.errors import BodyTimeout, FrameworkError, Overloaded
from services.common.load import PROBES
from services.common.middleware import header
from services.common.problems import response_to

MAX_BODY_BYTES = 64 * 1024

MAX_BODY_SECONDS = 5.0
"""Maximum time for a whole body to arrive, in seconds. 64 KiB in 5 s is 13 KB/s, which a mobile phone on a bad network
can send. The time is not a setting: the largest body is fixed, so the time that it needs is known."""

LAST_LOOK_SECONDS = 0.1
"""How long to look for what has arrived when that time is over: for this process it may have passed while it was
suspended, or had no processor, and the body is waiting."""

MAX_READINGS = 1024
MAX_READING_BYTES = 16 * 1024 * 1024
"""How many bodies may be read at the same time, and how many bytes they may have together.

When a new body exceeds a limit, the oldest one is given up. Bodies usually arrive within milliseconds, so the oldest
one is the most likely to be an attack. If new bodies were refused instead, half-sent ones would shut everyone out."""


class _ClientGone(Exception):
    """The client has closed the connection before its body was complete."""


@dataclass(eq=False, slots=True)
class _Reading:
    """A body that is being read. The read ends when `timeout` does."""

    timeout: asyncio.Timeout
    body: bytearray = field(default_factory=bytearray)
    is_given_up: bool = False

    def give_up(self) -> None:
        """End the read now, because newer bodies need the memory."""
        self.is_given_up = True
        self.timeout.reschedule(asyncio.get_running_loop().time())


class BodyReader:
    """Reads the body of a request, and then passes the request on with the whole body.

    A body of more than `MAX_BODY_BYTES` is not kept. The app gets status 413 when it reads the body, so that it can
    refuse the caller first. The answer to a body that does not arrive in `max_seconds` is 408, and to one that was
    given up for newer ones it is 503. If both `Content-Length` and `Transfer-Encoding` announce the body, it is 400.
    Requests without a body, and probes, are passed on at once.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_seconds: float = MAX_BODY_SECONDS,
        max_readings: int = MAX_READINGS,
        max_reading_bytes: int = MAX_READING_BYTES,
    ) -> None:
        self._app = app
        self._max_seconds = max_seconds
        self._max_readings = max_readings
        self._max_reading_bytes = max_reading_bytes
        self._readings: dict[_Reading, None] = {}
        """The bodies that are being read, the oldest first."""
        self._reading_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI, "Applications")."""
        if scope["type"] != "http" or scope["path"] in PROBES or not _may_have_body(scope):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except _ClientGone:
            return
        except Problem as problem:
            response = response_to(problem)
            # What remains of the body is not read, so no other request can follow on the connection.
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        await self._app(scope, _too_large if body is None else _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body, or None if it is too large.

        Raises `BodyTimeout`, `Overloaded`, `_ClientGone`, and `FrameworkError` if the length is announced in two ways.
        """
        announced = header(scope, b"content-length")
        if announced and header(scope, b"transfer-encoding"):
            # Servers differ in which of the two they believe, and attacks use that (RFC 9112, sections 6.1 and 11.2).
            raise FrameworkError(400, {})
        if announced.isdecimal() and int(announced) > MAX_BODY_BYTES:
            return None
        reading = _Reading(asyncio.timeout(self._max_seconds))
        try:
            return await self._read_in_time(reading, receive)
        except TimeoutError:
            if reading.is_given_up:
                raise Overloaded from None
        reading.timeout = asyncio.timeout(LAST_LOOK_SECONDS)
        try:
            return await self._read_in_time(reading, receive)
        except TimeoutError:
            raise (Overloaded if reading.is_given_up else BodyTimeout) from None

    async def _read_in_time(self, reading: _Reading, receive: Receive) -> bytes | None:
        """Read on, and return what `_read` does. Raises TimeoutError when the time of `reading` is over."""
        async with reading.timeout:
            with self._registered(reading):
                while await self._read_piece(reading, receive):
                    if len(reading.body) > MAX_BODY_BYTES:
                        return None
                return bytes(reading.body)

    async def _read_piece(self, reading: _Reading, receive: Receive) -> bool:
        """Add the next piece to a body, and return whether there are more."""
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        piece: bytes = message.get("body", b"")
        if not reading.is_given_up:
            reading.body += piece
            self._reading_bytes += len(piece)
            self._give_up_oldest()
        if reading.is_given_up:
            raise Overloaded
        return bool(message.get("more_body", False))

    @contextmanager
    def _registered(self, reading: _Reading) -> Iterator[None]:
        self._readings[reading] = None
        self._reading_bytes += len(reading.body)
        self._give_up_oldest()
        try:
            yield
        finally:
            self._remove(reading)

    def _give_up_oldest(self) -> None:
        """Give up the oldest bodies until the limits hold again."""
        while len(self._readings) > self._max_readings or self._reading_bytes > self._max_reading_bytes:
            oldest = next(iter(self._readings))
            self._remove(oldest)
            oldest.give_up()

    def _remove(self, reading: _Reading) -> None:
        if reading in self._readings:
            del self._readings[reading]
            self._reading_bytes -= len(reading.body)


def _may_have_body(scope: Scope) -> bool:
    """Return whether a request may have a body (RFC 9112, section 6.3). HTTP/2 needs no header field for one."""
    has_length = False
    for name, value in scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return True
        has_length = has_length or name == b"content-length"
    return not has_length and not scope.get("http_version", "1.1").startswith("1.")


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns the whole body first, and then what the server sends: the disconnect."""
    is_sent = False

    async def replay() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _too_large() -> Message:
    # Raised inside the app when it reads the body, so that the app answers it as problem details.
    raise HTTPException(413)
