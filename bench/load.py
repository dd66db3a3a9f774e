"""A client that puts load on a server, in a process of its own: sockets that stay open, and requests made in advance.

It waits for nothing but the server, takes 30 µs of processor time for a request, and knows the time of each answer.
A load generator such as wrk does not fit: each of our requests has a token or a proof of its own.
"""

import asyncio
import gc
import multiprocessing
import os
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

import uvloop

from emulator.run.die_with_parent import ask_for_signal_at_parent_end
from emulator.run.ports import HOST

ANSWER_SECONDS = 15.0
"""How long an answer is waited for. A request without one by then counts as not answered."""
RETRY_SECONDS = 0.02
"""How long a connection pauses after a server refused it."""
NO_ANSWER = 0
"""The status of a request that was not answered: the connection was refused, ended, or waited for too long."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_WITHOUT_BODY = frozenset({204, 304})
_HEAD_END = b"\r\n\r\n"
_CHUNK = 262_144


@dataclass(frozen=True, slots=True)
class Load:
    """What a client sends: each of `requests` once, to a port of this machine, over so many connections.

    Without a `rate`, each connection sends the next request when it has the answer to the last one (a closed loop).
    With one, so many requests begin in a second, at fixed times. A request that finds no free connection waits for one,
    and its latency counts from the time at which it should have begun (an open loop): a user waits for a slow server,
    too. With `seconds`, the load ends then, also if requests are left.
    """

    port: int
    requests: Sequence[bytes]
    connections: int = 8
    rate: float | None = None
    seconds: float | None = None


class Exchange(NamedTuple):
    """One request: the status of its answer, its latency, and when it ended. Times are in seconds, from the start."""

    status: int
    latency: float
    ended: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to the requests of a load. It began so many seconds after the epoch, and took so many `seconds`."""

    began: float
    seconds: float
    exchanges: list[Exchange] = field(repr=False)

    @property
    def statuses(self) -> Counter[int]:
        """How many answers there were of each status."""
        return Counter(exchange.status for exchange in self.exchanges)

    @property
    def rate(self) -> float:
        """How many requests a second were answered."""
        return (len(self.exchanges) - self.statuses[NO_ANSWER]) / self.seconds

    @property
    def latencies(self) -> list[float]:
        """The latencies of all requests, in seconds."""
        return [exchange.latency for exchange in self.exchanges]

    def expect(self, *statuses: int) -> Self:
        """Return this outcome. Raises RuntimeError if an answer has another status: then it is worth nothing."""
        others = {status: count for status, count in self.statuses.items() if status not in statuses}
        if others:
            raise RuntimeError(f"{len(self.exchanges)} requests were sent, and some have another answer: {others}")
        return self


class LoadClient:
    """The process of the client. It ends with the block, and when this process ends.

    `core` is the number of the processor that it keeps to, if the system can do that.
    """

    def __init__(self, core: int | None = None) -> None:
        self._executor = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_prepare, initargs=(os.getpid(), core)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)

    def start(self, load: Load) -> "Future[Outcome]":
        """Begin to send a load. The result of the future is what became of it."""
        return self._executor.submit(send, load)

    def run(self, load: Load) -> Outcome:
        """Send a load, and return what became of it."""
        return self.start(load).result()


def _prepare(parent: int, core: int | None) -> None:
    """Set up the process of the client."""
    if sys.platform == "linux":
        ask_for_signal_at_parent_end(signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(1)
        if core is not None:
            os.sched_setaffinity(0, {core})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process.


def send(load: Load) -> Outcome:
    """Send a load from this process, and return what became of it."""
    gc.collect()
    gc.disable()  # A collection would delay an answer by milliseconds.
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(exchange(load))
    finally:
        gc.enable()


async def exchange(load: Load) -> Outcome:
    """Send a load from this event loop, and return what became of it."""
    return await _Run(load).complete()


class _Run:
    """One load while it is sent."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._exchanges: list[Exchange] = []
        self._began = 0.0

    async def complete(self) -> Outcome:
        load, began = self._load, time.time()
        self._began = time.perf_counter()
        plan = iter(enumerate(load.requests))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(load.connections, len(load.requests))):
                group.create_task(self._send_all(plan))
        return Outcome(began, self._seconds(), self._exchanges)

    async def _send_all(self, plan: Iterator[tuple[int, bytes]]) -> None:
        """Send requests over one connection at a time, as long as there are any."""
        load, connection = self._load, _Connection(self._load.port)
        try:
            for number, request in plan:
                since = self._seconds()
                if load.rate is not None:
                    due = number / load.rate
                    if due > since:
                        await asyncio.sleep(due - since)
                    since = due
                if load.seconds is not None and since >= load.seconds:
                    break
                status = await connection.exchange(request)
                now = self._seconds()
                self._exchanges.append(Exchange(status, now - since, now))
                if status == NO_ANSWER:
                    await asyncio.sleep(RETRY_SECONDS)
        finally:
            connection.close()

    def _seconds(self) -> float:
        """Return how long the load has been going on. What is due is counted from there too, so it is exact."""
        return time.perf_counter() - self._began


class _Connection:
    """A connection that is opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    async def exchange(self, request: bytes) -> int:
        """Send a request, read the answer, and return its status; NO_ANSWER if there is none."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                if status := await self._exchange(request):
                    return status
        self.close()
        return NO_ANSWER

    async def _exchange(self, request: bytes) -> int:
        loop = asyncio.get_running_loop()
        if self._socket is None:
            self._socket = socket.socket()
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(self._socket, (HOST, self._port))
        await loop.sock_sendall(self._socket, request)
        received = b""
        length: int | None = None
        while length is None or len(received) < length:
            chunk = await loop.sock_recv(self._socket, _CHUNK)
            if not chunk:
                return NO_ANSWER
            received += chunk
            length = length or _answer_length(received)
        if _CLOSES.search(received, 0, received.index(_HEAD_END) + 2):
            self.close()
        return int(received[9:12])

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _answer_length(received: bytes) -> int | None:
    """Return how many bytes the answer has that begins with these; None as long as its head is not complete."""
    head = received.find(_HEAD_END)
    if head < 0:
        return None
    found = _LENGTH.search(received, 0, head + 2)
    if found is None and int(received[9:12]) not in _WITHOUT_BODY:
        raise ValueError(f"the client reads only answers with a Content-Length: {received[:head]!r}")
    return head + len(_HEAD_END) + (int(found[1]) if found else 0)
