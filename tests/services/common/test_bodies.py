"""services/common/bodies.py"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from services.common.bodies import MAX_BODY_BYTES, MAX_BODY_SECONDS, BodyReader
from tests.clock import LoopClock
from tests.services.shop import refused

Headers = list[tuple[bytes, bytes]]
SOME_BODY = [(b"content-length", b"100")]


class Reader:
    """An app that answers with the length of the body that it reads, and counts the requests that reach it."""

    def __init__(self) -> None:
        self.requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        body = await Request(scope, receive).body()
        await PlainTextResponse(str(len(body)))(scope, receive, send)


class Connection:
    """A connection on which the body arrives in pieces, when the test sends them, and on which answers are kept."""

    def __init__(self, headers: Headers, path: str = "/", http_version: str = "1.1") -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": headers,
            "http_version": http_version,
        }
        self.reads = 0
        self.sent: list[Message] = []
        self._pieces: asyncio.Queue[Message] = asyncio.Queue()

    def piece(self, body: bytes, *, more: bool = True) -> None:
        self._pieces.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def disconnect(self) -> None:
        self._pieces.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> Message:
        self.reads += 1
        return await self._pieces.get()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def start(self, app: BodyReader) -> asyncio.Task[None]:
        return asyncio.create_task(app(self.scope, self.receive, self.send))

    def response(self) -> httpx.Response:
        start, *rest = self.sent
        body = b"".join(message["body"] for message in rest)
        return httpx.Response(start["status"], headers=start["headers"], content=body)


async def settle() -> None:
    """Let all tasks run until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
def app() -> Reader:
    """An app that reads bodies."""
    return Reader()


async def test_the_app_starts_when_the_body_is_complete(app: Reader) -> None:
    """A request reaches the app only with its whole body. So a half-sent body takes no place behind the reader."""
    connection = Connection(SOME_BODY)
    task = connection.start(BodyReader(app))
    connection.piece(b"x" * 40)
    await settle()
    assert app.requests == 0
    connection.piece(b"x" * 60, more=False)
    await task
    assert connection.response().text == "100"


@pytest.mark.parametrize(
    ("headers", "http_version"), [([], "1.1"), ([(b"content-length", b"0")], "1.1"), ([(b"host", b"x")], "1.0")]
)
async def test_a_request_without_a_body_is_passed_on_at_once(headers: Headers, http_version: str) -> None:
    """A request without a body reaches the app before anything is read, with the connection's own `receive`."""
    connection = Connection(headers, http_version=http_version)
    seen: list[Receive] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        seen.append(receive)

    await BodyReader(app)(connection.scope, connection.receive, connection.send)
    assert seen == [connection.receive]
    assert connection.reads == 0


@pytest.mark.parametrize(
    ("headers", "http_version"), [([(b"transfer-encoding", b"chunked")], "1.1"), (SOME_BODY, "1.0"), ([], "2")]
)
async def test_which_requests_may_have_a_body(app: Reader, headers: Headers, http_version: str) -> None:
    """A length, a transfer coding, or HTTP/2, where neither is needed, announce a body."""
    connection = Connection(headers, http_version=http_version)
    task = connection.start(BodyReader(app))
    await settle()
    assert (app.requests, connection.reads) == (0, 1)
    connection.piece(b"", more=False)
    await task


@pytest.mark.parametrize("length", [b"0", b"5"])
@pytest.mark.parametrize("is_length_first", [True, False])
async def test_a_body_whose_length_is_announced_in_two_ways(app: Reader, length: bytes, is_length_first: bool) -> None:
    """It is refused before it is read, and the connection is closed: a proxy may have read another request there.

    With a length of 0 first, such a body could be of any size, and take any time.
    """
    headers = [(b"content-length", length), (b"transfer-encoding", b"chunked")]
    connection = Connection(headers if is_length_first else headers[::-1])
    connection.piece(b"x")
    await connection.start(BodyReader(app))
    refused(connection.response(), 400, "body_unreadable")
    assert connection.response().headers["Connection"] == "close"
    assert (app.requests, connection.reads) == (0, 0)


async def test_a_second_length_counts(app: Reader) -> None:
    """A length of 0 hides no other field, whatever the server lets through."""
    connection = Connection([(b"content-length", b"0"), *SOME_BODY])
    task = connection.start(BodyReader(app))
    await settle()
    assert (app.requests, connection.reads) == (0, 1)
    task.cancel()


async def test_probes_are_passed_on_at_once(app: Reader) -> None:
    """A probe is answered although its body does not arrive."""
    connection = Connection(SOME_BODY, path="/healthz")
    task = connection.start(BodyReader(app))
    await settle()
    assert app.requests == 1
    task.cancel()


async def test_a_body_has_a_deadline(app: Reader) -> None:
    """A body that is not complete in time is answered with 408, and the connection is closed. The app never runs."""
    connection = Connection(SOME_BODY)
    connection.piece(b"x" * 99)
    await connection.start(BodyReader(app, max_seconds=0.01))
    refused(connection.response(), 408, "body_timeout")
    assert connection.response().headers["Connection"] == "close"
    assert app.requests == 0


