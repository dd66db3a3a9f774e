"""services/common/load.py"""

import asyncio
import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.load import Entrance, Load, LoadLimit
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


def limited(app: ASGIApp, load: Load) -> ASGIApp:
    """Return the app behind the limit, and behind the entrance, whose refusals wait for nothing here."""
    return Entrance(LoadLimit(app, load=load), load=load)


@pytest.fixture
def worker() -> Worker:
    """An app."""
    return Worker()


@pytest.fixture
async def client(worker: Worker) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app, which works on two requests at once and lets three wait."""
    app = limited(worker, Load(max_concurrent=2, max_waiting=3, max_wait_seconds=60, max_refusal_seconds=0))
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
    app = limited(worker, Load(max_concurrent=1, max_waiting=3, max_wait_seconds=0, max_refusal_seconds=0))
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


@pytest.mark.parametrize("end", ["served", "cancelled", "refused"])
async def test_a_request_that_has_waited_leaves_its_place_to_another(worker: Worker, end: str) -> None:
    """However the wait of a request ends, another one may wait afterwards."""
    wait_seconds = 0.0 if end == "refused" else 60.0
    load = Load(max_concurrent=1, max_waiting=1, max_wait_seconds=wait_seconds, max_refusal_seconds=0)
    transport = httpx.ASGITransport(app=limited(worker, load))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        for _ in range(3):
            first = asyncio.create_task(client.get("/slow"))
            await settle()
            assert not load.is_full
            second = asyncio.create_task(client.get("/slow"))
            await settle()
            if end == "cancelled":
                second.cancel()
            worker.may_answer.set()
            await asyncio.wait([first, second])
            worker.may_answer.clear()
            assert first.result().status_code == 204
            assert second.cancelled() or second.result().status_code == (503 if end == "refused" else 204)


async def test_the_lifespan_takes_no_slot(worker: Worker) -> None:
    """The start and the end of an app do not count as requests."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None: ...

    await limited(app, Load(max_concurrent=0, max_waiting=0))({"type": "lifespan"}, receive, send)
    assert seen == ["lifespan"]


class Inside:
    """What is between the entrance and the load limit. It records that it has seen a request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.seen: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(scope["path"])
        await self._app(scope, receive, send)


class Overload:
    """An app that works on one request of the test, which holds its only place, with this load."""

    def __init__(self, load: Load) -> None:
        self.worker = Worker()
        self.inside = Inside(LoadLimit(self.worker, load=load))
        self.entrance = Entrance(self.inside, load=load)
        self.answers: list[int] = []
        """The status of each answer, in the order in which they were sent."""
        self.read_bodies = 0

    async def request(self, path: str = "/slow") -> None:
        """Make a request, whose body is counted when the app reads it."""

        async def receive() -> Message:
            self.read_bodies += 1
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.answers.append(message["status"])

        await self.entrance({"type": "http", "path": path}, receive, send)


def refused_in(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Return how many refused requests each line of the log is about."""
    return [record.__dict__["refused"] for record in caplog.records if record.name == "services.load"]


class TestRefusals:
    """Clients that are refused come back at once. Refusing costs next to nothing, and gives way to the work."""

    async def test_nothing_is_done_for_a_request_that_is_refused(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing behind the entrance sees it: its body is not read, its caller is not verified, it has no log line."""
        overload = Overload(Load(max_concurrent=0, max_waiting=0, max_refusal_seconds=0, log_seconds=0.01))
        with caplog.at_level(logging.INFO):
            await asyncio.gather(*(overload.request() for _ in range(100)))
            async with asyncio.timeout(30):
                while sum(refused_in(caplog)) < 100:  # noqa: ASYNC110 - the log has no event for a new line
                    await asyncio.sleep(0.01)
        assert overload.answers == [503] * 100
        assert (overload.inside.seen, overload.read_bodies, overload.worker.max_in_flight) == ([], 0, 0)
        assert len(refused_in(caplog)) < 100

    async def test_a_refusal_waits_for_an_answer_of_the_work(self) -> None:
        """While the work goes on, as many refusals are sent as answers, the oldest first."""
        overload = Overload(Load(max_concurrent=2, max_waiting=0, max_refusal_seconds=60))
        working = [asyncio.create_task(overload.request()) for _ in range(2)]
        await settle()
        refused = [asyncio.create_task(overload.request()) for _ in range(50)]
        await settle()
        assert overload.answers == []
        overload.worker.may_answer.set()
        await asyncio.gather(*working)
        await settle()
        assert overload.answers == [204, 204, 503, 503]
        assert [task.done() for task in refused] == [True] * 2 + [False] * 48
        for _ in range(48):
            await overload.request("/quick")
        await asyncio.gather(*refused)
        assert overload.answers.count(204) == overload.answers.count(503) == 50

    async def test_a_refusal_waits_for_a_limited_time(self) -> None:
        """If the work takes long, the clients are still told that they must come back later."""
        overload = Overload(Load(max_concurrent=1, max_waiting=0, max_refusal_seconds=0.01))
        working = asyncio.create_task(overload.request())
        await settle()
        await asyncio.gather(*(overload.request() for _ in range(10)))
        assert overload.answers == [503] * 10
        overload.worker.may_answer.set()
        await working

    async def test_refusals_that_have_ended_are_not_kept(self) -> None:
        """While the work is stuck, any number of clients is refused, and nothing is left of them."""
        load = Load(max_concurrent=1, max_waiting=0, max_refusal_seconds=0.01)
        overload = Overload(load)
        working = asyncio.create_task(overload.request())
        await settle()
        await asyncio.gather(*(overload.request() for _ in range(10)))
        gone = asyncio.create_task(overload.request())
        await settle()
        gone.cancel()
        await asyncio.wait({gone})
        assert not working.done()
        assert len(load._refusals) == 0
        overload.worker.may_answer.set()
        await working

    async def test_work_keeps_its_share(self) -> None:
        """However many clients come back at once, a client that is admitted gets its answer."""
        overload = Overload(Load(max_concurrent=4, max_waiting=4, max_refusal_seconds=60))
        overload.worker.may_answer.set()

        async def come_back() -> None:
            while overload.worker.finished < 500:
                await overload.request("/quick")

        await asyncio.gather(*(come_back() for _ in range(300)))
        assert overload.answers.count(503) <= overload.answers.count(204)

    async def test_a_client_that_leaves_takes_no_turn(self) -> None:
        """A refusal whose client has gone does not hold up the others."""
        overload = Overload(Load(max_concurrent=1, max_waiting=0, max_refusal_seconds=60))
        working = asyncio.create_task(overload.request())
        await settle()
        gone, waiting = (asyncio.create_task(overload.request()) for _ in range(2))
        await settle()
        gone.cancel()
        await settle()
        overload.worker.may_answer.set()
        await asyncio.gather(working, waiting)
        assert overload.answers == [204, 503]
