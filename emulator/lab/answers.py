"""Which request each verified call was: a call is logged when it is verified, its request when it is answered."""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any

from emulator.run.events import CallEvent, Event, RequestEvent

KEPT = 5_000
"""How many calls are remembered, those without an answer and those with one."""


class Answers:
    """Pairs of calls and requests, by the request id. Any number of threads may use it.

    One request of a customer can lead to several calls of a process, which all have its id. They come one after another
    in the log, so the first call without an answer belongs to the next request.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, str], deque[CallEvent]] = OrderedDict()
        self._requests: OrderedDict[int, RequestEvent] = OrderedDict()
        self._calls: OrderedDict[int, CallEvent] = OrderedDict()
        self._lock = threading.Lock()

    def observe(self, events: Iterable[Event]) -> None:
        """Take events into account, in the order of their times."""
        with self._lock:
            for event in events:
                if isinstance(event, CallEvent) and event.request_id is not None:
                    self._open.setdefault((event.process, event.request_id), deque(maxlen=KEPT)).append(event)
                    _shorten(self._open)
                elif isinstance(event, RequestEvent) and event.request_id is not None:
                    self._answer(event, (event.process, event.request_id))

    def request_of(self, call: CallEvent) -> RequestEvent | None:
        """Return the request that a call was, or None if it is not answered yet, or not remembered."""
        with self._lock:
            return self._requests.get(call.id)

    def call_of(self, request: RequestEvent) -> CallEvent | None:
        """Return the call that a request was, or None for a request without one, such as a log-in."""
        with self._lock:
            return self._calls.get(request.id)

    def size(self) -> int:
        """Return how many calls and answers are remembered."""
        with self._lock:
            return sum(map(len, self._open.values())) + len(self._requests)

    def _answer(self, request: RequestEvent, key: tuple[str, str]) -> None:
        calls = self._open.get(key)
        if calls is None:
            return
        call = calls.popleft()
        if not calls:
            del self._open[key]
        self._requests[call.id] = request
        self._calls[request.id] = call
        _shorten(self._requests)
        _shorten(self._calls)


def _shorten(remembered: "OrderedDict[Any, Any]") -> None:
    if len(remembered) > KEPT:
        remembered.popitem(last=False)
