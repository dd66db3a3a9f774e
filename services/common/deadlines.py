"""Deadlines: every part of the work on a request knows when its caller stops waiting, in every service on the way.

A call carries the milliseconds that its caller still waits in `X-Envoy-Expected-Rq-Timeout-Ms`. Envoy sends this header
to the servers behind it, so a mesh can set it as well, and Envoy removes it from requests that arrive from outside. It
carries a duration and not a time of day, as gRPC's `grpc-timeout` does, because clocks differ. A caller that sends it
can only shorten its own time.

Source: Envoy, "HTTP header manipulation", x-envoy-expected-rq-timeout-ms; gRPC, "Deadlines".
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.common.errors import DeadlineExceeded
from services.common.middleware import header
from services.common.problems import response_to

DEADLINE_HEADER = "X-Envoy-Expected-Rq-Timeout-Ms"
MAX_REQUEST_SECONDS = 30.0
"""Maximum time for any request, with or without the header, in seconds."""

_DEADLINE = DEADLINE_HEADER.lower().encode()
_MILLISECONDS = re.compile(r"[0-9]{1,9}")


class Deadline:
    """The end of the time for a piece of work: `at`, in seconds of the event loop's clock."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.has_expired = False
        """Whether the work was ended because of this deadline."""


class TimeIsOver(Exception):
    """A part of the work was about to begin after the end of the whole, `deadline`.

    It is not a TimeoutError, so that the part does not look as if it had used up time of its own. The `within` that
    `deadline` belongs to turns it into one.
    """

    def __init__(self, deadline: Deadline) -> None:
        super().__init__("the time for this work is over")
        self.deadline = deadline


_deadline: ContextVar[Deadline] = ContextVar("deadline", default=Deadline(math.inf))  # noqa: B039 - it never expires


def remaining_seconds() -> float:
    """Return the seconds left for the work under way; infinity if it has no deadline."""
    return _deadline.get().at - asyncio.get_running_loop().time()


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[Deadline]:
    """Cancel the block after `seconds`, and raise TimeoutError then.

    A surrounding `within` may end sooner. Then that one cancels the block and raises TimeoutError; this one raises
    nothing of its own. If the surrounding time is over already, the block does not begin.
    """
    now = asyncio.get_running_loop().time()
    outer = _deadline.get()
    if outer.at <= now:
        raise TimeIsOver(outer)
    own = Deadline(now + seconds)
    is_sooner = own.at < outer.at
    token = _deadline.set(own if is_sooner else outer)
    try:
        async with asyncio.timeout_at(own.at if is_sooner else None) as timeout:
            yield own
    except TimeIsOver as error:
        if error.deadline is not own:
            raise
        own.has_expired = True
        raise TimeoutError from error
    except TimeoutError:
        own.has_expired = timeout.expired()
        raise
    finally:
        _deadline.reset(token)


class DeadlineLimit:
    """Answers 504 to a request when its time is over, and cancels the work on it.

    A request that arrives without any time left is not worked on.
    """

    def __init__(self, app: ASGIApp, *, max_seconds: float = MAX_REQUEST_SECONDS) -> None:
        self._app = app
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection (ASGI, "Applications")."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seconds = min(_announced_seconds(scope), self._max_seconds)
        if seconds <= 0 or not await self._answers_within(seconds, scope, receive, send):
            await response_to(DeadlineExceeded())(scope, receive, send)

    async def _answers_within(self, seconds: float, scope: Scope, receive: Receive, send: Send) -> bool:
        """Return False if no answer was begun in time. Raise TimeoutError if an answer was begun and not finished."""
        has_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        deadline: Deadline | None = None
        try:
            async with within(seconds) as deadline:
                await self._app(scope, receive, send_and_note)
        except TimeoutError:
            if has_begun or deadline is None or not deadline.has_expired:
                raise
            return False
        return True


def _announced_seconds(scope: Scope) -> float:
    """Return the seconds that the caller still waits; infinity if it does not say, or not in a form we understand."""
    announced = header(scope, _DEADLINE)
    return int(announced) / 1000 if _MILLISECONDS.fullmatch(announced) else math.inf
