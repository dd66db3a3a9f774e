"""Clients of httpx with one connection each, of which a request takes the one that was used last.

The pool of httpcore, which httpx uses, looks at each of its connections for each request, and asks the system if an
idle one is still open (httpcore 1.0.9, `_assign_requests_to_connections`). With 64 idle connections, a request costs
five times as much processor time as with one. Here it costs the same with any number, and after a burst the
connections that are not needed any more are not used, so they can be closed.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx


class ClientPool:
    """Lends clients of httpx, each to one request at a time. Use it in one event loop."""

    def __init__(
        self,
        make: Callable[[], httpx.AsyncClient],
        *,
        max_clients: int,
        max_idle: int,
        idle_seconds: float,
        wait_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`make` returns a new client, which needs one connection for each server. The first one is made at once.

        At most `max_clients` are lent at the same time; another request waits for `wait_seconds`. Of those that are not
        lent, at most `max_idle` are kept, each for at least `idle_seconds`. `clock` returns seconds.
        """
        self._make = make
        self._free = asyncio.Semaphore(max_clients)
        self._max_idle = max_idle
        self._idle_seconds = idle_seconds
        self._wait_seconds = wait_seconds
        self._clock = clock
        # httpx imports httpcore when it makes its first client. The first request must not wait for that.
        self._idle: deque[tuple[httpx.AsyncClient, float]] = deque([(make(), clock())])
        """The clients that are not lent, and when they came back. The last one was used last."""
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Lend a client. The answer must have been read at the end of the block.

        If the block raises, the client is closed. Raise `httpx.PoolTimeout` if none comes back in time.
        """
        await self._wait_for_a_place()
        try:
            client = self._idle.pop()[0] if self._idle else self._make()
            try:
                yield client
            except BaseException:
                # Its connection may be occupied for ever: httpcore 1.0.9 does not free one whose request is cancelled
                # at the moment at which it is open, nor one whose request is cancelled twice.
                self._close_soon(client)
                raise
            self._idle.append((client, self._clock()))
        finally:
            self._free.release()
        await self._close_the_oldest()

    async def aclose(self) -> None:
        """Close all clients. One that is lent is closed when it comes back."""
        self._is_closed = True
        while self._idle:
            await self._idle.popleft()[0].aclose()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _wait_for_a_place(self) -> None:
        if not self._free.locked():
            await self._free.acquire()  # At once.
            return
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout(f"all connections were in use for {self._wait_seconds:g} s") from None

    async def _close_the_oldest(self) -> None:
        """Close the client that has been idle for longest, if it is not needed. No more than one, to be quick."""
        if self._is_closed:
            await self.aclose()
        elif len(self._idle) > self._max_idle or self._clock() - self._idle[0][1] > self._idle_seconds:
            await self._idle.popleft()[0].aclose()

    def _close_soon(self, client: httpx.AsyncClient) -> None:
        """Close a client without waiting for it: the task that had it may be cancelled once more."""
        closing = asyncio.create_task(client.aclose(), name="mstoken client of a failed request")
        self._closing.add(closing)
        closing.add_done_callback(self._closed)

    def _closed(self, closing: "asyncio.Task[None]") -> None:
        self._closing.discard(closing)
        if not closing.cancelled():
            closing.exception()  # The connection has failed before.
