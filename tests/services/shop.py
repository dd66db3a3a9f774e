"""What the tests of the services share: apps that run in this process, sample data, and checks of answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
from fastapi import FastAPI

from tests.services.documented import DocumentedTransport

BASE_URL = "http://service"
ADDRESS = {
    "name": "Maya Lindgren",
    "line1": "12 Harbour Street",
    "line2": None,
    "city": "Portland",
    "postal_code": "97201-4715",  # long enough that a time or an id does not have it by accident
    "country": "US",
}
KETTLE = {
    "name": "Kettle",
    "description": "It pours.",
    "price": {"amount": 4990, "currency": "USD"},
    "stock": 10,
}
LOGGERS = ("", "uvicorn", "uvicorn.error", "uvicorn.access", "httpx", "httpcore")
LOGGING_FLAGS = ("logThreads", "logProcesses", "logMultiprocessing", "_srcfile")


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Restore the loggers that the process of a service configures."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    flags = {name: getattr(logging, name) for name in LOGGING_FLAGS}
    try:
        yield
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        for name, value in flags.items():
            setattr(logging, name, value)


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Start an app, and return a client of it, whose answers must be as documented. The app is stopped at the end."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=DocumentedTransport(app), base_url=BASE_URL) as client,
    ):
        yield client


def refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is problem details with this status and code, and return them."""
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code), problem
    return problem


def answered(response: httpx.Response, status: int = 200) -> Any:
    """Check that an answer has this status, and return its JSON."""
    assert response.status_code == status, response.text
    return response.json()


async def eventually(holds: Callable[[], Awaitable[bool]], *, within_seconds: float = 60.0) -> None:
    """Wait until `holds` returns True, for what a service does by itself. Raise TimeoutError."""
    async with asyncio.timeout(within_seconds):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)


class FixedTransport(httpx.AsyncBaseTransport):
    """A network on which every request has the same outcome: an answer, or an error of httpx."""

    def __init__(self, outcome: httpx.Response | Exception) -> None:
        self.outcome = outcome
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class HeldTransport(httpx.AsyncBaseTransport):
    """A network that holds every request until `may_answer` is set, and then sends it over `transport`."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self.transport = transport
        self.may_answer = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self.may_answer.wait()
        return await self.transport.handle_async_request(request)
