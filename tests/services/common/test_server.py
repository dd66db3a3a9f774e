"""services/common/server.py: connections of slow clients end, and those of others do not"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from starlette.types import Message, Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from services.common.server import HEAD_SECONDS, READ_SECONDS, STOPPING_READ_SECONDS, TimedProtocol
from tests.clock import LoopClock

LONG_SECONDS = 60.0
"""Longer than anything here takes, also on a busy machine. Longer than the limits of the server too."""
GET = b"GET / HTTP/1.1\r\nHost: product\r\n\r\n"
LARGE_BYTES = 16 * 2**20


class App:
    """An app that answers when `may_answer` is set, with a body of `size` bytes."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.size = 2

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.began.set()
        await self.may_answer.wait()
        start: Message = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"%d" % self.size)],
        }
        await send(start)
        for sent in range(0, self.size, 2**16):
            piece = b"a" * min(2**16, self.size - sent)
            await send({"type": "http.response.body", "body": piece, "more_body": sent + len(piece) < self.size})
        self.ended.set()


class Served:
    """A server, and connections to it. The time that its limits depend on passes when the test says so."""

    def __init__(self, app: App, server: asyncio.Server, state: ServerState) -> None:
        self.app = app
        self.state = state
        self.clock = LoopClock(asyncio.get_running_loop())
        self._port: int = server.sockets[0].getsockname()[1]
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return a connection on which `sent` has been sent. What is read of it is limited to 1 KiB ahead."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1024)
        self._writers.append(writer)
        writer.write(sent)
        return reader, writer

    async def has_connections(self, number: int) -> None:
        """Wait until the server has so many connections."""
        await wait_until(lambda: len(self.state.connections) == number)

    def disconnect(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server that runs until the end of the test."""
    app, state = App(), ServerState()
    config = Config(app, http=TimedProtocol, lifespan="off", log_config=None, timeout_keep_alive=60)
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: TimedProtocol(config, state, {}), "127.0.0.1", 0)
    served = Served(app, server, state)
    yield served
    served.disconnect()
    server.close()
    await server.wait_closed()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Return what still arrives until the server ends the connection."""
    async with asyncio.timeout(LONG_SECONDS):
        with suppress(ConnectionResetError):
            return await reader.read(-1)
    return b""


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Return one answer with the small body."""
    async with asyncio.timeout(LONG_SECONDS):
        return await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2)


async def trickle(served: Served, writer: asyncio.StreamWriter) -> None:
    """Send one byte each second, faster than any limit."""
    with suppress(ConnectionError):
        while not writer.is_closing():
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0)
            served.clock.advance(1.0)


@pytest.mark.parametrize("sent", [b"", b"GET", GET[:-2], GET[:-2] + b"X-Half: "])
async def test_a_connection_without_a_request_ends(served: Served, sent: bytes) -> None:
    """A client that sends nothing, or a part of a header, is not waited for. The app does not hear of it."""
    reader, _ = await served.connect(sent)
    await served.has_connections(1)
    served.clock.advance(HEAD_SECONDS)
    assert await ended(reader) == b""
    assert not served.app.began.is_set()


@pytest.mark.parametrize("before", [b"", GET])
async def test_single_bytes_do_not_extend_the_limit(served: Served, before: bytes) -> None:
    """A header that arrives byte by byte ends with its connection, also after an answer."""
    reader, writer = await served.connect(before + GET[:-2] + b"X-Slow: ")
    await (answer(reader) if before else served.has_connections(1))
    trickling = asyncio.create_task(trickle(served, writer))
    assert await ended(reader) == b""
    trickling.cancel()


async def test_the_body_of_an_answered_request_has_a_limit(served: Served) -> None:
    """If a request was answered before its body came, what trickles in does not keep the connection open."""
    reader, writer = await served.connect(GET[:-2] + b"Content-Length: 1000000\r\n\r\n")
    await answer(reader)
    trickling = asyncio.create_task(trickle(served, writer))
    assert await ended(reader) == b""
    trickling.cancel()


async def test_hundreds_of_slow_connections_do_not_hinder_others(served: Served) -> None:
    """While they are open, a request is answered. Later all of them have ended."""
    slow = [await served.connect(sent) for sent in (b"", GET[:-2]) for _ in range(150)]
    reader, _ = await served.connect(GET)
    assert (await answer(reader)).startswith(b"HTTP/1.1 200")
    await served.has_connections(301)
    served.clock.advance(HEAD_SECONDS)
    await asyncio.gather(*(ended(reader) for reader, _ in slow))
    assert len(served.state.connections) <= 1


async def test_an_answer_may_take_longer_than_a_header(served: Served) -> None:
    """The limit is for what the client sends, not for the work."""
    served.app.may_answer.clear()
    reader, _ = await served.connect(GET)
    await served.app.began.wait()
    served.clock.advance(2 * HEAD_SECONDS)
    await asyncio.sleep(0)
    served.app.may_answer.set()
    assert (await answer(reader)).startswith(b"HTTP/1.1 200")


async def test_a_connection_is_used_again(served: Served) -> None:
    """Requests one after the other, and several sent at once, are answered on one connection."""
    reader, writer = await served.connect()
    for _ in range(3):
        writer.write(GET)
        await answer(reader)
    writer.write(3 * GET)
    for _ in range(3):
        await answer(reader)


async def test_an_answer_that_is_not_read_ends(served: Served) -> None:
    """A client that asks for much and reads nothing keeps neither its connection nor the work on its request."""
    served.app.size = LARGE_BYTES
    await served.connect(GET)
    await served.app.began.wait()
    (connection,) = [each for each in served.state.connections if isinstance(each, TimedProtocol)]
    await wait_until(lambda: connection.flow.write_paused)
    served.clock.advance(READ_SECONDS)
    async with asyncio.timeout(LONG_SECONDS):
        await served.app.ended.wait()
    await served.has_connections(0)


async def test_an_answer_that_is_read_slowly_arrives(served: Served) -> None:
    """As long as the client reads, there is time."""
    served.app.size = LARGE_BYTES // 2
    reader, _ = await served.connect(GET)
    async with asyncio.timeout(LONG_SECONDS):
        await reader.readuntil(b"\r\n\r\n")
        read = 0
        while read < served.app.size:
            piece = await reader.read(2**20)
            assert piece
            read += len(piece)
            await asyncio.sleep(0)


@pytest.mark.parametrize("sent", [b"", GET[:-2]])
async def test_a_stopping_server_ends_slow_connections(served: Served, sent: bytes) -> None:
    """It waits only for requests that it works on."""
    reader, _ = await served.connect(sent)
    await served.has_connections(1)
    for connection in list(served.state.connections):
        connection.shutdown()
    served.clock.advance(STOPPING_READ_SECONDS)
    assert await ended(reader) == b""


async def test_a_stopping_server_gives_its_answers(served: Served) -> None:
    """A request that is being worked on is answered, and then its connection ends."""
    served.app.may_answer.clear()
    reader, _ = await served.connect(GET)
    await served.app.began.wait()
    for connection in list(served.state.connections):
        connection.shutdown()
    served.app.may_answer.set()
    assert (await answer(reader)).startswith(b"HTTP/1.1 200")
    assert await ended(reader) == b""


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in the server."""
    async with asyncio.timeout(LONG_SECONDS):
        while not condition():  # noqa: ASYNC110 - uvicorn has no event for the end of a connection
            await asyncio.sleep(0.005)


async def test_a_request_has_no_second_line_in_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """The server writes nothing about a request, because the service does."""
    with caplog.at_level(logging.INFO):
        reader, _ = await served.connect(GET)
        await answer(reader)
    assert [record.name for record in caplog.records if record.name == "uvicorn.access"] == []
