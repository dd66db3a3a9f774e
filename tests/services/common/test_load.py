"""services/common/load.py"""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from services.common.load import LoadLimit
from tests.services.shop import refused


class Worker:
    """An app that answers when it is let to, and counts those that it works on."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.in_flight = 0
        self.most_in_flight = 0
        self.finished = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            if scope["path"] == "/defect":
                raise ZeroDivisionError
            if scope["path"] == "/slow":
                await self.let.wait()
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
    """Lets everyone go on who can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_so_many_and_no_more(client: httpx.AsyncClient, worker: Worker) -> None:
    """Two are worked on, three wait, and the rest hears at once to come back; those that wait are served in the end."""
    asked = [asyncio.create_task(client.get("/slow")) for _ in range(9)]
    await settle()
    turned_away = [task.result() for task in asked if task.done()]
    assert len(turned_away) == 4
    for response in turned_away:
        refused(response, 503, "overloaded")
        assert response.headers["Retry-After"] == "1"
    worker.let.set()
    answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers].count(204) == 5
    assert (worker.most_in_flight, worker.finished) == (2, 5)


async def test_probes_come_in(client: httpx.AsyncClient, worker: Worker) -> None:
    """A process that has too much to do still says that it lives."""
    asked = [asyncio.create_task(client.get("/slow")) for _ in range(9)]
    await settle()
    for path in "/healthz", "/readyz":
        assert (await client.get(path)).status_code == 204
    worker.let.set()
    await asyncio.gather(*asked)


async def test_nobody_waits_for_long(worker: Worker) -> None:
    """Who has waited for a while is turned away; a caller that was not served in time does not wait any more either."""
    app = LoadLimit(worker, max_concurrent=1, max_waiting=3, max_wait_seconds=0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
        first = asyncio.create_task(client.get("/slow"))
        await settle()
        refused(await client.get("/slow"), 503, "overloaded")
        worker.let.set()
        assert (await first).status_code == 204


@pytest.mark.parametrize("when", ["working", "waiting"])
async def test_places_are_given_back(client: httpx.AsyncClient, worker: Worker, when: str) -> None:
    """Requests that fail, or are cancelled while they are worked on or wait, leave their places to others."""
    for _ in range(10):
        with pytest.raises(ZeroDivisionError):
            await client.get("/defect")
        asked = [asyncio.create_task(client.get("/slow")) for _ in range(5)]
        await settle()
        first, last = asked[:2], asked[2:]
        for task in first if when == "working" else last:
            task.cancel()
        worker.let.set()
        await asyncio.gather(*asked, return_exceptions=True)
        worker.let.clear()
    assert worker.in_flight == 0
    assert (await client.get("/")).status_code == 204


async def test_other_protocols_pass_through(worker: Worker) -> None:
    """Start-up and shut-down take no place."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None: ...

    await LoadLimit(app, max_concurrent=0)({"type": "lifespan"}, receive, send)
    assert seen == ["lifespan"]
