"""Limits the requests that a process works on at once. What is too much is refused at once, while that is cheap.

Requests above the limit wait for a short time, which evens out a burst. `services.common.bodies` has read the body of
each request before, so that a client that sends slowly occupies no place here.

Kept by hand because uvicorn's `--limit-concurrency` does worse: it counts connections, idle ones too, has no queue,
refuses the probes as well, and sends no `Retry-After`.

Source: Google, "Site Reliability Engineering", chapters 21 and 22.
"""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from services.common.errors import Overloaded
from services.common.problems import response_to

MAX_CONCURRENT_REQUESTS = 128
"""Many more than a process has connections to its database, because most requests wait for another service."""

MAX_WAITING_REQUESTS = 256
MAX_WAIT_SECONDS = 2.0

PROBES = frozenset({"/healthz", "/readyz"})
"""Always answered: a platform must not take a busy process for a dead one and stop it."""


class LoadLimit:
    """Works on `max_concurrent` requests, lets `max_waiting` more wait up to `max_wait_seconds`, and refuses the rest.

    The answer to a refused request is 503.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_concurrent: int = MAX_CONCURRENT_REQUESTS,
        max_waiting: int = MAX_WAITING_REQUESTS,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
    ) -> None:
        self._app = app
        self._slots = asyncio.Semaphore(max_concurrent)
        self._max_waiting = max_waiting
        self._max_wait_seconds = max_wait_seconds
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI, "Applications")."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
        elif await self._takes_slot():
            try:
                await self._app(scope, receive, send)
            finally:
                self._slots.release()
        else:
            await response_to(Overloaded())(scope, receive, send)

    async def _takes_slot(self) -> bool:
        if self._slots.locked() and self._waiting >= self._max_waiting:
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
