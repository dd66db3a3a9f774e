"""The two drivers meet every need in the same way."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from mstoken.caller.flow import Blocking, Flow, Pause, run, run_async

Driver = Callable[[Flow[Any], httpx.MockTransport], Awaitable[Any]]


async def driven_sync(flow: Flow[Any], transport: httpx.MockTransport) -> Any:
    """`run`, seen as a coroutine."""
    with httpx.Client(transport=transport) as client:
        return run(flow, client)


async def driven_async(flow: Flow[Any], transport: httpx.MockTransport) -> Any:
    """`run_async`."""
    async with httpx.AsyncClient(transport=transport) as client:
        return await run_async(flow, client)


drivers = pytest.mark.parametrize("drive", [driven_sync, driven_async])


def hello(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, text="hello")


def unreachable(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("nobody there")


@drivers
async def test_a_flow_gets_what_it_asks_for(drive: Driver) -> None:
    """A request gives its response, read; a blocking function its result; a pause nothing."""

    def flow() -> Flow[tuple[str, int, None]]:
        response = yield httpx.Request("GET", "http://x/")
        number = yield Blocking(lambda: 7)
        nothing = yield Pause(0)
        return response.text, number, nothing

    assert await drive(flow(), httpx.MockTransport(hello)) == ("hello", 7, None)


@drivers
async def test_errors_reach_the_flow(drive: Driver) -> None:
    """A flow may catch what went wrong with its need and go on."""

    def flow() -> Flow[str]:
        try:
            yield httpx.Request("GET", "http://x/")
        except httpx.ConnectError:
            mended: str = yield Blocking(lambda: "mended")
            return mended
        return "not reached"

    assert await drive(flow(), httpx.MockTransport(unreachable)) == "mended"


@drivers
async def test_errors_that_a_flow_does_not_catch_come_out(drive: Driver) -> None:
    """They come out of the driver as they are."""

    def flow() -> Flow[None]:
        yield httpx.Request("GET", "http://x/")

    with pytest.raises(httpx.ConnectError):
        await drive(flow(), httpx.MockTransport(unreachable))


async def test_blocking_work_leaves_the_event_loop_free() -> None:
    """The async driver runs it in another thread."""

    def flow() -> Flow[int]:
        ident: int = yield Blocking(threading.get_ident)
        return ident

    assert await driven_async(flow(), httpx.MockTransport(hello)) != threading.get_ident()


@drivers
async def test_a_flow_that_needs_nothing_just_returns(drive: Driver) -> None:
    """No need, no driver's work."""

    def flow() -> Flow[int]:
        return 3
        yield

    assert await drive(flow(), httpx.MockTransport(hello)) == 3
