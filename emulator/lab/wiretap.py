"""The wiretap: a proxy between Billing and Product that remembers the last calls, as an attacker on the wire would.

Only the stack of the runner has it: there, Billing calls Product at the wiretap's address, and that is the base URL
that Product compares proofs with. It passes all bytes on unchanged, and understands them only to know where a request
ends. What it remembers stays in memory. It runs in a thread of its own, so the lab's pages do not slow the shop down,
and go on or end without it.

It can read the calls because they are plain HTTP on this machine. In production they are HTTPS: then an attacker needs
a log, a proxy or a crash dump that has the same bytes.
"""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import h11

from emulator.run.errors import PortTaken
from emulator.run.ports import HOST
from mstoken.claims import log_name
from mstoken.emulator.server import PortInUse, listening
from mstoken.strict_jwt import unverified
from mstoken.wire import PROOF_HEADER, SERVICE_CLAIM, SERVICE_TOKEN_HEADER

KEPT_CALLS = 200
MAX_REQUEST_BYTES = 64 * 2**10
"""A longer request is passed on, and not remembered."""
CHUNK_BYTES = 65_536


@dataclass(frozen=True)
class TappedCall:
    """A call that was seen on the wire: the bytes of its request, and the status of its answer.

    `token` is the name under which logs have the token. `one_time_id` is the id that the call spent, as the callee's
    record has it. `seconds` is how long the answer took.
    """

    id: int
    time: float
    method: str
    path: str
    request: bytes
    status: int
    seconds: float
    token: str | None
    one_time_id: str | None
    mode: str


class Wiretap:
    """Listens on `port`, passes everything on to `upstream_port`, and remembers the last calls."""

    def __init__(self, port: int, upstream_port: int, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns seconds since the epoch."""
        self.port = port
        self.upstream_port = upstream_port
        self._clock = clock
        self._calls: deque[TappedCall] = deque(maxlen=KEPT_CALLS)
        self._numbers = count(1)
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def calls(self) -> list[TappedCall]:
        """Return the remembered calls, the oldest first. May be called from any thread."""
        return list(self._calls)

    def find(self, number: int) -> TappedCall | None:
        """Return the call with this id, or None if it is forgotten."""
        return next((call for call in self.calls() if call.id == number), None)

    def find_spent(self, one_time_id: str) -> TappedCall | None:
        """Return the call that spent this id, or None if it was not on this wire or is forgotten."""
        return next((call for call in self.calls() if call.one_time_id == one_time_id), None)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Pass calls on until the block ends. Raises PortTaken."""
        try:
            socket = listening(self.port)
        except PortInUse as error:
            raise PortTaken(str(error)) from error
        loop = asyncio.new_event_loop()
        server = loop.run_until_complete(asyncio.start_server(self._serve, sock=socket))
        thread = threading.Thread(target=loop.run_forever, name="wiretap", daemon=True)
        thread.start()
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._stop(server), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _stop(self, server: asyncio.Server) -> None:
        """End all connections, and wait until both ends of each are closed."""
        server.close()
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine of a server runs in a task
        self._connections[task] = writer
        try:
            await self._pass_on(reader, writer)
        finally:
            del self._connections[task]

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect to the callee, and pass the bytes of both directions on, until either side ends its own.

        A callee that does not listen looks as it would without the wiretap: the connection ends without an answer.
        """
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(HOST, self.upstream_port)
        except OSError:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return
        listener = Listener(self._heard, self._clock)
        sending = asyncio.create_task(_pump(reader, upstream_writer, listener.sent))
        answering = asyncio.create_task(_pump(upstream_reader, writer, listener.answered))
        try:
            # When the callee ends the connection, the caller must know at once: it would use it for the next call.
            await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not answering.done():
                await answering
        finally:
            for task in sending, answering:
                task.cancel()
            for end in upstream_writer, writer:
                end.close()
            await asyncio.gather(sending, answering, return_exceptions=True)
            for end in upstream_writer, writer:
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    def _heard(self, heard: "Heard") -> None:
        lines = {name.lower(): value.decode("latin-1") for name, value in heard.headers}
        token, proof = (lines.get(name.lower().encode()) for name in (SERVICE_TOKEN_HEADER, PROOF_HEADER))
        self._calls.append(
            TappedCall(
                next(self._numbers),
                heard.time,
                heard.method,
                heard.path,
                heard.request,
                heard.status,
                self._clock() - heard.time,
                None if token is None else log_name(token),
                one_time_id_of(token, proof),
                "proof" if proof else "fresh",
            )
        )


def one_time_id_of(token: str | None, proof: str | None) -> str | None:
    """Return the id that a call with these credentials spends, in the form of the callee's records, or None."""
    try:
        ms: Any = unverified(token or "").payload[SERVICE_CLAIM]
        if proof is None:
            return str(ms["jti"])
        return f"{ms['jkt']}.{unverified(proof).payload['jti']}"
    except (ValueError, KeyError, TypeError):
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listen: Callable[[bytes], None]) -> None:
    """Let `listen` have bytes, and pass them on, until their end."""
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            # Before they are passed on, so that a request is always heard before its answer.
            listen(data)
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