async def test_a_body_that_arrived_while_the_process_was_suspended(app: Reader) -> None:
    """While a process is suspended, the deadline passes and the rest of the body arrives. Then the body is read."""
    reader = BodyReader(app)
    connection = Connection(SOME_BODY)
    connection.piece(b"x" * 40)
    task = connection.start(reader)
    await settle()
    # The event loop sees the piece and the deadline in the same pass.
    loop = asyncio.get_running_loop()
    loop.call_later(1.0, lambda: connection.piece(b"x" * 60, more=False))
    LoopClock(loop).advance(MAX_BODY_SECONDS)
    await task
    assert connection.response().text == "100"
    assert reader._reading_bytes == 0


async def test_the_deadline_is_for_the_whole_body(app: Reader) -> None:
    """Pieces that keep arriving do not extend the time."""
    connection = Connection([(b"transfer-encoding", b"chunked")])
    task = connection.start(BodyReader(app, max_seconds=0.05))
    while not task.done():
        connection.piece(b"x")
        await asyncio.sleep(0.005)
    refused(connection.response(), 408, "body_timeout")


async def test_the_oldest_body_is_given_up_for_newer_ones(app: Reader) -> None:
    """If more bodies are being read than allowed, the oldest one is refused at once, and the newest one is served."""
    reader = BodyReader(app, max_readings=3)
    stuck = [Connection(SOME_BODY) for _ in range(5)]
    tasks = [connection.start(reader) for connection in stuck]
    await settle()
    assert [task.done() for task in tasks] == [True, True, False, False, False]
    for connection in stuck[:2]:
        refused(connection.response(), 503, "overloaded")
        assert connection.response().headers["Connection"] == "close"
        assert connection.response().headers["Retry-After"] == "1"
    good = Connection(SOME_BODY)
    good.piece(b"x" * 100, more=False)
    await good.start(reader)
    assert good.response().text == "100"
    for task in tasks[2:]:
        task.cancel()


async def test_the_bytes_of_all_bodies_are_limited(app: Reader) -> None:
    """If bodies have more bytes together than allowed, the oldest ones are given up until the rest fits."""
    reader = BodyReader(app, max_reading_bytes=250)
    connections = [Connection(SOME_BODY) for _ in range(4)]
    tasks = [connection.start(reader) for connection in connections]
    for connection in connections:
        connection.piece(b"x" * 99)
    await settle()
    assert [task.done() for task in tasks] == [True, True, False, False]
    for task in tasks[2:]:
        task.cancel()


async def test_a_body_that_is_given_up_is_never_passed_on(app: Reader) -> None:
    """A body whose last piece arrives at the moment in which it is given up is refused, not passed on in part."""
    reader = BodyReader(app, max_reading_bytes=99)
    connection = Connection(SOME_BODY)
    connection.piece(b"x" * 50)
    connection.piece(b"x" * 50, more=False)
    await connection.start(reader)
    refused(connection.response(), 503, "overloaded")
    assert app.requests == 0


@pytest.mark.parametrize("end", ["served", "timeout", "given up", "disconnected", "cancelled", "too large"])
async def test_no_count_is_kept_of_bodies_that_ended(app: Reader, end: str) -> None:
    """However the read of a body ends, its place and its bytes are free again."""
    reader = BodyReader(app, max_seconds=0.01 if end == "timeout" else 60, max_readings=0 if end == "given up" else 9)
    connection = Connection([(b"transfer-encoding", b"chunked")])
    task = connection.start(reader)
    connection.piece(b"x" * (MAX_BODY_BYTES + 1 if end == "too large" else 99), more=end != "served")
    await settle()
    if end == "disconnected":
        connection.disconnect()
    if end == "cancelled":
        task.cancel()
    await asyncio.wait({task}, timeout=30)
    assert task.done()
    assert (reader._readings, reader._reading_bytes) == ({}, 0)


async def test_a_client_that_has_gone_gets_no_answer(app: Reader) -> None:
    """If the client closes the connection before the body is complete, nothing is done and nothing is sent."""
    connection = Connection(SOME_BODY)
    connection.piece(b"x")
    connection.disconnect()
    await connection.start(BodyReader(app))
    assert (app.requests, connection.sent) == (0, [])


async def test_the_app_still_hears_of_a_disconnect() -> None:
    """After the body the app gets what the server sends, so that it can stop when the client has gone."""
    connection = Connection(SOME_BODY)
    heard: list[str] = []

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        heard.extend([(await receive())["type"], (await receive())["type"]])

    task = connection.start(BodyReader(app))
    connection.piece(b"x", more=False)
    connection.disconnect()
    await task
    assert heard == ["http.request", "http.disconnect"]


async def test_a_body_that_is_too_large_by_its_announced_length_is_not_read(app: Reader) -> None:
    """Nothing is read of a body whose announced length exceeds the limit: the app is told when it reads."""
    connection = Connection([(b"content-length", str(MAX_BODY_BYTES + 1).encode())])
    with pytest.raises(Exception, match="413"):
        await connection.start(BodyReader(app))
    assert (app.requests, connection.reads) == (1, 0)


async def test_the_lifespan_is_passed_on() -> None:
    """The start and the end of an app are not requests."""
    seen: list[str] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope["type"])

    connection = Connection([])
    await BodyReader(app)({"type": "lifespan"}, connection.receive, connection.send)
    assert seen == ["lifespan"]


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield b"x" * 10
        await asyncio.sleep(0)


async def test_over_httpx(app: Reader) -> None:
    """A client that sends its body in chunks is served."""
    transport = httpx.ASGITransport(app=BodyReader(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        assert (await client.post("/", content=chunks())).text == "30"
