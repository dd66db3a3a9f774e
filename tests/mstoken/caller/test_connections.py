"""The connections of a process to Firebase and to the token service, with real sockets."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from mstoken.caller.connections import DIED, Connections

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class ForgetfulServer:
    """A server that answers the first request of each connection. At the second one, it closes the connection.

    So does a server that closes idle connections, if a request comes at that moment. While `released` is not set, the
    first answers are kept back, so that requests that are under way at the same time have a connection each.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.requests = 0
        self.arrived = asyncio.Semaphore(0)
        self.released = asyncio.Event()
        self.released.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self._read(reader)
        await self.released.wait()
        writer.write(ANSWER)
        await writer.drain()
        await self._read(reader)
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        if head := await reader.readuntil(b"\r\n\r\n"):
            assert b"content-length: 2" in head.lower()
            await reader.readexactly(2)
            self.requests += 1
            self.arrived.release()


@pytest.fixture
async def server() -> ForgetfulServer:
    return ForgetfulServer()


@pytest.fixture
async def url(server: ForgetfulServer) -> AsyncIterator[str]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"


async def test_connections_are_kept(server: ForgetfulServer, url: str) -> None:
    """The second request comes on the connection of the first one, which dies."""
    async with Connections() as connections:
        assert (await connections.post(url, {}, {})).status_code == 200
        with pytest.raises(DIED):
            await connections.post(url, {}, {})
    assert (server.connections, server.requests) == (1, 2)


async def test_a_new_connection_is_none_of_the_kept_ones(server: ForgetfulServer, url: str) -> None:
    """After a death, the other kept connections are not used, because they may have died too. No new one is kept."""
    async with Connections() as connections:
        server.released.clear()
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(connections.post(url, {}, {}))
            for _ in range(2):
                await server.arrived.acquire()
            server.released.set()
        assert server.connections == 2
        with pytest.raises(DIED):
            await connections.post(url, {}, {})
        for number in (3, 4):
            assert (await connections.post(url, {}, {}, new=True)).status_code == 200
            assert server.connections == number


@pytest.mark.parametrize("new", [False, True])
async def test_proxies(server: ForgetfulServer, url: str, monkeypatch: pytest.MonkeyPatch, new: bool) -> None:
    """Variables for proxies are obeyed, but not if only emulators are asked."""
    for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    async with Connections(may_use_proxies=False) as connections:
        assert (await connections.post(url, {}, {}, new=new)).status_code == 200
    async with Connections() as connections:
        with pytest.raises(httpx.ConnectError):
            await connections.post(url, {}, {}, new=new)
    assert server.requests == 1


async def test_the_time_out() -> None:
    """Each request has a time-out of 5 s."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200)

    async with Connections(transport=httpx.MockTransport(answer)) as connections:
        await connections.post("https://firebase.example/", {}, {})
        await connections.post("https://firebase.example/", {}, {}, new=True)
    assert [set(request.extensions["timeout"].values()) for request in requests] == [{5.0}, {5.0}]
