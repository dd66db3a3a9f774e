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
from mstoken.errors import SettingsError
from mstoken.wire import CLOCK_SKEW_SECONDS

try:
    import fcntl
except ImportError:  # Windows, where no server forks
    fcntl = None  # type: ignore[assignment]


class MemoryReplayStore(ReplayStore):
    """Spent ids in the memory of this process, for tests and for services with one worker.

    The ids are kept in one set for each minute in which ids expire, so that a minute is deleted in one step.
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

    @override
    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        self._check_is_remembered(issued_at)
        key = one_time_id.encode()
        with self._lock:
            current_slot = int(self._clock() // self._SLOT_SECONDS)
            for expired in [slot for slot in self._slots if slot < current_slot]:
                del self._slots[expired]
            if any(key in ids for ids in self._slots.values()):
                return False
            self._slots.setdefault(int(expires_at // self._SLOT_SECONDS), set()).add(key)
            return True

    @override
    async def ready(self) -> str | None:
        self._check_is_remembered(int(self._clock()))
        return None

    @override
    async def aclose(self) -> None:
        with self._lock:
            self._slots.clear()

    def _check_is_remembered(self, issued_at: float) -> None:
        now = self._clock()
        # The clock may have been set back. The memory is complete since now at the latest.
        self._complete_since = min(self._complete_since, now)
        check_is_remembered(issued_at, self._complete_since, self._clock_skew_seconds, now)


class SoleMemoryReplayStore(MemoryReplayStore):
    """Spent ids in memory, for a worker that is certain to be the only one of its service. Its memory begins now.

    Raises `SettingsError` in a worker of a process manager. The workers of uvicorn are children of `multiprocessing`.
    The workers of managers that fork compete for a lock file that is named for their parent, and the first gets it.
    """

    def __init__(
        self,
        audience: str,
        *,
        clock_skew_seconds: float = CLOCK_SKEW_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(complete_since=clock(), clock_skew_seconds=clock_skew_seconds, clock=clock)
        problem = "one of several workers" if multiprocessing.parent_process() else None
        if problem is None and fcntl is not None:
            path = Path(tempfile.gettempdir()) / f"mstoken-{os.getuid()}-{os.getppid()}-{audience}.lock"
            self._lock_file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock_file)
                problem = "not the only worker of its parent process"
        if problem:
            raise SettingsError(
                f"MSTOKEN_REPLAY_URL is 'memory:', and this process of {audience} is {problem}: each worker would "
                "accept the same token once. Use sqlite:///path or redis://host."
            )

    @override
    async def aclose(self) -> None:
        await super().aclose()
        if fcntl is not None:
            os.close(self._lock_file)
