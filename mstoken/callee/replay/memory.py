"""Spent ids in memory, for a service that runs in one process."""

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from typing_extensions import override

from mstoken.callee.replay.store import ReplayStore, check_is_remembered
from mstoken.errors import SettingsError, VerifierUnavailable
from mstoken.wire import CLOCK_SKEW_SECONDS

try:
    import fcntl
except ImportError:  # Windows, where no server forks
    fcntl = None  # type: ignore[assignment]


class MemoryReplayStore(ReplayStore):
    """Spent ids in the memory of this process, for tests and for services with one worker.

    The ids are kept in one set for each minute in which ids expire, so that a minute is deleted in one step. A forked
    child refuses all ids, because its parent may accept the same ones. A store that was closed still knows its ids.
    """

    _SLOT_SECONDS = 60

    def __init__(
        self,
        *,
        complete_since: float = 0.0,
        clock_skew_seconds: float = CLOCK_SKEW_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` returns seconds since the epoch.

        Ids that were issued before `complete_since`, or up to `clock_skew_seconds` after it, are refused. By default
        nothing is refused for its age: that is right in tests, which have spent nothing before.
        """
        self._complete_since = complete_since
        self._clock_skew_seconds = clock_skew_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._slots: dict[int, set[bytes]] = {}
        self._process_id = os.getpid()

    @override
    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        self._check_process()
        key = one_time_id.encode()
        with self._lock:
            self._check_is_remembered(issued_at)
            current_slot = int(self._clock() // self._SLOT_SECONDS)
            for expired in [slot for slot in self._slots if slot < current_slot]:
                del self._slots[expired]
            if any(key in ids for ids in self._slots.values()):
                return False
            self._slots.setdefault(int(expires_at // self._SLOT_SECONDS), set()).add(key)
            return True

    @override
    async def ready(self) -> str | None:
        self._check_process()
        with self._lock:
            self._check_is_remembered(int(self._clock()))
        return None

    @override
    async def aclose(self) -> None:
        """Do nothing: an id that was forgotten here would be accepted again."""

    def _check_process(self) -> None:
        # First of all, since the child may have inherited a lock that a thread of its parent holds.
        if os.getpid() != self._process_id:
            raise VerifierUnavailable(
                "The spent ids are in the memory of the process that this one was forked from: both would accept the "
                "same token. Set MSTOKEN_REPLAY_URL to sqlite:///path or redis://host, or make the verifier after the "
                "fork."
            )

    def _check_is_remembered(self, issued_at: float) -> None:
        now = self._clock()
        # The clock may have been set back. The memory is complete since now at the latest.
        self._complete_since = min(self._complete_since, now)
        check_is_remembered(issued_at, self._complete_since, self._clock_skew_seconds, now)


_owners: dict[str, int] = {}
"""The process that has an open store in memory, by service. A forked child knows that its parent has one."""


class SoleMemoryReplayStore(MemoryReplayStore):
    """Spent ids in memory, for a worker that is certain to be the only one of its service. Its memory begins now.

    Raises `SettingsError` in a worker of a process manager. The workers of uvicorn are children of `multiprocessing`.
    The workers of managers that fork compete for a lock file that is named for their parent, and the first gets it. A
    store that was closed competes again when it is used again, and its memory begins then.
    """

    def __init__(
        self,
        audience: str,
        *,
        clock_skew_seconds: float = CLOCK_SKEW_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(complete_since=clock(), clock_skew_seconds=clock_skew_seconds, clock=clock)
        self._audience = audience
        self._sole_worker: int | None = None
        """The lock file, which is open while this process has the lock."""
        self._is_closed = True
        self._compete()

    @override
    async def aclose(self) -> None:
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                _owners.pop(self._audience, None)
            if fcntl is not None and self._sole_worker is not None:
                # Not only by closing the file, which a forked child may have open too.
                fcntl.flock(self._sole_worker, fcntl.LOCK_UN)
                os.close(self._sole_worker)
                self._sole_worker = None

    @override
    def _check_process(self) -> None:
        super()._check_process()
        with self._lock:
            if self._is_closed:
                try:
                    self._compete()
                except SettingsError as error:
                    raise VerifierUnavailable(str(error)) from None
                # Another worker may have been the only one meanwhile.
                self._complete_since = self._clock()

    def _compete(self) -> None:
        """Take the lock of the only worker. Raise `SettingsError` if this process may not be the only one."""
        problem = "one of several workers" if multiprocessing.parent_process() else None
        if _owners.get(self._audience, os.getpid()) != os.getpid():
            problem = "forked from one that keeps spent ids in its own memory"
        if problem is None and fcntl is not None:
            path = Path(tempfile.gettempdir()) / f"mstoken-{os.getuid()}-{os.getppid()}-{self._audience}.lock"
            lock_file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock_file)
                problem = "not the only worker of its parent process"
            else:
                self._sole_worker = lock_file
        if problem:
            raise SettingsError(
                f"MSTOKEN_REPLAY_URL is 'memory:', and this process of {self._audience} is {problem}: each worker "
                "would accept the same token once. Use sqlite:///path or redis://host."
            )
        self._is_closed = False
        _owners[self._audience] = os.getpid()
