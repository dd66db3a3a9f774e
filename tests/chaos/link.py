"""A connection between two parts of the shop that can lose all packets for a while."""

import asyncio
import contextlib
import socket
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536


class Link:
    """A TCP proxy on a free `port`, which passes all bytes on to `upstream_port`. Use it with `async with`.

    Between `drop` and `go_on` it passes nothing on, in both directions: no bytes, no new connection, and no end of a
    connection. This stands for a network that drops all packets, which only root could cause. It is the same for both
    ends in what matters here: they notice nothing but silence, and what was sent meanwhile arrives afterwards, as TCP
    sends it again, even if the sender has given up since. One thing differs: the system accepts a new connection for
    the proxy, so the program that opens it waits for an answer and not for the connection.

    If nothing listens at `upstream_port`, a connection ends without an answer.
    """

    def __init__(self, upstream_port: int) -> None:
        self._upstream_port = upstream_port
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self._passing = asyncio.Event()
        self._passing.set()
        self._connections: set[asyncio.Task[None]] = set()

    def drop(self) -> None:
        """Pass nothing on from now on. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._passing.clear)

    def go_on(self) -> None:
        """Pass on what has arrived since `drop`, and everything after it. May be called from any thread."""
        self._loop.call_soon_threadsafe(self._passing.set)

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._serve, sock=self._listening)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._passing.wait()
            await self._connect(reader, writer)
        finally:
            writer.transport.abort()  # If all is well, it has been closed before.
            self._connections.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on until both sides have ended the connection, or the upstream side has."""
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(HOST, self._upstream_port)
        except OSError:
            return
        sending = asyncio.create_task(self._pump(reader, upstream_writer))
        answering = asyncio.create_task(self._pump(upstream_reader, writer))
        try:
            await asyncio.wait((sending, answering), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                await answering
            for end in upstream_writer, writer:
                end.close()
                await _wait_closed(end)
        finally:
            for task in sending, answering:
                task.cancel()
            upstream_writer.transport.abort()
            await asyncio.gather(sending, answering, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                await self._passing.wait()
                writer.write(data)
                await writer.drain()
            await self._passing.wait()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            # One side was killed or has reset the connection. The other side must see that, as it does in a network:
            # a database would keep the rows of a killed process locked for ever.
            await self._passing.wait()
            writer.transport.abort()


async def _wait_closed(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await writer.wait_closed()
