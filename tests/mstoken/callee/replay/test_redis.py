"""Spent ids in a Redis, which the tests start themselves."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis

from mstoken.callee.replay.redis import RedisReplayStore
from mstoken.errors import SettingsError, VerifierUnavailable
from tests.clock import FakeClock
from tests.mstoken.callee.replay.contract import SharedReplayStoreContract
from tests.redis_server import RedisServer


@pytest.mark.parametrize("url", ["redis://:s3cret#more@host", "redis://:s3cret@host:port", "redis://u:s3cret/x@host/0"])
def test_an_address_that_is_none_is_not_repeated(url: str) -> None:
    """A password with special characters ends up where the port ought to be."""
    with pytest.raises(SettingsError, match="no address of a Redis") as caught:
        RedisReplayStore(url)
    assert "s3cret" not in str(caught.value)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(url: str, clock: FakeClock) -> AsyncIterator[RedisReplayStore]:
    store = RedisReplayStore(url, clock=clock)
    yield store
    await store.aclose()


class TestRedisReplayStore(SharedReplayStoreContract):
    """The store in a Redis."""

    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url

    async def test_ids_expire_by_themselves(self, store: RedisReplayStore, url: str, clock: FakeClock) -> None:
        """Redis is told for how long each id counts, and a replay changes nothing of it."""
        await store.spend("one", clock() + 70)
        with redis.Redis.from_url(url) as client:
            (key,) = client.scan_iter("*")
            mark = client.get(key)
            assert await store.spend("one", clock() + 700) is False
            assert client.get(key) == mark
            assert 69_000 < client.pttl(key) <= 70_000

    async def test_what_expires_at_once_is_still_spent_once(self, store: RedisReplayStore, clock: FakeClock) -> None:
        """A time that has passed is no error."""
        assert await store.spend("late", clock() - 5) is True


class TestRedisOutages:
    """The store while its Redis fails."""

    @pytest.fixture
    def server(self, own_redis: RedisServer) -> RedisServer:
        return own_redis

    @pytest.fixture
    def url(self, server: RedisServer) -> str:
        return server.url

    async def test_a_restart_is_survived(self, store: RedisReplayStore, server: RedisServer, clock: FakeClock) -> None:
        """A connection that died with the server is made anew within the same spend."""
        assert await store.spend("one", clock() + 60) is True
        server.kill()
        server.start()
        assert await store.spend("two", clock() + 60) is True

    async def test_a_lost_answer_does_not_refuse_the_call(self, server: RedisServer, clock: FakeClock) -> None:
        """The command is repeated, finds this call's own mark, and the call comes in; the next one does not."""
        async with LosesFirstAnswer(server.port) as url:
            store = RedisReplayStore(url, clock=clock)
            assert await store.spend("one", clock() + 60) is True
            assert await store.spend("one", clock() + 60) is False
            await store.aclose()

    async def test_a_server_that_is_away_is_an_outage(
        self, store: RedisReplayStore, server: RedisServer, clock: FakeClock
    ) -> None:
        """Nobody comes in."""
        await store.spend("one", clock() + 60)
        server.kill()
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await store.spend("two", clock() + 60)
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await store.ready()

    async def test_a_server_that_hangs_is_an_outage(
        self, store: RedisReplayStore, server: RedisServer, clock: FakeClock
    ) -> None:
        """It is given up in seconds."""
        await store.ready()
        server.hang()
        async with asyncio.timeout(10):
            with pytest.raises(VerifierUnavailable, match="cannot be used"):
                await store.spend("one", clock() + 60)
        server.go_on()

    async def test_a_server_that_is_full_is_an_outage(
        self, store: RedisReplayStore, server: RedisServer, clock: FakeClock
    ) -> None:
        """An id that could not be written down does not count."""
        server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(VerifierUnavailable, match="OutOfMemory"):
            await store.spend("one", clock() + 60)


class LosesFirstAnswer:
    """A proxy before a Redis that cuts the connection when the answer to the first SET should come back."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lost = False

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while command := await reader.read(65536):
                upstream_writer.write(command)
                answer = await upstream_reader.read(65536)
                if b"SET\r\n" in command and b"SETINFO" not in command and not self._lost:
                    self._lost = True
                    return
                writer.write(answer)
        finally:
            upstream_writer.close()
            writer.close()
