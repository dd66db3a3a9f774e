"""Every HTTP client that has an adapter calls the running Product service, as Billing."""

from collections.abc import Awaitable, Callable

import aiohttp
import httpx
import httpx2
import pytest
import requests

from emulator.run.stack import Stack
from mstoken import ServiceIdentity, Settings
from mstoken.aiohttp import AiohttpAuth
from mstoken.requests import RequestsAuth
from tests.waiting import WAIT_SECONDS

Statuses = Callable[[ServiceIdentity, str], Awaitable[list[int]]]


async def with_httpx(billing: ServiceIdentity, url: str) -> list[int]:
    with httpx.Client(auth=billing.to("product"), timeout=WAIT_SECONDS) as client:
        return [client.get(url).status_code for _ in range(2)]  # noqa: ASYNC212 - nothing else runs meanwhile


async def with_httpx2(billing: ServiceIdentity, url: str) -> list[int]:
    async with httpx2.AsyncClient(auth=billing.to("product")) as client:
        return [(await client.get(url)).status_code for _ in range(2)]


async def with_requests(billing: ServiceIdentity, url: str) -> list[int]:
    with requests.Session() as session:
        session.auth = RequestsAuth(billing, "product")
        return [session.get(url, timeout=30).status_code for _ in range(2)]


async def with_aiohttp(billing: ServiceIdentity, url: str) -> list[int]:
    statuses = []
    async with aiohttp.ClientSession(middlewares=[AiohttpAuth(billing, "product")]) as session:
        for _ in range(2):
            async with session.get(url) as answer:
                statuses.append(answer.status)
    return statuses


@pytest.mark.parametrize("statuses", [with_httpx, with_httpx2, with_requests, with_aiohttp])
async def test_each_client_calls_product(either_stack: Stack, auth_emulator: Settings, statuses: Statuses) -> None:
    """In both modes, two calls one after another are answered with 200."""
    settings = auth_emulator.model_copy(update={"mode": either_stack.mode})
    with ServiceIdentity("billing", settings) as billing:
        assert await statuses(billing, f"{either_stack.url('product')}/products?limit=1") == [200, 200]
