"""A verifier or a token service for code without an event loop: it runs in a background thread of each process."""

from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

from mstoken.background import Background
from mstoken.per_process import PerProcess

T = TypeVar("T")


class Opened(Protocol):
    """What is opened before it is used, and closed afterwards, in one event loop."""

    async def open(self) -> object:
        """Begin the background work."""
        ...

    async def aclose(self) -> object:
        """End the background work."""
        ...


Resource = TypeVar("Resource", bound=Opened)


class InBackground(Generic[Resource]):
    """A resource that runs in a background event loop, for all threads of a process.

    Each process makes and opens it at its first use: firebase-tools imports functions without any settings, and
    gunicorn forks after the import.
    """

    def __init__(self, make: Callable[[], Resource], name: str) -> None:
        """`make` returns the resource. `name` is the name of the thread."""
        self._make = make
        self._name = name
        self._opened = PerProcess(self._open)

    def run(self, work: Callable[[Resource], Coroutine[Any, Any, T]]) -> T:
        """Run `work` on the resource in the background loop, and return its result."""
        background, resource = self._opened.get()
        return background.submit(work(resource)).result()

    def close(self) -> None:
        """Close the resource of this process, if it was made, and end its thread. The next use begins anew."""
        if opened := self._opened.pop():
            background, resource = opened
            background.close(resource.aclose())

    def _open(self) -> tuple[Background, Resource]:
        resource = self._make()
        background = Background(self._name)
        try:
            background.submit(resource.open()).result()
        except BaseException:
            background.close(resource.aclose())
            raise
        return background, resource