@dataclass(frozen=True)
class Heard:
    """A request, and the status of its answer, which has just ended."""

    time: float
    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    request: bytes
    status: int


class Listener:
    """Finds requests and answers in the bytes of one connection.

    After bytes that are not HTTP/1.1 it hears nothing any more. It raises no error: the bytes are passed on anyway.
    """

    def __init__(self, heard: Callable[[Heard], None], clock: Callable[[], float]) -> None:
        self._heard = heard
        self._clock = clock
        # One reads the caller's bytes, as a server does, and one the callee's, as a client does. Each gets from us what
        # the other has read, because h11 wants to see both sides of a cycle.
        self._as_server = h11.Connection(h11.SERVER)
        self._as_client = h11.Connection(h11.CLIENT)
        self._bytes = bytearray()
        self._request: h11.Request | None = None
        self._request_bytes = b""
        self._time = 0.0
        self._status = 0
        self._is_deaf = False

    def sent(self, data: bytes) -> None:
        """Take bytes that the caller sent."""
        self._listen(self._take_request, data)

    def answered(self, data: bytes) -> None:
        """Take bytes that the callee sent."""
        self._listen(self._take_answer, data)

    def _listen(self, take: Callable[[bytes], None], data: bytes) -> None:
        if self._is_deaf:
            return
        try:
            take(data)
        except Exception:  # Whatever goes wrong here, the bytes must be passed on.
            self._is_deaf = True

    def _take_request(self, data: bytes) -> None:
        self._bytes += data
        self._as_server.receive_data(data)
        self._read_requests()

    def _read_requests(self) -> None:
        while True:
            event = self._as_server.next_event()
            match event:
                case h11.Request():
                    self._request, self._time = event, self._clock()
                    self._as_client.send(event)
                case h11.Data():
                    self._as_client.send(event)
                case h11.EndOfMessage():
                    self._as_client.send(h11.EndOfMessage())
                    length = len(self._bytes) - len(self._as_server.trailing_data[0])
                    self._request_bytes = bytes(self._bytes[:length])
                    del self._bytes[:length]
                case _:
                    return

    def _take_answer(self, data: bytes) -> None:
        self._as_client.receive_data(data)
        while True:
            event = self._as_client.next_event()
            match event:
                case h11.InformationalResponse():
                    self._as_server.send(event)
                case h11.Response():
                    self._status = event.status_code
                    self._as_server.send(event)
                case h11.Data():
                    self._as_server.send(event)
                case h11.EndOfMessage():
                    self._as_server.send(h11.EndOfMessage())
                    self._tell()
                    if not self._begin_next():
                        return
                case _:
                    return

    def _tell(self) -> None:
        request = self._request
        if request is None or len(self._request_bytes) > MAX_REQUEST_BYTES:
            return
        headers = [(name, value) for name, value in request.headers]
        method, path = request.method.decode("latin-1"), request.target.decode("latin-1")
        self._heard(Heard(self._time, method, path, headers, self._request_bytes, self._status))

    def _begin_next(self) -> bool:
        """Begin the next cycle. Return False if the connection ends with this answer, or the request has no end yet."""
        both = self._as_server, self._as_client
        if {state for end in both for state in (end.our_state, end.their_state)} != {h11.DONE}:
            return False
        self._as_server.start_next_cycle()
        self._as_client.start_next_cycle()
        self._read_requests()
        return True
