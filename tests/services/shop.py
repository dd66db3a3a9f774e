"""What the tests of the services share: apps served in this process, and people and things to serve."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
from fastapi import FastAPI

BASE_URL = "http://service"
ADDRESS = {
    "name": "Maya Lindgren",
    "line1": "12 Harbour Street",
    "line2": None,
    "city": "Portland",
    "postal_code": "97201",
    "country": "US",
}
KETTLE = {
    "name": "Kettle",
    "description": "It pours.",
    "price": {"amount": 4990, "currency": "USD"},
    "stock": 10,
}
LOGGERS = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "httpx", "httpcore")


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Puts back the loggers that a service's process takes over."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    try:
        yield
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an app that has started up and is shut down at the end."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=BASE_URL) as client,
    ):
        yield client


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem details in an answer that has this status and code; fails where it has not."""
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code), problem
    return problem


def answered(response: httpx.Response, status: int = 200) -> Any:
    """The JSON in an answer that has this status; fails where it has not."""
    assert response.status_code == status, response.text
    return response.json()


async def eventually(holds: Callable[[], Awaitable[bool]], *, within_seconds: float = 8.0) -> None:
    """Waits until that holds, for what a service does by itself. Raises TimeoutError."""
    async with asyncio.timeout(within_seconds):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)


class StubbornTransport(httpx.AsyncBaseTransport):
    """A network on which every request meets the same fate: an answer, or an error of httpx."""

    def __init__(self, fate: httpx.Response | Exception) -> None:
        self.fate = fate
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.fate, Exception):
            raise self.fate
        return self.fate
