"""The store in Redis. The tests start their own Redis."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis

from mstoken.callee.replay.redis import RedisReplayStore
from mstoken.errors import SettingsError, VerifierUnavailable
from tests.clock import FakeClock
from tests.mstoken.callee.replay.test_store import SharedReplayStoreContract
from tests.redis_server import RedisServer


@pytest.mark.parametrize("url", ["redis://:s3cret#more@host", "redis://:s3cret@host:port", "redis://u:s3cret/x@host/0"])
def test_the_error_about_a_wrong_url_does_not_contain_it(url: str) -> None:
    """The part that is not a port can be a password with special characters, so it is not printed."""
    with pytest.raises(SettingsError, match="not the URL of a Redis") as caught:
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
    """The store in Redis."""

    @pytest.fixture
    def url(self, redis_url: str) -> str:
        return redis_url

    async def test_redis_deletes_expired_ids(self, store: RedisReplayStore, url: str, clock: FakeClock) -> None:
        """Each id has a time to live in Redis, which a second spend does not change."""
        await store.spend("one", clock() + 70)
        with redis.Redis.from_url(url) as client:
            (key,) = client.scan_iter("*")
            mark = client.get(key)
            assert await store.spend("one", clock() + 700) is False
            assert client.get(key) == mark
            assert 69_000 < client.pttl(key) <= 70_000

    async def test_an_expiry_in_the_past_is_not_an_error(self, store: RedisReplayStore, clock: FakeClock) -> None:
        """The first spend of such an id succeeds."""
        assert await store.spend("late", clock() - 5) is True


class TestRedisOutages:
    """The store while its Redis fails."""

    @pytest.fixture
    def server(self, own_redis: RedisServer) -> RedisServer:
        return own_redis

    @pytest.fixture
    def url(self, server: RedisServer) -> str:
        return server.url

    async def test_a_restart_of_redis_does_not_refuse_a_call(
        self, store: RedisReplayStore, server: RedisServer, clock: FakeClock
    ) -> None:
        """A spend whose connection was closed by the server connects again and succeeds."""
        assert await store.spend("one", clock() + 60) is True
        server.kill()
        server.start()
        assert await store.spend("two", clock() + 60) is True

    async def test_a_lost_answer_does_not_refuse_the_call(self, server: RedisServer, clock: FakeClock) -> None:
        """The command is repeated and finds its own mark, so the spend succeeds; the next spend does not."""
        async with LosesFirstAnswer(server.port) as url:
            store = RedisReplayStore(url, clock=clock)
            assert await store.spend("one", clock() + 60) is True
            assert await store.spend("one", clock() + 60) is False
            await store.aclose()

    async def test_a_stopped_server_is_an_outage(
        self, store: RedisReplayStore, server: RedisServer, clock: FakeClock
    ) -> None:
        """No id can be spent, and the store is not ready."""
        await store.spend("one", clock() + 60)
        server.kill()
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await store.spend("two", clock() + 60)
        with pytest.raises(VerifierUnavailable, match="cannot be used"):
            await store.ready()

    async def test_a_hanging_server_is_an_outage(
        self, store: RedisReplayStore, server: RedisServer, clock: FakeClock
    ) -> None:
        """The spend fails after a few seconds at most."""
        await store.ready()
        server.hang()
        async with asyncio.timeout(10):
            with pytest.raises(VerifierUnavailable, match="cannot be used"):
                await store.spend("one", clock() + 60)
        server.go_on()

    async def test_a_full_server_is_an_outage(
        self, store: RedisReplayStore, server: RedisServer, clock: FakeClock
    ) -> None:
        """An id that cannot be stored is not spent."""
        server.command("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(VerifierUnavailable, match="OutOfMemory"):
            await store.spend("one", clock() + 60)


class LosesFirstAnswer:
    """A proxy in front of Redis. It closes the connection in place of the answer to the first SET."""

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
