"""No more work than a process can do: what is too much is turned away at once, while that is still cheap.

Requests beyond what is worked on wait a little, which evens out a burst, and before their bodies are read, so that
what they cost stays small. uvicorn's own `--limit-concurrency` counts connections, the idle ones too, has no queue,
turns the probes away as well, and does not say when to come back.

Source: Google, "Site Reliability Engineering", chapters 21 and 22.
"""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from services.common.errors import Overloaded
from services.common.problems import response_to

AT_ONCE = 128
"""Many more than a process has connections to its database, since most requests wait for another service."""

WAITING = 256
WAIT_SECONDS = 2.0

PROBES = frozenset({"/healthz", "/readyz"})
"""Always let in: a process that is busy is not to be taken for a dead one, and killed."""


class LoadLimit:
    """Works on `at_once` requests, lets `waiting` more wait for `wait_seconds`, and answers 503 to all others."""

    def __init__(
        self, app: ASGIApp, *, at_once: int = AT_ONCE, waiting: int = WAITING, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._app = app
        self._places = asyncio.Semaphore(at_once)
        self._most_waiting = waiting
        self._wait_seconds = wait_seconds
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI, "Applications"."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
        elif await self._comes_in():
            try:
                await self._app(scope, receive, send)
            finally:
                self._places.release()
        else:
            await response_to(Overloaded())(scope, receive, send)

    async def _comes_in(self) -> bool:
        if self._places.locked() and self._waiting >= self._most_waiting:
            return False
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._places.acquire()
        except TimeoutError:
            return False
        finally:
            self._waiting -= 1
        return True
