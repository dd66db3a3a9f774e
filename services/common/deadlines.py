"""Until when an answer is worth anything: it is known to everything that works on it, in every service on the way.

A call carries the milliseconds that are left of its caller's time in `X-Envoy-Expected-Rq-Timeout-Ms`. That is what
Envoy tells the servers behind it, so that a mesh can set it as well, and drops from requests of strangers at its edge;
milliseconds that are left and no time of day, as in gRPC's `grpc-timeout`, since clocks differ. Whoever sends it can
only shorten their own time.

Source: Envoy, "HTTP header manipulation", x-envoy-expected-rq-timeout-ms; gRPC, "Deadlines".
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.faults import DeadlineExceeded
from services.common.problems import fault_response

DEADLINE_HEADER = "X-Envoy-Expected-Rq-Timeout-Ms"
MOST_SECONDS = 30.0
"""How long any request may take, also one without the header."""

_MILLISECONDS = re.compile(r"[0-9]{1,9}")
_ends_at: ContextVar[float] = ContextVar("ends_at", default=math.inf)
"""By the event loop's clock."""


def remaining_seconds() -> float:
    """How much time the work has that is being done just now; infinite where nobody waits for it."""
    return _ends_at.get() - asyncio.get_running_loop().time()


GRACE_SECONDS = 0.05


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Cancels what is done in it after `seconds`, and raises TimeoutError then.

    If what it is part of has less time than that, it ends with that, from outside, as a cancellation.
    """
    if remaining_seconds() <= 0:
        # The time of what this is part of is over, which is about to be told from outside: no time-out of our own.
        await asyncio.sleep(GRACE_SECONDS)
        raise TimeoutError
    own = asyncio.get_running_loop().time() + seconds
    outer = _ends_at.get()
    token = _ends_at.set(min(own, outer))
    try:
        async with asyncio.timeout_at(own if own < outer else None) as timeout:
            yield timeout
    finally:
        _ends_at.reset(token)


class DeadlineLimit:
    """Answers 504 to a request whose time is over: without starting on it, or else its work is cancelled."""

    def __init__(self, app: ASGIApp, *, most_seconds: float = MOST_SECONDS) -> None:
        self._app = app
        self._most_seconds = most_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI, "Applications"."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seconds = min(_announced_seconds(Headers(scope=scope)), self._most_seconds)
        if seconds <= 0 or not await self._answered_within(seconds, scope, receive, send):
            await fault_response(DeadlineExceeded())(scope, receive, send)

    async def _answered_within(self, seconds: float, scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether an answer was begun in time. Raises TimeoutError where it was not brought to its end."""
        begun = False

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        timeout: asyncio.Timeout | None = None
        try:
            async with within(seconds) as timeout:
                await self._app(scope, receive, send_noting)
        except TimeoutError:
            if begun or timeout is None or not timeout.expired():
                raise
            return False
        return True


def _announced_seconds(headers: Headers) -> float:
    """What the caller gives; without end where it says nothing, or nothing that can be understood."""
    announced = headers.get(DEADLINE_HEADER, "")
    return int(announced) / 1000 if _MILLISECONDS.fullmatch(announced) else math.inf
