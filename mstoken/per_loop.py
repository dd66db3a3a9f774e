"""A value that each event loop makes for itself when it first needs it, such as a client with open connections."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, NamedTuple, TypeVar

from mstoken.per_process import PerProcess

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Makes one value for each event loop that asks. Loops may run in several threads at once.

    When a loop asks for the first time, the values of loops that have been closed are dropped: what they hold cannot be
    used in another loop. A forked child begins without values.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[object]] | None = None) -> None:
        """`close` is called with a value when its loop ends, or when `aclose` is called there."""
        self._make = make
        self._close = close
        self._values: PerProcess[dict[asyncio.AbstractEventLoop, _Made[T]]] = PerProcess(dict)

    def get(self) -> T:
        """Return the value of the running event loop. Make it if there is none, and raise what making it raises."""
        loop, values = asyncio.get_running_loop(), self._values.get()
        made = values.get(loop)
        if made is None:
            for other in list(values):
                if other.is_closed():
                    values.pop(other, None)
            value = self._make()
            made = values[loop] = _Made(value, self._close_at_the_end(value))
        return made.value

    def peek(self) -> T | None:
        """Return the value of the running event loop, or None if it has not been made."""
        made = (self._values.peek() or {}).get(asyncio.get_running_loop())
        return made.value if made is not None else None

    def pop(self) -> T | None:
        """Forget the value of the running event loop and return it, or None if it has not been made."""
        made = (self._values.peek() or {}).pop(asyncio.get_running_loop(), None)
        return made.value if made is not None else None

    async def aclose(self) -> None:
        """Close the value of the running event loop, if it has been made. The next `get` makes another one."""
        made = (self._values.peek() or {}).pop(asyncio.get_running_loop(), None)
        if made is not None and made.end is not None:
            await made.end.aclose()

    def _close_at_the_end(self, value: T) -> AsyncGenerator[None, None] | None:
        """Return a generator that closes `value` when it is closed itself, at the latest at the end of its loop.

        An event loop closes the generators that were begun in it before it ends (PEP 525, "Asynchronous Generators").
        So no connection outlives a loop that ends without closing the value, such as those of tests.
        """
        if self._close is None:
            return None
        end = _closing(value, self._close)
        with suppress(StopIteration):  # It has begun, and waits at its `yield`.
            anext(end).__await__().send(None)
        return end


class _Made(NamedTuple, Generic[T]):
    """The value of one event loop, and the generator that closes it."""

    value: T
    end: AsyncGenerator[None, None] | None


async def _closing(value: T, close: Callable[[T], Awaitable[object]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await close(value)
