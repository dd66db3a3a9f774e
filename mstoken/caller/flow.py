"""One procedure for both worlds: what to do is a generator, who does it is one of two drivers.

A `Flow` yields what it needs done, one thing at a time, and gets the outcome back: an `httpx.Request` to send (gives
the `httpx.Response`, read), a `Pause` to wait, or a `Blocking` function to run where it holds nobody up (gives its
result). So signing in is written once, is tested without a network by `next` and `send`, and runs in `httpx.Client`
and `httpx.AsyncClient` alike.
"""

import asyncio
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import httpx

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait this long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Blocking:
    """Run this; it may block on I/O or on the processor."""

    function: Callable[[], Any]


Need: TypeAlias = httpx.Request | Pause | Blocking
Flow: TypeAlias = Generator[Need, Any, T]


def run(flow: Flow[T], client: httpx.Client) -> T:
    """What `flow` returns, its needs met by this thread and `client`; errors of a need are thrown into the flow."""

    def meet(need: Need) -> object:
        match need:
            case httpx.Request():
                return client.send(need)
            case Pause(seconds):
                time.sleep(seconds)
                return None
            case Blocking(function):
                return function()

    outcome: object = None
    try:
        need = next(flow)
        while True:
            try:
                outcome = meet(need)
            except Exception as error:
                need = flow.throw(error)
            else:
                need = flow.send(outcome)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()


async def run_async(flow: Flow[T], client: httpx.AsyncClient) -> T:
    """What `flow` returns, its needs met by the running event loop and `client`; blocking work goes to a thread."""

    async def meet(need: Need) -> object:
        match need:
            case httpx.Request():
                return await client.send(need)
            case Pause(seconds):
                await asyncio.sleep(seconds)
                return None
            case Blocking(function):
                return await asyncio.to_thread(function)

    outcome: object = None
    try:
        need = next(flow)
        while True:
            try:
                outcome = await meet(need)
            except Exception as error:
                need = flow.throw(error)
            else:
                need = flow.send(outcome)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()
