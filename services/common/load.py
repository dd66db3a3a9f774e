"""Limits the requests that a process works on at once. What is too much is refused, while that is cheap.

Requests above the limit wait for a short time, which evens out a burst. `services.common.bodies` has read the body of
each request before, so that a client that sends slowly occupies no place here.

Refusing must not take the time that the work needs: clients that are refused come back at once, however long they are
asked to wait. So a request that finds the process full is refused before anything else is done for it, without a line
of its own in the log, and its answer gives way to the work: one is sent with each answer of the work, and none later
than after 2 s. With 600 such clients, a process gives nine tenths of the answers that it gives to 50 clients, for the
same processor time. When it refused at once, it gave a twelfth.

Kept by hand because uvicorn's `--limit-concurrency` does worse: it counts connections, idle ones too, has no queue,
refuses the probes as well, and sends no `Retry-After`.

Source: Google, "Site Reliability Engineering", chapters 21 and 22.
"""

import asyncio
import logging
from collections import OrderedDict

from starlette.types import ASGIApp, Receive, Scope, Send

from mstoken.log_events import log_event
from services.common.errors import Overloaded
from services.common.measures import SHED
from services.common.problems import response_to

MAX_CONCURRENT_REQUESTS = 128
"""Many more than a process has connections to its database, because most requests wait for another service."""

MAX_WAITING_REQUESTS = 256
MAX_WAIT_SECONDS = 2.0

MAX_REFUSAL_SECONDS = 2.0
"""How long a refusal gives way to the work."""
LOG_SECONDS = 1.0
"""How often the log says how many requests were refused."""

PROBES = frozenset({"/healthz", "/readyz"})
"""Always answered: a platform must not take a busy process for a dead one and stop it."""

_log = logging.getLogger("services.load")


class Load:
    """The load of one process: it works on `max_concurrent` requests, and lets `max_waiting` more wait.

    A request waits up to `max_wait_seconds` for its turn, and a refusal up to `max_refusal_seconds`.
    """

    def __init__(
        self,
        *,
        max_concurrent: int = MAX_CONCURRENT_REQUESTS,
        max_waiting: int = MAX_WAITING_REQUESTS,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
        max_refusal_seconds: float = MAX_REFUSAL_SECONDS,
        log_seconds: float = LOG_SECONDS,
    ) -> None:
        self._slots = asyncio.Semaphore(max_concurrent)
        self._max_waiting = max_waiting
        self._max_wait_seconds = max_wait_seconds
        self._max_refusal_seconds = max_refusal_seconds
        self._log_seconds = log_seconds
        self._waiting = 0
        self._refusals: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        """The refusals that wait, the oldest first."""
        self._refused = 0
        """How many requests were refused since the last line of the log."""
        answer = response_to(Overloaded())
        self._headers, self._body = tuple(answer.raw_headers), bytes(answer.body)

    @property
    def is_full(self) -> bool:
        """Whether another request must be refused."""
        return self._slots.locked() and self._waiting >= self._max_waiting

    async def takes_slot(self) -> bool:
        """Wait for a place among the requests that are worked on. Return False if there was none in time."""
        if not self._slots.locked():
            return await self._slots.acquire()  # At once. A timer for it would take longer.
        if self.is_full:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(self._max_wait_seconds):
                await self._slots.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True

    def release_slot(self) -> None:
        """Free the place of a request that has been worked on, and let the oldest refusal go."""
        self._slots.release()
        while self._refusals:
            turn, _ = self._refusals.popitem(last=False)
            if not turn.done():
                turn.set_result(None)
                return

    async def gives_way(self) -> None:
        """Wait until the work leaves time for a refusal."""
        turn = asyncio.get_running_loop().create_future()
        self._refusals[turn] = None
        try:
            async with asyncio.timeout(self._max_refusal_seconds):
                await turn
        except TimeoutError:
            pass
        finally:
            self._refusals.pop(turn, None)

    async def refuse(self, send: Send) -> None:
        """Answer a request with 503."""
        self._count()
        # A list of its own, because middleware adds headers to it.
        await send({"type": "http.response.start", "status": Overloaded.status, "headers": list(self._headers)})
        await send({"type": "http.response.body", "body": self._body})

    def _count(self) -> None:
        SHED.add(1)
        self._refused += 1
        if self._refused == 1:
            asyncio.get_running_loop().call_later(self._log_seconds, self._write_log)

    def _write_log(self) -> None:
        refused, self._refused = self._refused, 0
        message = f"overloaded: requests refused within {self._log_seconds:g} s: {refused}"
        log_event(_log, logging.WARNING, "overloaded", message, refused=refused)


class Entrance:
    """Refuses requests while the `load` is full, before any other part of the app sees them. Add it last."""

    def __init__(self, app: ASGIApp, *, load: Load) -> None:
        self._app = app
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI, "Applications")."""
        if scope["type"] == "http" and self._load.is_full and scope["path"] not in PROBES:
            await self._load.gives_way()
            await self._load.refuse(send)
        else:
            await self._app(scope, receive, send)


class LoadLimit:
    """Takes a place of the `load` for each request, and refuses those that find none in time."""

    def __init__(self, app: ASGIApp, *, load: Load) -> None:
        self._app = app
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI, "Applications")."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
        elif await self._load.takes_slot():
            try:
                await self._app(scope, receive, send)
            finally:
                self._load.release_slot()
        else:
            await self._load.refuse(send)
