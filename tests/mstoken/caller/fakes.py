"""Firebase and its delays for the tests of the caller's wing."""

import asyncio
import json
import queue
import threading
from collections.abc import Awaitable, Callable, Iterable

import httpx

from mstoken import ServiceIdentity
from mstoken.claims import ServiceClaims
from mstoken.strict_jwt import unverified
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock

DEADLINE_SECONDS = 30.0
"""After how long a test that waits in vain gives up."""


class Scripted:
    """A server that gives these answers in turn, and keeps what it was asked."""

    def __init__(self, answers: Iterable[httpx.Response | httpx.HTTPError]) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = iter(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, httpx.HTTPError):
            raise answer
        return answer


class ProjectMinter:
    """Mints custom tokens for one fake project."""

    def __init__(self, firebase: FakeFirebase) -> None:
        self._firebase = firebase

    async def mint(self, client: httpx.AsyncClient, claims: ServiceClaims) -> str:
        return self._firebase.mint(claims)


class Door(httpx.AsyncBaseTransport):
    """Signs in to a fake project. While it is shut those who come wait; while there is a `fault` it is raised.

    `asked` counts who came. `wait_for_asked` and `wait_for_ended` wait for so many more: to come, and for the work that
    they came for to have ended.
    """

    def __init__(self, firebase: FakeFirebase) -> None:
        self.fault: Exception | None = None
        self.asked = 0
        self._firebase = firebase
        self._shut = False
        self._waiting: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked = threading.Semaphore(0)
        self._ended = threading.Semaphore(0)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._loop = asyncio.get_running_loop()
        working = asyncio.current_task()
        assert working is not None
        working.add_done_callback(lambda _: self._ended.release())
        self.asked += 1
        self._asked.release()
        if self._shut:
            opened = asyncio.Event()
            self._waiting.add(opened)
            await opened.wait()
        if self.fault is not None:
            raise self.fault.with_traceback(None)  # which else grows with every time
        custom = unverified(json.loads(request.content)["token"]).payload
        token = self._firebase.issue(custom["uid"], provider="custom", **custom["claims"])
        return httpx.Response(200, json={"idToken": token, "refreshToken": "thrown-away", "expiresIn": "3600"})

    def shut(self) -> None:
        self._shut = True

    def open(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._open)

    def wait_for_asked(self, number: int) -> None:
        for _ in range(number):
            assert self._asked.acquire(timeout=DEADLINE_SECONDS)

    def wait_for_ended(self, number: int) -> None:
        for _ in range(number):
            assert self._ended.acquire(timeout=DEADLINE_SECONDS)

    def _open(self) -> None:
        self._shut = False
        for opened in self._waiting:
            opened.set()
        self._waiting.clear()


class ThreadedSleep:
    """Sleeps in whichever event loop, until a test in another thread says so; gives for how long it was asked to."""

    def __init__(self) -> None:
        self._asked_seconds: queue.Queue[float] = queue.Queue()
        self._asleep: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def __call__(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._asleep.append((asyncio.get_running_loop(), woken))
        self._asked_seconds.put(seconds)
        await woken.wait()

    def wait(self) -> float:
        """Waits until somebody sleeps who was not known to."""
        return self._asked_seconds.get(timeout=DEADLINE_SECONDS)

    def wake(self) -> None:
        asleep, self._asleep = self._asleep, []
        for loop, woken in asleep:
            loop.call_soon_threadsafe(woken.set)


class Project:
    """A Firebase behind a door, a clock that stands still, and the identity `svc:billing`."""

    def __init__(self, sleep: Callable[[float], Awaitable[object]] | None = None) -> None:
        self.clock = FakeClock()
        self.sleep = ThreadedSleep()
        self.firebase = FakeFirebase(clock=self.clock)
        self.door = Door(self.firebase)
        self.identity = ServiceIdentity(
            "billing",
            self.firebase.settings(),
            minter=ProjectMinter(self.firebase),
            transport=self.door,
            clock=self.clock,
            sleep=sleep or self.sleep,
        )

    def fill_stock(self) -> int:
        """Two calls that come a second apart, until what they ordered is in stock; gives how many tokens that are."""
        for _ in range(2):
            self.identity.token_sync("product")
            self.clock.advance(1)
        self.door.wait_for_asked(2 + 3)
        self.door.wait_for_ended(2 + 3)
        return 3


def claims_of(token: str) -> ServiceClaims:
    return ServiceClaims.parse(unverified(token).payload)


def ids_of(tokens: list[str]) -> set[str | None]:
    """The one-time ids of fresh tokens."""
    return {claims_of(token).token_id for token in tokens}
