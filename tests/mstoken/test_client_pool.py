"""A pool that lends the client that was used last, so that a request costs the same with any number of connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from mstoken.client_pool import ClientPool
from tests.clock import FakeClock, LoopClock
from tests.silent_server import SilentServer

MAX_CLIENTS = 4
MAX_IDLE = 3
IDLE_SECONDS = 5.0
WAIT_SECONDS = 30.0


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
        wait_seconds=WAIT_SECONDS,
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
        waiting = asyncio.create_task(burst(pool, 1))
        await asyncio.sleep(0)
        LoopClock(asyncio.get_running_loop()).advance(WAIT_SECONDS)
        with pytest.raises(httpx.PoolTimeout, match="all connections were in use"):
            await waiting
    await burst(pool, MAX_CLIENTS)


@pytest.mark.parametrize("error", [httpx.ReadError("reset"), asyncio.CancelledError(), ZeroDivisionError()])
async def test_a_client_whose_request_failed_is_not_lent_again(
    pool: ClientPool, clients: Clients, error: BaseException
) -> None:
    """Its connection may be occupied for ever. The client is closed, and a new one takes its place."""
    for _ in range(MAX_CLIENTS + 1):
        with pytest.raises(type(error)):
            async with pool.client():
                raise error
    async with pool.client() as client:
        assert client is clients.made[-1]
    await asyncio.sleep(0)
    assert clients.open() == [MAX_CLIENTS + 1]


async def test_a_client_that_cannot_be_made_takes_no_place(clients: Clients) -> None:
    """If clients cannot be made for a while, the pool lends as many as before when they can."""
    failures = iter([False, *[True] * MAX_CLIENTS])

    def make() -> httpx.AsyncClient:
        if next(failures, False):
            raise OSError("too many open files")
        return clients()

    pool = ClientPool(make, max_clients=MAX_CLIENTS, max_idle=0, idle_seconds=IDLE_SECONDS, wait_seconds=0.01)
    async with pool.client():
        for _ in range(MAX_CLIENTS):
            with pytest.raises(OSError, match="too many open files"):
                await burst(pool, 1)
    await burst(pool, MAX_CLIENTS)
    await pool.aclose()


async def test_closing_waits_for_the_clients_of_failed_requests(clients: Clients, pool: ClientPool) -> None:
    """No connection is open when the pool is closed."""
    with pytest.raises(ZeroDivisionError):
        async with pool.client():
            raise ZeroDivisionError
    assert clients.open() == [0]
    await pool.aclose()
    assert clients.open() == []


@pytest.mark.parametrize("cancels", [1, 2])
async def test_requests_that_are_cancelled_at_any_moment_hold_up_no_other(cancels: int) -> None:
    """A request that is cancelled while its connection is opened, or cancelled twice, leaves the pool working.

    httpcore does not free the connections of some of them, and a client with one connection would wait for it for ever.
    """

    def make() -> httpx.AsyncClient:
        return httpx.AsyncClient(
            limits=httpx.Limits(max_connections=1), timeout=httpx.Timeout(60, pool=0), verify=False
        )

    with SilentServer() as server:
        pool = ClientPool(make, max_clients=1, max_idle=1, idle_seconds=60, wait_seconds=60)

        async def request() -> None:
            async with pool.client() as client:
                await client.get(f"http://127.0.0.1:{server.port}/")

        for turns in range(25):
            requesting = asyncio.create_task(request())
            for _ in range(turns):
                await asyncio.sleep(0)
            for _ in range(cancels):
                requesting.cancel()
                await asyncio.sleep(0)
            # httpx.PoolTimeout would be the error of a client whose connection is occupied.
            with pytest.raises(asyncio.CancelledError):
                await requesting
        await pool.aclose()


async def test_closing(pool: ClientPool, clients: Clients) -> None:
    """All clients are closed, those that are lent when they come back."""
    async with pool.client():
        await burst(pool, 2)
        await pool.aclose()
        assert clients.open() == [0]
    assert clients.open() == []
