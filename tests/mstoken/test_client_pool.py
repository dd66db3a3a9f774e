"""A pool that lends the client that was used last, so that a request costs the same with any number of connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from mstoken.client_pool import ClientPool
from tests.clock import FakeClock

MAX_CLIENTS = 4
MAX_IDLE = 3
IDLE_SECONDS = 5.0


class Clients:
    """Makes clients, and keeps them."""

    def __init__(self) -> None:
        self.made: list[httpx.AsyncClient] = []

    def __call__(self) -> httpx.AsyncClient:
        self.made.append(httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(204))))
        return self.made[-1]

    def open(self) -> list[int]:
        """Return the numbers of the clients that are not closed."""
        return [number for number, client in enumerate(self.made) if not client.is_closed]


@pytest.fixture
def clients() -> Clients:
    return Clients()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def pool(clients: Clients, clock: FakeClock) -> AsyncIterator[ClientPool]:
    pool = ClientPool(
        clients,
        max_clients=MAX_CLIENTS,
        max_idle=MAX_IDLE,
        idle_seconds=IDLE_SECONDS,
        wait_seconds=0.01,
        clock=clock,
    )
    yield pool
    await pool.aclose()


async def burst(pool: ClientPool, number: int) -> None:
    """Lend so many clients at the same time, and give them back, the first one first."""
    async with AsyncExitStack() as lent:
        for _ in range(number):
            await lent.enter_async_context(pool.client())


async def test_requests_one_after_another_share_a_client(pool: ClientPool, clients: Clients) -> None:
    """A connection is used again, and no other one is opened."""
    for _ in range(5):
        async with pool.client() as client:
            assert (await client.get("http://product/")).status_code == 204
    assert len(clients.made) == 1


async def test_the_first_client_is_made_with_the_pool(pool: ClientPool, clients: Clients) -> None:
    """The first request does not wait for what httpx imports and reads when it makes a client."""
    assert len(clients.made) == 1
    async with pool.client() as client:
        assert client is clients.made[0]


async def test_requests_at_the_same_time_have_a_client_each(pool: ClientPool) -> None:
    """A connection carries one request at a time."""
    async with pool.client() as one, pool.client() as other:
        assert one is not other


async def test_the_client_that_was_used_last_is_used_again(pool: ClientPool) -> None:
    """The others have nothing to do after a burst, so they can be closed."""
    async with pool.client():
        async with pool.client() as inner:
            pass
        async with pool.client() as again:
            assert again is inner


async def test_idle_clients_are_closed(pool: ClientPool, clients: Clients, clock: FakeClock) -> None:
    """After the idle time, each request closes one, so no request takes long. The one in use stays."""
    await burst(pool, 3)
    clock.advance(IDLE_SECONDS)
    await burst(pool, 1)
    assert len(clients.open()) == 3
    clock.advance(0.1)
    for left in (2, 1, 1):
        await burst(pool, 1)
        assert len(clients.open()) == left


async def test_no_more_idle_clients_than_allowed(pool: ClientPool, clients: Clients) -> None:
    """The rest of a burst is closed at once."""
    await burst(pool, MAX_CLIENTS)
    assert len(clients.open()) == MAX_IDLE


async def test_a_request_waits_for_a_client(pool: ClientPool) -> None:
    """When all are lent, the next one to come back is lent again."""
    async with AsyncExitStack() as lent:
        for _ in range(MAX_CLIENTS - 1):
            await lent.enter_async_context(pool.client())
        async with pool.client() as last:
            waiting = asyncio.create_task(lent_by(pool))
            await asyncio.sleep(0)
        assert await waiting is last


async def lent_by(pool: ClientPool) -> httpx.AsyncClient:
    async with pool.client() as client:
        return client


async def test_a_request_does_not_wait_for_long(pool: ClientPool) -> None:
    """After the time it raises the error of httpx. The clients that come back later are lent as before."""
    async with AsyncExitStack() as lent:
        for _ in range(MAX_CLIENTS):
            await lent.enter_async_context(pool.client())
        with pytest.raises(httpx.PoolTimeout, match="all connections were in use"):
            await burst(pool, 1)
    await burst(pool, MAX_CLIENTS)


async def test_after_an_error_the_client_is_lent_again(pool: ClientPool, clients: Clients) -> None:
    """The client replaces a connection that failed. A request that was cancelled keeps no place either."""
    for error in (httpx.ReadError("reset"), asyncio.CancelledError()):
        for _ in range(MAX_CLIENTS + 1):
            with pytest.raises(type(error)):
                async with pool.client():
                    raise error
    assert len(clients.made) == 1


async def test_closing(pool: ClientPool, clients: Clients) -> None:
    """All clients are closed, those that are lent when they come back."""
    async with pool.client():
        await burst(pool, 2)
        await pool.aclose()
        assert clients.open() == [0]
    assert clients.open() == []
