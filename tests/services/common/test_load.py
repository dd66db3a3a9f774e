"""services/common/load.py"""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from services.common.load import LoadLimit
from tests.services.shop import refused


class Worker:
    """An app that answers when the test lets it, and counts the requests that it works on."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.in_flight = 0
        self.max_in_flight = 0
        self.finished = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.in_flight += 1
        self.max_in_flight = max(self.in_flight, self.max_in_flight)
        try:
            if scope["path"] == "/defect":
                raise ZeroDivisionError
            if scope["path"] == "/slow":
                await self.may_answer.wait()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
            self.finished += 1
        finally:
            self.in_flight -= 1


@pytest.fixture
def worker() -> Worker:
    """An app."""
    return Worker()


@pytest.fixture
async def client(worker: Worker) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app, which works on two requests at once and lets three wait."""
    app = LoadLimit(worker, max_concurrent=2, max_waiting=3, max_wait_seconds=60)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
        yield client


async def settle() -> None:
    """Let all tasks run until they wait."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_requests_above_the_limits_are_refused(client: httpx.AsyncClient, worker: Worker) -> None:
    """Two requests are worked on, three wait and are served later, and the others are refused with Retry-After."""
    requests = [asyncio.create_task(client.get("/slow")) for _ in range(9)]
    await settle()
    refusals = [task.result() for task in requests if task.done()]
    assert len(refusals) == 4
    for response in refusals:
        refused(response, 503, "overloaded")
        assert response.headers["Retry-After"] == "1"
    worker.may_answer.set()
    answers = await asyncio.gather(*requests)
    assert [answer.status_code for answer in answers].count(204) == 5
    assert (worker.max_in_flight, worker.finished) == (2, 5)


async def test_probes_are_always_answered(client: httpx.AsyncClient, worker: Worker) -> None:
    """A process that is overloaded still answers its probes."""
    requests = [asyncio.create_task(client.get("/slow")) for _ in range(9)]
    await settle()
    for path in "/healthz", "/readyz":
        assert (await client.get(path)).status_code == 204
    worker.may_answer.set()
    await asyncio.gather(*requests)


async def test_waiting_is_limited(worker: Worker) -> None:
    """A request that has waited for the maximum time is refused."""
    app = LoadLimit(worker, max_concurrent=1, max_waiting=3, max_wait_seconds=0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
        first = asyncio.create_task(client.get("/slow"))
        await settle()
        refused(await client.get("/slow"), 503, "overloaded")
        worker.may_answer.set()
        assert (await first).status_code == 204


@pytest.mark.parametrize("when", ["working", "waiting"])
async def test_slots_are_released(client: httpx.AsyncClient, worker: Worker, when: str) -> None:
    """Requests that fail, or that are cancelled while they work or wait, release their slots."""
    for _ in range(10):
        with pytest.raises(ZeroDivisionError):
            await client.get("/defect")
        requests = [asyncio.create_task(client.get("/slow")) for _ in range(5)]
        await settle()
        first, last = requests[:2], requests[2:]
        for task in first if when == "working" else last:
            task.cancel()
        worker.may_answer.set()
        await asyncio.gather(*requests, return_exceptions=True)
        worker.may_answer.clear()
    assert worker.in_flight == 0
    assert (await client.get("/")).status_code == 204


async def test_the_lifespan_takes_no_slot(worker: Worker) -> None:
    """The start and the end of an app do not count as requests."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None: ...

    await LoadLimit(app, max_concurrent=0)({"type": "lifespan"}, receive, send)
    assert seen == ["lifespan"]
