"""Spent ids in memory, for a service that is one process."""

import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mstoken.errors import SettingsError

try:
    import fcntl
except ImportError:  # Windows, where no server forks
    fcntl = None  # type: ignore[assignment]


class MemoryReplayStore:
    """Spent ids in this process's memory: for one worker only, and for tests.

    Ids are kept in sets by the minute in which they expire, so that forgetting a minute is one step.
    """

    _SLOT_SECONDS = 60

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._slots: dict[int, set[bytes]] = {}

    async def spend(self, one_time_id: str, expires_at: float) -> bool:
        """See `ReplayStore.spend`."""
        key = one_time_id.encode()
        with self._lock:
            now_slot = int(self._clock() // self._SLOT_SECONDS)
            for passed in [slot for slot in self._slots if slot < now_slot]:
                del self._slots[passed]
            if any(key in ids for ids in self._slots.values()):
                return False
            self._slots.setdefault(int(expires_at // self._SLOT_SECONDS), set()).add(key)
            return True

    async def ready(self) -> None:
        """See `ReplayStore.ready`: memory is always there."""

    async def aclose(self) -> None:
        """See `ReplayStore.aclose`."""
        with self._lock:
            self._slots.clear()


class SoleMemoryReplayStore(MemoryReplayStore):
    """Memory, where it is certain that no other worker of the service has a memory of its own.

    A worker of a process manager is refused: uvicorn's are children of `multiprocessing`. For managers that fork, the
    workers of one parent contend for a lock file, and only the first gets it.
    """

    def __init__(self, audience: str) -> None:
        super().__init__()
        problem = "a worker of several" if multiprocessing.parent_process() else None
        if problem is None and fcntl is not None:
            path = Path(tempfile.gettempdir()) / f"mstoken-{os.getuid()}-{os.getppid()}-{audience}.lock"
            self._lock_file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock_file)
                problem = "not the only worker of its parent"
        if problem:
            raise SettingsError(
                f"MSTOKEN_REPLAY_URL is 'memory:', and this process is {problem} for {audience}: each would have a "
                "memory of its own, and a token would count once for each. sqlite:///path or redis://host is wanted."
            )

    async def aclose(self) -> None:
        """See `ReplayStore.aclose`."""
        await super().aclose()
        if fcntl is not None:
            os.close(self._lock_file)
