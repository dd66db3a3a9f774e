"""A value that each event loop makes for itself when it first needs it, such as a client with open connections."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from mstoken.per_process import PerProcess

T = TypeVar("T")


class PerLoop(Generic[T]):
    """Makes one value for each event loop that asks. Loops may run in several threads at once.

    When a loop asks for the first time, the values of loops that have been closed are dropped: what they hold cannot be
    used in another loop. A forked child begins without values.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._values: PerProcess[dict[asyncio.AbstractEventLoop, T]] = PerProcess(dict)

    def get(self) -> T:
        """Return the value of the running event loop. Make it if there is none, and raise what making it raises."""
        loop, values = asyncio.get_running_loop(), self._values.get()
        value = values.get(loop)
        if value is None:
            for other in list(values):
                if other.is_closed():
                    values.pop(other, None)
            value = values[loop] = self._make()
        return value

    def peek(self) -> T | None:
        """Return the value of the running event loop, or None if it has not been made."""
        values = self._values.peek()
        return values.get(asyncio.get_running_loop()) if values is not None else None

    def pop(self) -> T | None:
        """Forget the value of the running event loop and return it, or None if it has not been made."""
        values = self._values.peek()
        return values.pop(asyncio.get_running_loop(), None) if values is not None else None
