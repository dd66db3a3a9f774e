"""Faults that a developer can cause in the running shop, and how each of them ends: by hand, or by itself in time.

Everything here uses Firebase Auth through the signed Auth emulator. It is taken down, slowed down and given new keys by
its control paths, which exist in the emulator only and take no request of a web page. Its process is not ended: it has
its keys in memory, and another process would sign with keys of its own, which is another fault. Nor is a process
suspended (SIGSTOP): the Auth emulator shares one with the functions and Hosting.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import httpx
from firebase_admin.exceptions import FirebaseError

from emulator.run.errors import RunnerError
from emulator.run.processes import Supervisor
from emulator.run.stack import REDIS, Stack
from mstoken.cli.identities import Identities
from mstoken.errors import MsTokenError

SLOW_SECONDS = 3.0
"""The delay of each answer of Firebase Auth while it is slow, in seconds."""
NOTICE_SECONDS = 10.0
"""How long a key is announced before it signs, in seconds."""
CONTROL_SECONDS = 10.0

FaultState: TypeAlias = Literal["off", "beginning", "on", "ending"]


@dataclass(frozen=True)
class Fault:
    """A fault: what happens, what customers should notice, and for how long it may last, in seconds.

    A fault without `end` is over at once. `begin` and `end` block. They raise what `FAILURES` lists.
    """

    id: str
    title: str
    what: str
    expect: str
    begin_label: str
    begin: Callable[[], None]
    end_label: str = ""
    end: Callable[[], None] | None = None
    limit_seconds: float = 30.0


FAILURES = (OSError, httpx.HTTPError, RunnerError, MsTokenError, FirebaseError, CancelledError)
"""What can go wrong when a fault begins or ends."""


@dataclass(frozen=True)
class Span:
    """A time in which a fault was on, in seconds since the epoch. `end` is None while it is on."""

    fault: str
    title: str
    begin: float
    end: float | None


@dataclass
class _Running:
    state: FaultState = "off"
    error: str | None = None
    began: float = 0.0
    timer: threading.Timer | None = None


@dataclass(frozen=True)
class FaultStatus:
    """What a page shows about a fault. `ends_by` is when it ends by itself, in seconds since the epoch."""

    fault: Fault
    state: FaultState
    error: str | None
    ends_by: float | None


class FaultRefused(Exception):
    """A fault cannot begin or end now: the text says why."""


class Outages:
    """The faults of a shop. Threads may share it. Nothing begins or ends any more after `close`."""

    def __init__(self, faults: Sequence[Fault], *, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns seconds since the epoch."""
        self.faults: Mapping[str, Fault] = {fault.id: fault for fault in faults}
        self._clock = clock
        self._running = {fault.id: _Running() for fault in faults}
        self._spans: list[Span] = []
        self._lock = threading.Lock()
        self._is_closed = False

    def statuses(self) -> list[FaultStatus]:
        """Return the state of every fault."""
        with self._lock:
            return [self._status(fault) for fault in self.faults.values()]

    def spans(self) -> list[Span]:
        """Return when faults were on so far, in the order in which they began."""
        with self._lock:
            return list(self._spans)

    def begin(self, name: str) -> None:
        """Begin a fault, which ends by itself after its limit. Raises FaultRefused."""
        fault, running = self._enter(name, "off", "beginning")
        with self._lock:
            running.began = self._clock()
            self._spans.append(Span(name, fault.title, running.began, None))
        if not self._done(running, fault.begin):
            self._over(running)
            raise FaultRefused(f"{fault.title}: {running.error}")
        if fault.end is None:
            self._over(running)
            return
        with self._lock:
            running.state = "on"
            running.timer = threading.Timer(fault.limit_seconds, self._end_in_time, [name])
            running.timer.daemon = True
            running.timer.start()

    def end(self, name: str) -> None:
        """End a fault. Raises FaultRefused; if it could not be ended it is still on, and can be ended again."""
        fault, running = self._enter(name, "on", "ending")
        if running.timer is not None:
            running.timer.cancel()
        assert fault.end is not None  # noqa: S101 - a fault that is on has an end
        if not self._done(running, fault.end):
            with self._lock:
                running.state = "on"
            raise FaultRefused(f"{fault.title}: {running.error}")
        self._over(running)

    def close(self) -> None:
        """End nothing, and let nothing end by itself any more: the runner stops the whole shop."""
        with self._lock:
            self._is_closed = True
            timers = [running.timer for running in self._running.values() if running.timer is not None]
        for timer in timers:
            timer.cancel()

    def _enter(self, name: str, expected: FaultState, state: FaultState) -> tuple[Fault, _Running]:
        with self._lock:
            fault, running = self.faults[name], self._running[name]
            if self._is_closed:
                raise FaultRefused("The lab is ending.")
            if running.state != expected:
                raise FaultRefused(f"{fault.title}: this fault is {running.state} now.")
            running.state, running.error = state, None
            return fault, running

    def _done(self, running: _Running, action: Callable[[], None]) -> bool:
        try:
            action()
        except FAILURES as error:
            running.error = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return False
        return True

    def _over(self, running: _Running) -> None:
        name = next(name for name, one in self._running.items() if one is running)
        now = self._clock()
        with self._lock:
            running.state, running.timer = "off", None
            self._spans = [
                Span(span.fault, span.title, span.begin, now) if span.fault == name and span.end is None else span
                for span in self._spans
            ]

    def _end_in_time(self, name: str) -> None:
        try:
            self.end(name)
        except FaultRefused:
            return  # It ended, or is ending, or the page shows why it did not.

    def _status(self, fault: Fault) -> FaultStatus:
        running = self._running[fault.id]
        ends_by = running.began + fault.limit_seconds if running.state == "on" else None
        return FaultStatus(fault, running.state, running.error, ends_by)


