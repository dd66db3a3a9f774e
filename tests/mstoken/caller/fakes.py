"""Fakes of Firebase, of the network and of time for the tests of callers."""

import asyncio
import json
import queue
import threading
from collections.abc import Awaitable, Callable, Iterable

import httpx
from typing_extensions import override

from mstoken import ServiceIdentity
from mstoken.caller.connections import Connections
from mstoken.caller.minting import Minter
from mstoken.claims import ServiceClaims
from mstoken.strict_jwt import unverified
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock

DEADLINE_SECONDS = 30.0
"""Maximum time that a test waits for something to happen."""


class Scripted:
    """A server that gives these answers in turn, and keeps the requests."""

    def __init__(self, answers: Iterable[httpx.Response | httpx.HTTPError]) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = iter(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, httpx.HTTPError):
            raise answer
        return answer


class RecordedSleep:
    """A sleep that takes no time. It keeps the seconds that it was asked for."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)


class FakeMinter(Minter):
    """Mints custom tokens for a fake project."""

    def __init__(self, firebase: FakeFirebase) -> None:
        self._firebase = firebase

    @override
    async def mint(self, connections: Connections, claims: ServiceClaims) -> str:
        return self._firebase.mint(claims)


class SignInTransport(httpx.AsyncBaseTransport):
    """A network in which only a fake project answers sign-ins. A test can hold the answers back.

    `requests` counts the sign-ins. While `error` is set, it is raised. `wait_for_requests` waits until so many more
    sign-ins have come, `wait_for_ends` until the tasks of so many more have ended.
    """

    def __init__(self, firebase: FakeFirebase) -> None:
        self.error: Exception | None = None
        self.requests = 0
        self._firebase = firebase
        self._is_held = False
        self._waiting: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._request = threading.Semaphore(0)
        self._end = threading.Semaphore(0)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        task.add_done_callback(lambda _: self._end.release())
        self.requests += 1
        self._request.release()
        if self._is_held:
            released = asyncio.Event()
            self._waiting.add(released)
            await released.wait()
        if self.error is not None:
            raise self.error.with_traceback(None)  # otherwise its traceback grows each time
        custom = unverified(json.loads(request.content)["token"]).payload
        token = self._firebase.issue(custom["uid"], provider="custom", **custom["claims"])
        return httpx.Response(200, json={"idToken": token, "refreshToken": "dropped", "expiresIn": "3600"})

    def hold(self) -> None:
        """Hold back the answers from now on."""
        self._is_held = True

    def release(self) -> None:
        """Give the answers that were held back, and all later ones."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._release)

    def answer_new_ones(self) -> None:
        """Answer from now on, and go on holding back what has been held back until now."""
        self._is_held = False

    def wait_for_requests(self, number: int) -> None:
        for _ in range(number):
            assert self._request.acquire(timeout=DEADLINE_SECONDS)

    def wait_for_ends(self, number: int) -> None:
        for _ in range(number):
            assert self._end.acquire(timeout=DEADLINE_SECONDS)

    def _release(self) -> None:
        self._is_held = False
        for released in self._waiting:
            released.set()
        self._waiting.clear()


class ThreadedSleep:
    """A sleep in any event loop that lasts until a test in another thread ends it."""

    def __init__(self) -> None:
        self._seconds: queue.Queue[float] = queue.Queue()
        self._asleep: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def __call__(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._asleep.append((asyncio.get_running_loop(), woken))
        self._seconds.put(seconds)
        await woken.wait()

    def wait(self) -> float:
        """Wait until the next sleep begins, and return its seconds."""
        return self._seconds.get(timeout=DEADLINE_SECONDS)

    def wake(self) -> None:
        asleep, self._asleep = self._asleep, []
        for loop, woken in asleep:
            loop.call_soon_threadsafe(woken.set)


class Project:
    """A fake project, a clock that a test moves, and the identity `svc:billing`, which signs in to the project."""

    def __init__(self, sleep: Callable[[float], Awaitable[object]] | None = None) -> None:
        self.clock = FakeClock()
        self.sleep = ThreadedSleep()
        self.firebase = FakeFirebase(clock=self.clock)
        self.transport = SignInTransport(self.firebase)
        self.identity = ServiceIdentity(
            "billing",
            self.firebase.settings(),
            minter=FakeMinter(self.firebase),
            transport=self.transport,
            clock=self.clock,
            sleep=sleep or self.sleep,
        )

    def fill_stock(self) -> int:
        """Make two calls, a second apart, and wait until the stock is full. Return the number of tokens in it."""
        for _ in range(2):
            self.identity.token_sync("product")
            self.clock.advance(1)
        self.transport.wait_for_requests(2 + 3)
        self.transport.wait_for_ends(2 + 3)
        return 3


def claims_of(token: str) -> ServiceClaims:
    return ServiceClaims.parse(unverified(token).payload)


def ids_of(tokens: list[str]) -> set[str | None]:
    """Return the ids of fresh tokens."""
    return {claims_of(token).token_id for token in tokens}
