"""A verifier or a token service for code without an event loop."""

import threading

import pytest

from mstoken.in_background import InBackground


class Counter:
    """A resource that counts how often it was opened and closed, and in which thread it works."""

    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[str] = []
        self._error = error

    async def open(self) -> None:
        self.events.append("open")
        if self._error is not None:
            raise self._error

    async def aclose(self) -> None:
        self.events.append("closed")

    async def thread(self) -> str:
        return threading.current_thread().name


def test_the_work_runs_in_the_background() -> None:
    """The resource is opened at its first use, and all work on it runs in one thread of its own."""
    counter = Counter()
    running = InBackground(lambda: counter, "a counter")
    assert counter.events == []
    assert [running.run(Counter.thread) for _ in range(2)] == ["a counter"] * 2
    assert counter.events == ["open"]
    running.close()
    assert counter.events == ["open", "closed"]
    assert "a counter" not in {thread.name for thread in threading.enumerate()}


def test_a_closed_resource_begins_anew() -> None:
    """After it was closed, the next use makes and opens another one."""
    made: list[Counter] = []

    def make() -> Counter:
        made.append(Counter())
        return made[-1]

    running = InBackground(make, "a counter")
    running.close()
    for _ in range(2):
        running.run(Counter.thread)
        running.close()
    assert [counter.events for counter in made] == [["open", "closed"]] * 2


def test_a_resource_that_cannot_be_opened_leaves_no_thread_behind() -> None:
    """It is closed, the error is that of opening it, and the next use tries again."""
    counter = Counter(ValueError("no settings"))
    running = InBackground(lambda: counter, "a counter")
    for _ in range(2):
        with pytest.raises(ValueError, match="no settings"):
            running.run(Counter.thread)
    assert counter.events == ["open", "closed"] * 2
    assert "a counter" not in {thread.name for thread in threading.enumerate()}
