"""The client of the benchmark: it sends each request once, and counts what comes back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from bench.load import NO_ANSWER, Load, LoadClient, Outcome, exchange
from emulator.run.ports import free_port

Answer = Callable[[bytes], Awaitable[bytes | None]]
"""Returns the answer to a request; None to end the connection without one."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Server:
    """A server that answers as `answer` says. It keeps what it was sent, and the number of its connections."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.received: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while request := await self._next(reader):
                self.received.append(request)
                answer = await self._answer(request)
                if answer is None:
                    return
                writer.write(answer)
                await writer.drain()
        finally:
            writer.close()

    async def _next(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return b""


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[int]:
    """Run a server, and give its port."""
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


def requests(count: int) -> list[bytes]:
    return [f"GET /{number} HTTP/1.1\r\nHost: here\r\n\r\n".encode() for number in range(count)]


def always(answer: bytes | None) -> Answer:
    async def same(_request: bytes) -> bytes | None:
        return answer

    return same


async def send_to(server: Server, load: Load) -> Outcome:
    async with running(server) as port:
        return await exchange(replace(load, port=port))


def load_of(count: int, *, connections: int = 3, rate: float | None = None, seconds: float | None = None) -> Load:
    return Load(0, requests(count), connections, rate, seconds)


async def test_each_request_is_sent_once_and_connections_stay_open() -> None:
    """Twenty requests over three connections arrive once each, and no further connection is opened."""
    server = Server(always(OK))
    outcome = await send_to(server, load_of(20))
    assert sorted(server.received) == sorted(requests(20))
    assert server.connections == 3
    assert outcome.statuses == {200: 20}
    assert outcome.rate == pytest.approx(20 / outcome.seconds)
    assert all(0 < each.latency <= each.ended <= outcome.seconds for each in outcome.exchanges)


async def test_answers_are_counted_by_their_status() -> None:
    """Refusals and answers without a body are counted by their status, and the connection is used again."""

    async def by_number(request: bytes) -> bytes:
        return {b"0": OK, b"1": UNAVAILABLE, b"2": NO_CONTENT}[request[5:6]]

    server = Server(by_number)
    outcome = await send_to(server, load_of(3, connections=1))
    assert outcome.statuses == {200: 1, 503: 1, 204: 1}
    assert server.connections == 1


async def test_an_answer_may_arrive_in_pieces() -> None:
    """An answer of a megabyte, which arrives in pieces, is read to its end before the next request."""
    body = b"x" * 1_000_000
    server = Server(always(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + body))
    assert (await send_to(server, load_of(3, connections=1))).statuses == {200: 3}


async def test_a_connection_that_ends_counts_as_no_answer() -> None:
    """A request whose connection ends has no answer, and the next one has a new connection."""
    server = Server(always(None))
    outcome = await send_to(server, load_of(3, connections=1))
    assert outcome.statuses == {NO_ANSWER: 3}
    assert outcome.rate == 0
    assert server.connections == 3


async def test_a_connection_that_the_server_announces_to_close_is_not_used_again() -> None:
    """After `Connection: close` the next request has a connection of its own, and all are answered."""
    server = Server(always(LAST))
    assert (await send_to(server, load_of(4, connections=1))).statuses == {200: 4}
    assert server.connections == 4


async def test_a_server_that_is_down_gives_no_answer() -> None:
    """Requests to a port that nothing listens on are not answered."""
    outcome = await exchange(Load(free_port(), requests(2), connections=1))
    assert outcome.statuses == {NO_ANSWER: 2}


async def test_an_answer_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is not answered in time counts as not answered."""
    monkeypatch.setattr("bench.load.ANSWER_SECONDS", 0.01)
    never = asyncio.Event()

    async def hang(_request: bytes) -> bytes:
        await never.wait()
        return OK

    server = Server(hang)
    async with running(server) as port:
        outcome = await exchange(Load(port, requests(1), connections=1))
        never.set()
    assert outcome.statuses == {NO_ANSWER: 1}


async def test_at_a_rate_a_latency_counts_from_when_the_request_was_due() -> None:
    """At a rate, a request that waits for a free connection has waited from the time at which it was due."""
    server = Server(always(OK))
    outcome = await send_to(server, load_of(50, connections=1, rate=1_000_000))
    # All were due within 50 µs of the start. So the latency of each is almost the time at which it ended.
    assert all(each.ended - each.latency < 0.001 for each in outcome.exchanges)
    assert outcome.latencies == sorted(outcome.latencies)


async def test_at_a_rate_no_request_is_sent_before_it_is_due() -> None:
    """At 1,000 requests a second, the 21st is sent after 20 ms at the earliest."""
    outcome = await send_to(Server(always(OK)), load_of(21, rate=1000))
    assert outcome.seconds >= 0.02


async def test_a_load_ends_after_its_seconds() -> None:
    """With `seconds`, requests that are due later are not sent."""
    outcome = await send_to(Server(always(OK)), load_of(100, rate=1000, seconds=0.01))
    assert outcome.statuses == {200: 10}


def test_an_unexpected_status_is_an_error() -> None:
    """An outcome with another status than the expected ones is refused: it would measure something else."""

    async def run() -> Outcome:
        return await send_to(Server(always(UNAVAILABLE)), load_of(2))

    outcome = asyncio.run(run())
    assert outcome.expect(503) is outcome
    with pytest.raises(RuntimeError, match="503: 2"):
        outcome.expect(200)


@pytest.mark.process
def test_the_client_is_a_process_of_its_own() -> None:
    """A load client sends from another process, one load after the other, and ends with its block."""
    with LoadClient() as client:
        for _ in range(2):
            outcome = client.run(Load(free_port(), requests(1)))
            assert outcome.statuses == {NO_ANSWER: 1}
