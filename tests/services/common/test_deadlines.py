"""services/common/deadlines.py"""

import asyncio
import math
import time

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.deadlines import DEADLINE_HEADER, DeadlineLimit, TimeIsOver, remaining_seconds, within
from tests.services.shop import refused


class Worker:
    """An app that answers when `may_answer` is set. With `begins`, it begins its answer before that."""

    def __init__(self, *, begins: bool = False) -> None:
        self.begins = begins
        self.may_answer = asyncio.Event()
        self.started = 0
        self.cancelled = 0
        self.remaining = math.nan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.started += 1
        self.remaining = remaining_seconds()
        if self.begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})


async def get(app: ASGIApp, milliseconds: str | None = None) -> httpx.Response:
    headers = {} if milliseconds is None else {DEADLINE_HEADER: milliseconds}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
        return await client.get("/", headers=headers)


@pytest.mark.parametrize(
    ("announced", "most"),
    [("5000", 5), ("90000", 30), (None, 30), ("", 30), ("soon", 30), ("-1", 30), ("1.5", 30), ("9" * 20, 30)],
)
async def test_the_time_of_a_request(announced: str | None, most: float) -> None:
    """A request has the time that its caller announces, up to 30 s. An announcement that is not valid is ignored."""
    worker = Worker()
    worker.may_answer.set()
    assert (await get(DeadlineLimit(worker), announced)).status_code == 204
    assert most - 2 < worker.remaining <= most


async def test_a_request_without_time_is_not_worked_on() -> None:
    """A request whose caller has no time left is answered with 504 at once."""
    worker = Worker()
    refused(await get(DeadlineLimit(worker), "0"), 504, "deadline_exceeded")
    assert worker.started == 0


async def test_work_is_cancelled_at_the_deadline() -> None:
    """When the time is over the work is cancelled, and the answer is 504."""
    worker = Worker()
    refused(await get(DeadlineLimit(worker), "1"), 504, "deadline_exceeded")
    assert (worker.started, worker.cancelled) == (1, 1)


async def test_every_request_has_a_deadline() -> None:
    """A request without the header has a deadline too."""
    worker = Worker()
    refused(await get(DeadlineLimit(worker, max_seconds=0.001)), 504, "deadline_exceeded")
    assert worker.cancelled == 1


async def test_an_answer_that_has_begun_is_not_replaced() -> None:
    """If the time is over in the middle of an answer, the answer ends with an error, and no second one follows."""
    with pytest.raises(TimeoutError):
        await get(DeadlineLimit(Worker(begins=True)), "1")


async def test_a_timeout_error_of_the_app_is_a_defect() -> None:
    """A TimeoutError that the app raises before the deadline is not answered with 504."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError("another one")

    with pytest.raises(TimeoutError, match="another one"):
        await get(DeadlineLimit(app), "5000")


async def test_the_deadline_ends_with_its_request() -> None:
    """Work after the request, or beside it, has no deadline."""
    worker = Worker()
    worker.may_answer.set()
    await get(DeadlineLimit(worker), "5000")
    assert remaining_seconds() == math.inf


async def test_the_lifespan_has_no_deadline() -> None:
    """The start and the end of an app may take any time."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])
        assert remaining_seconds() == math.inf

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None: ...

    await DeadlineLimit(app)({"type": "lifespan"}, receive, send)
    assert seen == ["lifespan"]


async def test_the_sooner_of_two_deadlines_counts() -> None:
    """A part has its own time, but no more than the whole. Afterwards the whole has the time that is left."""
    async with within(1000):
        async with within(500):
            assert 400 < remaining_seconds() <= 500
        async with within(2000):
            assert 900 < remaining_seconds() <= 1000
        assert 900 < remaining_seconds() <= 1000
    assert remaining_seconds() == math.inf


async def test_the_owner_of_the_deadline_raises_timeout_error() -> None:
    """If a part's own time is over, it raises TimeoutError. If that of the whole is over, the part is cancelled."""
    ends: list[type[BaseException]] = []

    async def part(seconds: float) -> None:
        try:
            async with within(seconds):
                await asyncio.Event().wait()
        except (TimeoutError, asyncio.CancelledError) as error:
            ends.append(type(error))
            raise

    with pytest.raises(TimeoutError):
        async with within(10):
            await part(0.001)
    with pytest.raises(TimeoutError):
        async with within(0.001):
            await part(10)
    assert ends == [TimeoutError, asyncio.CancelledError]


async def test_a_part_that_would_begin_too_late_ends_the_whole() -> None:
    """A part that would begin after the end of the whole does not begin. The whole raises TimeoutError, the part not.

    The time-out of the whole has had no chance to fire: the event loop was blocked until after it was due.
    """
    ends: list[str] = []
    async with within(10) as longest:
        with pytest.raises(TimeoutError):  # noqa: PT012 - the time is over between two statements
            async with within(0.001) as whole:
                time.sleep(0.002)  # noqa: ASYNC251 - blocks the event loop on purpose
                try:
                    async with within(5):
                        ends.append("began")
                except TimeoutError:
                    ends.append("the part's own time is over")
    assert ends == []
    assert (whole.has_expired, longest.has_expired) == (True, False)


async def test_a_request_whose_parts_begin_too_late_is_answered() -> None:
    """The deadline of a request that blocked the event loop is the request's, so the answer is 504."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        time.sleep(0.002)  # noqa: ASYNC251 - blocks the event loop on purpose
        async with within(5):
            raise AssertionError("unreachable")

    refused(await get(DeadlineLimit(app), "1"), 504, "deadline_exceeded")


async def test_nothing_begins_in_another_task_when_the_time_is_over() -> None:
    """A task that the work left behind is not cancelled with it, and begins nothing more."""
    begun: list[str] = []

    async def straggler(start: asyncio.Event) -> None:
        await start.wait()
        async with within(5):
            begun.append("work")

    start = asyncio.Event()
    with pytest.raises(TimeoutError):  # noqa: PT012 - the time is over between two statements
        async with within(0.001):
            task = asyncio.create_task(straggler(start))
            await asyncio.Event().wait()
    start.set()
    with pytest.raises(TimeIsOver):
        await task
    assert begun == []