@dataclass
class ShopFaults:
    """What causes faults in a running shop."""

    stack: Stack
    supervisor: Supervisor
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=CONTROL_SECONDS, trust_env=False))
    sleep: Callable[[float], None] = time.sleep
    lock: threading.Lock = field(default_factory=threading.Lock)
    injected: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """What the emulator does wrong, by fault: it takes all of it at once."""

    def all(self) -> list[Fault]:
        """Return the faults that this stack can have."""
        faults = [
            Fault(
                "auth-stop",
                "Firebase Auth is down",
                "The Auth emulator answers every request with 503: sign-ins, look-ups of identities, certificates.",
                "Product verifies from memory, and goes on. Billing uses the fresh tokens that it has in stock, or the "
                "bound token of this hour. Purchases fail when the stock is used up.",
                "Take it down",
                lambda: self._inject("auth-stop", status=503),
                "Bring it back",
                lambda: self._inject("auth-stop"),
            ),
            Fault(
                "auth-slow",
                "Firebase Auth is slow",
                f"Each answer of the signed Auth emulator takes {SLOW_SECONDS:g} s longer.",
                "Nothing at first, because tokens are signed in ahead of need. Then fresh mode waits for tokens. Proof "
                "mode does not notice.",
                "Slow it down",
                lambda: self._inject("auth-slow", delay_seconds=SLOW_SECONDS),
                "End the delay",
                lambda: self._inject("auth-slow"),
            ),
            Fault(
                "rotate-notice",
                "New signing key, with notice",
                f"Firebase publishes the next key, and signs with it {NOTICE_SECONDS:g} s later, as Google does.",
                "Nothing.",
                "Announce and rotate",
                self._rotate_with_notice,
            ),
            Fault(
                "rotate",
                "New signing key, without notice",
                "Firebase signs with a key that it has not announced.",
                "Nothing, or one slow call: Product fetches the certificates when it meets the unknown key.",
                "Rotate now",
                self._rotate,
            ),
            Fault(
                "disable",
                "Billing's identity is disabled",
                "An operator ran: mstoken services disable billing",
                "All purchases fail within 10 s: that is what disabling is for. After enabling, Billing signs in "
                "again, and tokens of the first 5 s do not count yet.",
                "Disable it",
                lambda: self._set_enabled(False),
                "Enable it",
                lambda: self._set_enabled(True),
            ),
            Fault(
                "product-stop",
                "Product is down",
                "The process of the service Product is killed.",
                "Purchases fail with 503, and their orders stay pending. After the start, Billing's circuit breaker "
                "lets calls through again.",
                "Kill it",
                lambda: self._in_main_thread(lambda: self.supervisor.end("product", kill=True)),
                "Start it again",
                lambda: self._in_main_thread(lambda: self.stack.start_service(self.supervisor, "product")),
            ),
        ]
        if self.stack.redis:
            faults.append(
                Fault(
                    "redis-stop",
                    "Redis is down",
                    "The store of spent ids ends. It keeps them in a file.",
                    "Purchases fail with 503: a callee that cannot tell a first use from a second lets no call in.",
                    "Stop it",
                    lambda: self._in_main_thread(lambda: self.supervisor.end(REDIS)),
                    "Start it again",
                    lambda: self._in_main_thread(lambda: self.stack.start_redis(self.supervisor)),
                )
            )
        return faults

    def close(self) -> None:
        """Close the connections to the emulator."""
        self.http.close()

    def _in_main_thread(self, action: Callable[[], None]) -> None:
        self.supervisor.in_main_thread(action).result()

    def _inject(self, name: str, **fault: object) -> None:
        """Give the emulator this part of what it does wrong, or nothing for it, and keep the parts of other faults."""
        with self.lock:
            injected = {**self.injected, name: fault}
            self._control("PUT", "faults", {key: value for part in injected.values() for key, value in part.items()})
            self.injected = injected

    def _rotate(self) -> None:
        self._control("POST", "rotate")

    def _rotate_with_notice(self) -> None:
        self._control("POST", "announce")
        self.sleep(NOTICE_SECONDS)
        self._rotate()

    def _control(self, method: str, path: str, body: Mapping[str, object] | None = None) -> None:
        url = f"http://{self.stack.auth_host}/_signed/{path}"
        self.http.request(method, url, json=body).raise_for_status()

    def _set_enabled(self, enabled: bool) -> None:
        identities = Identities(self.stack.settings)
        found = identities.enable("billing") if enabled else identities.disable("billing")
        if not found:
            raise RunnerError("Billing has not signed in yet, so it has no identity. Buy something first.")
