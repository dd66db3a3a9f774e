"""What happened in the last minutes, counted for each second: for the picture of the calls and for the charts.

Memory is bounded: a second holds one number for each pair of parts of the shop, and histograms in place of the times.
"""

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from emulator.lab.answers import Answers
from emulator.run.events import (
    AuditEvent,
    CallEvent,
    Event,
    HandOverEvent,
    IdentityTokenEvent,
    RequestEvent,
    SignInEvent,
)
from mstoken.wire import UID_PREFIX

KEPT_SECONDS = 300
"""How far back the tally goes."""
CUSTOMERS, UNKNOWN = "customers", "unknown"
DELIVER, TOKEN, METADATA, FIREBASE = "deliver", "token", "metadata", "firebase"
"""The parts of the shop beside the services, which have their own names."""
ACCEPTED = "accepted"
PROBES = ("/healthz", "/readyz")
"""Requests that the runner and platforms make: they are not calls."""
_PARTS = {"delivery": DELIVER, "emulators": DELIVER}
"""The function `deliver` is the service "delivery". It writes into the log of the emulators."""
_GROWTH = math.log(1.05)
_SHORTEST_MS = 0.01


def part(name: str) -> str:
    """Return the part of the shop that a service or a log belongs to."""
    return _PARTS.get(name, name)


def source_of(call: CallEvent) -> str:
    """Return the part of the shop that made a call: a service, the customers, or an unknown caller."""
    if call.caller is None:
        return UNKNOWN
    return part(call.caller.removeprefix(UID_PREFIX)) if call.caller.startswith(UID_PREFIX) else CUSTOMERS


class Histogram:
    """Durations in milliseconds, counted in steps of 5 percent."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, milliseconds: float) -> None:
        """Count one duration."""
        self._counts[round(math.log(max(milliseconds, _SHORTEST_MS)) / _GROWTH)] += 1

    def merge(self, other: "Histogram") -> None:
        """Count the durations of another histogram too."""
        self._counts.update(other._counts)

    def quantile(self, share: float) -> float | None:
        """Return the duration in milliseconds that this share (0.5: half) of all does not exceed. None without any."""
        rank = share * self._counts.total()
        reached = 0
        for step in sorted(self._counts):
            reached += self._counts[step]
            if reached >= rank:
                return math.exp(step * _GROWTH)
        return None


@dataclass
class Moment:
    """What happened in a span of time.

    The keys of `hops` and `refused` are pairs (from, to) of parts of the shop. `verdicts` has how many calls each
    callee answered with each verdict. The keys of `sign_ins` and `stock` are pairs (caller, callee); `stock` has the
    latest number of fresh tokens.
    """

    hops: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    times: dict[tuple[str, str], Histogram] = field(default_factory=dict)
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    verification: dict[str, Histogram] = field(default_factory=dict)
    sign_ins: Counter[tuple[str, str]] = field(default_factory=Counter)
    stock: dict[tuple[str, str], int] = field(default_factory=dict)

    def merge(self, later: "Moment") -> None:
        """Add what happened in a later span."""
        self.hops.update(later.hops)
        self.refused.update(later.refused)
        self.verdicts.update(later.verdicts)
        self.sign_ins.update(later.sign_ins)
        self.stock.update(later.stock)
        for pair, times in later.times.items():
            self.times.setdefault(pair, Histogram()).merge(times)
        for callee, times in later.verification.items():
            self.verification.setdefault(callee, Histogram()).merge(times)

    def hop(self, source: str, target: str, *, is_refused: bool = False) -> None:
        """Count one hop."""
        self.hops[source, target] += 1
        if is_refused:
            self.refused[source, target] += 1

    def time(self, source: str, target: str, milliseconds: float) -> None:
        """Count how long one hop took."""
        self.times.setdefault((source, target), Histogram()).add(milliseconds)


class Tally:
    """The moments of the last five minutes, a second each. Any number of threads may use it."""

    def __init__(self, answers: Answers, *, clock: Callable[[], float] = time.time) -> None:
        """`answers` must observe events before the tally does. `clock` returns seconds since the epoch."""
        self._answers = answers
        self._clock = clock
        self._seconds: dict[int, Moment] = {}
        self._lock = threading.Lock()

    def observe(self, events: Iterable[Event]) -> None:
        """Count events. Those that are older than five minutes, or of the future, are left out."""
        now = self._clock()
        with self._lock:
            for event in events:
                if now - KEPT_SECONDS <= event.time <= now + 1:
                    self._count(event, self._seconds.setdefault(int(event.time), Moment()))
            for second in [second for second in self._seconds if second < now - KEPT_SECONDS - 1]:
                del self._seconds[second]

    def last(self, seconds: int) -> Moment:
        """Return what happened in the last seconds."""
        return self.steps(seconds, 1)[0]

    def steps(self, seconds: int, count: int) -> list[Moment]:
        """Return what happened in the last `count` spans of so many seconds, the oldest first.

        Spans begin at multiples of their length, so that a second stays in its span. The last span is not over yet.
        """
        first = self.first_second(seconds, count)
        moments = [Moment() for _ in range(count)]
        with self._lock:
            for second in sorted(self._seconds):
                if 0 <= (index := (second - first) // seconds) < count:
                    moments[index].merge(self._seconds[second])
        return moments

    def first_second(self, seconds: int, count: int) -> int:
        """Return when the first span of `steps` begins, in seconds since the epoch.

        A single span is the exception: it ends now.
        """
        now = int(self._clock())
        return now - seconds + 1 if count == 1 else (now // seconds - count + 1) * seconds

    def seconds(self) -> int:
        """Return of how many seconds the tally has counts."""
        with self._lock:
            return len(self._seconds)

    def _count(self, event: Event, moment: Moment) -> None:
        if isinstance(event, CallEvent):
            callee = part(event.audience)
            moment.hop(source_of(event), callee, is_refused=event.verdict != ACCEPTED)
            moment.verdicts[callee, event.verdict] += 1
            if event.verify_ms is not None:
                moment.verification.setdefault(callee, Histogram()).add(event.verify_ms)
        elif isinstance(event, RequestEvent):
            self._count_request(event, moment)
        elif isinstance(event, SignInEvent):
            service, audience = part(event.process), part(event.audience)
            moment.hop(service, FIREBASE)
            moment.time(service, FIREBASE, event.sign_in_ms)
            moment.time(service, TOKEN, event.custom_token_ms)
            moment.sign_ins[service, audience] += 1
            if event.in_stock is not None:
                moment.stock[service, audience] = event.in_stock
        elif isinstance(event, IdentityTokenEvent):
            moment.hop(part(event.process), METADATA)
            moment.time(part(event.process), METADATA, event.took_ms)
        elif isinstance(event, AuditEvent):
            source = part(event.service) if event.service is not None else UNKNOWN
            moment.hop(source, TOKEN, is_refused=event.verdict != "issued")
        elif isinstance(event, HandOverEvent):
            moment.hop(part(event.process), DELIVER, is_refused=event.is_refused)

    def _count_request(self, request: RequestEvent, moment: Moment) -> None:
        call = self._answers.call_of(request)
        if call is not None:
            moment.time(source_of(call), part(call.audience), request.duration_ms)
        elif request.path not in PROBES:
            # A request that needs no token, such as a log-in.
            moment.hop(CUSTOMERS, part(request.process))
            moment.time(CUSTOMERS, part(request.process), request.duration_ms)
