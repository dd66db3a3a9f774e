"""tests/chaos/link.py: packets that are lost for a while."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from tests.chaos.link import HOST, Link

SILENCE_SECONDS = 0.05


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """A link to a server that sends back what it gets."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(echo, HOST, 0)
    async with server, Link(server.sockets[0].getsockname()[1]) as link:
        yield link


async def test_a_link_passes_everything_on(link: Link) -> None:
    """Bytes and the end of a connection reach the other side, in both directions."""
    reader, writer = await asyncio.open_connection(HOST, link.port)
    writer.write(b"hello")
    writer.write_eof()
    assert await reader.read() == b"hello"
    writer.close()
    await writer.wait_closed()


async def test_nothing_arrives_while_packets_are_dropped(link: Link) -> None:
    """An open connection and a new one get no answer and no end, and both get their answers afterwards."""
    ends = [await asyncio.open_connection(HOST, link.port)]
    await _echoed(ends[0], b"before")
    link.drop()
    await asyncio.sleep(0)
    ends.append(await asyncio.open_connection(HOST, link.port))
    for _, writer in ends:
        writer.write(b"meanwhile")
    for reader, _ in ends:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), SILENCE_SECONDS)
    link.go_on()
    for reader, writer in ends:
        assert await reader.readexactly(9) == b"meanwhile"
        writer.close()
        await writer.wait_closed()


async def test_a_reset_reaches_the_other_side() -> None:
    """A process that is killed resets its connections. Its server sees that, also if packets were lost at that time."""
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.read(1000):
                pass
            ended.put_nowait("end")
        except ConnectionResetError:
            ended.put_nowait("reset")
        writer.transport.abort()

    server = await asyncio.start_server(note, HOST, 0)
    async with server, Link(server.sockets[0].getsockname()[1]) as link:
        for is_dropping in False, True:
            _, writer = await asyncio.open_connection(HOST, link.port)
            writer.write(b"hello")
            await asyncio.sleep(SILENCE_SECONDS)
            if is_dropping:
                link.drop()
            linger = struct.pack("ii", 1, 0)  # Closing the socket resets the connection.
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            if is_dropping:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(ended.get(), SILENCE_SECONDS)
                link.go_on()
            assert await asyncio.wait_for(ended.get(), 5) in ("reset", "end")


async def test_a_connection_to_a_server_that_does_not_listen_ends() -> None:
    """The caller of a server that is down does not wait."""
    server = await asyncio.start_server(lambda reader, writer: None, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with Link(port) as link:
        reader, writer = await asyncio.open_connection(HOST, link.port)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def _echoed(end: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes) -> None:
    reader, writer = end
    writer.write(data)
    assert await reader.readexactly(len(data)) == data
