"""The journal: the records in the logs of all processes, followed while they are written, as events.

It looks at the logs several times a second, in one thread. The standard library has nothing that tells when a file
grows, and a look at a file that has not grown costs a few microseconds.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from emulator.run.events import E, Event, event_of
from emulator.run.log_records import record_in

WATCHED_POLL_SECONDS = 0.2
"""How often to look at the logs while a page is open."""
UNWATCHED_POLL_SECONDS = 1.0
"""How often to look at the logs while no page is open, so that charts have their history."""
KEPT_EVENTS = 5_000
"""How many events of each kind are kept. Many calls do not push out the few sign-ins of proof mode."""
MAX_READ_BYTES = 8 * 2**20
"""How much of a log is read at a time, and how far the journal may fall behind. What is older is left out."""
MAX_LINE_BYTES = 64 * 2**10
"""A longer line is left out. Records are much shorter."""
WAITING_BATCHES = 50
"""How many batches of events may wait for a slow subscriber. Then the oldest ones are dropped."""


class FollowedFile:
    """A log file that is read as it grows.

    Several processes may write into it. A line is complete when its line break is there. If the file becomes shorter or
    another file takes its place, it is read from its beginning.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._inode = 0
        self._incomplete = b""
        self._skips = False

    def new_lines(self) -> list[str]:
        """Return the lines that were completed since the last call."""
        try:
            found = self._path.stat()
        except OSError:
            return []
        if found.st_ino != self._inode or found.st_size < self._position:
            self._inode, self._position, self._incomplete, self._skips = found.st_ino, 0, b"", False
        if found.st_size == self._position:
            return []
        if found.st_size - self._position > MAX_READ_BYTES:
            self._position = found.st_size - MAX_READ_BYTES
            self._incomplete, self._skips = b"", True
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                read = file.read(MAX_READ_BYTES)
        except OSError:
            return []
        self._position += len(read)
        *complete, rest = read.split(b"\n")
        if complete:
            complete[0] = self._incomplete + complete[0]
            self._incomplete = b""
            if self._skips:
                del complete[0]
                self._skips = False
        self._incomplete += rest
        if len(self._incomplete) > MAX_LINE_BYTES:
            self._incomplete, self._skips = b"", True
        return [line.decode(errors="replace") for line in complete if len(line) <= MAX_LINE_BYTES]


class Subscription:
    """Batches of new events, for one page that is open. Iterate over it in the event loop that it was made in."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._batches: deque[Sequence[Event]] = deque(maxlen=WAITING_BATCHES)
        self._arrived = asyncio.Event()
        self._is_closed = False

    def put(self, batch: Sequence[Event]) -> None:
        """Add a batch. May be called from any thread."""
        self._call_soon(lambda: self._batches.append(batch))

    def close(self) -> None:
        """End the iteration. May be called from any thread."""

        def end() -> None:
            self._is_closed = True

        self._call_soon(end)

    async def next(self, timeout_seconds: float | None = None) -> Sequence[Event] | None:
        """Return the next batch, an empty one if none comes in this time, and None after the end."""
        if not self._batches and not self._is_closed:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), timeout_seconds)
            except TimeoutError:
                return []
        if self._batches:
            return self._batches.popleft()
        return None if self._is_closed else []

    async def every(self, seconds: float) -> AsyncIterator[Sequence[Event]]:
        """Iterate until the end of the subscription: over all batches, and over an empty one after so many seconds."""
        while (batch := await self.next(seconds)) is not None:
            yield batch

    def _call_soon(self, change: Callable[[], None]) -> None:
        def make() -> None:
            change()
            self._arrived.set()

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(make)


class Journal:
    """The newest events of all processes, and a way to get new ones as they happen. Memory is bounded."""

    def __init__(
        self,
        logs: Mapping[str, Path],
        observers: Sequence[Callable[[Sequence[Event]], object]] = (),
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`logs` are the log files by the names of their processes. `clock` returns seconds since the epoch.

        `observers` are called with each batch of new events, before subscribers get it, in the thread that polls.
        """
        self._files = {process: FollowedFile(path) for process, path in logs.items()}
        self._clock = clock
        self._kept: dict[type, deque[Any]] = {}
        self._observers = observers
        self._subscriptions: set[Subscription] = set()
        self._number = 0
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def poll(self) -> Sequence[Event]:
        """Read what is new in all logs now. Return the new events, in the order of their times."""
        read_at = self._clock()
        with self._lock:
            found: list[Event] = []
            for process, file in self._files.items():
                for line in file.new_lines():
                    if (record := record_in(line)) and (event := event_of(record, process, self._number, read_at)):
                        found.append(event)
                        self._number += 1
            found.sort(key=lambda event: event.time)
            for event in found:
                self._kept.setdefault(type(event), deque(maxlen=KEPT_EVENTS)).append(event)
            subscriptions = list(self._subscriptions)
        if found:
            for observer in self._observers:
                observer(found)
            for subscription in subscriptions:
                subscription.put(found)
        return found

    def kept(self, kind: type[E]) -> list[E]:
        """Return the events of a kind that are in memory, in the order in which they were read."""
        with self._lock:
            return list(self._kept.get(kind, ()))

    @contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """Open a subscription, which gets the events that are read from now on."""
        subscription = Subscription(asyncio.get_running_loop())
        with self._lock:
            if self._is_closed:
                subscription.close()
            self._subscriptions.add(subscription)
        self._wake.set()
        try:
            yield subscription
        finally:
            with self._lock:
                self._subscriptions.discard(subscription)

    def __enter__(self) -> Self:
        """Follow the logs from now on, in a thread. A journal that was closed before does not follow them."""
        thread = threading.Thread(target=self._follow, name="lab journal", daemon=True)
        with self._lock:
            # Another thread may close it at the same time. Only a thread that has started can be waited for.
            if not self._is_closed:
                thread.start()
                self._thread = thread
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and all subscriptions."""
        with self._lock:
            self._is_closed = True
            subscriptions, thread = list(self._subscriptions), self._thread
        for subscription in subscriptions:
            subscription.close()
        self._wake.set()
        if thread is not None:
            thread.join()

    def _follow(self) -> None:
        while not self._is_closed:
            self.poll()
            self._wake.wait(WATCHED_POLL_SECONDS if self._subscriptions else UNWATCHED_POLL_SECONDS)
            if not self._is_closed:
                self._wake.clear()
