"""Spent ids in an SQLite file, for all workers of one machine."""

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from typing_extensions import override

from mstoken.callee.replay.sqlite_file import NOTICED_SECONDS, BusyError, Connection, SpentIdFile
from mstoken.callee.replay.store import ReplayStore, check_is_remembered
from mstoken.errors import VerifierUnavailable
from mstoken.wire import CLOCK_SKEW_SECONDS

T = TypeVar("T")


class SQLiteReplayStore(ReplayStore):
    """Spent ids in a file that all workers of one machine share.

    To spend an id is one insert, which takes about ten microseconds on the event loop. If another worker is writing at
    that moment, the insert is repeated in a thread, on a connection of its own, and waits there. The file holds a few
    minutes of ids. A missing or damaged file is made anew, and its memory begins then.

    One store serves all threads and event loops of a process, and a forked child goes on with connections of its own.
    """

    _WAIT_SECONDS = 2.0
    _PURGE_INTERVAL_SECONDS = 20.0
    _PURGE_ROWS = 2_000

    def __init__(
        self,
        path: str | Path,
        *,
        clock_skew_seconds: float = CLOCK_SKEW_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` returns seconds since the epoch.

        Ids that were issued up to `clock_skew_seconds`, and `NOTICED_SECONDS`, after the memory began are refused too.
        """
        self._refused_seconds = clock_skew_seconds + NOTICED_SECONDS
        """An id that was issued up to so many seconds after the memory began is refused."""
        self._clock = clock
        self._without_waiting = SpentIdFile(Path(path), wait_seconds=0, clock=clock)
        self._with_waiting = SpentIdFile(Path(path), wait_seconds=self._WAIT_SECONDS, clock=clock)
        self._purge_at = clock() + self._PURGE_INTERVAL_SECONDS
        self._purging: threading.Thread | None = None

    @override
    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        if self._clock() >= self._purge_at:
            self._purge_in_background()

        def insert(connection: Connection) -> bool:
            if issued_at <= connection.complete_since + self._refused_seconds:
                self._check_is_remembered(connection, issued_at)
            inserted = connection.sql.execute(
                "INSERT INTO spent (id, expires_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING",
                (one_time_id.encode(), int(expires_at) + 1),
            )
            return inserted.rowcount == 1

        try:
            return self._without_waiting.use(insert)
        except BusyError:
            return await self._use_and_wait(insert)

    @override
    async def ready(self) -> str | None:
        def check(connection: Connection) -> None:
            # A full disk can be read, so something must be written.
            probe = secrets.token_bytes(16)
            connection.sql.execute("BEGIN IMMEDIATE")
            connection.sql.execute("INSERT INTO spent (id, expires_at) VALUES (?, 0)", (probe,))
            connection.sql.execute("DELETE FROM spent WHERE id = ?", (probe,))
            connection.sql.execute("COMMIT")
            self._check_is_remembered(connection, int(self._clock()))

        try:
            self._without_waiting.use(check)
        except BusyError:
            await self._use_and_wait(check)
        return None

    @override
    async def aclose(self) -> None:
        if self._purging is not None:
            await asyncio.to_thread(self._purging.join)
        self._without_waiting.close()
        self._with_waiting.close()

    async def _use_and_wait(self, work: Callable[[Connection], T]) -> T:
        """Return the result of `work` with a connection. Wait in a thread while another worker is writing."""
        try:
            return await asyncio.to_thread(self._with_waiting.use, work)
        except BusyError:
            raise VerifierUnavailable("The store of spent ids is locked.") from None

    def _check_is_remembered(self, connection: Connection, issued_at: float) -> None:
        now = self._clock()
        # The clock may have been set back. The memory is complete since now at the latest.
        connection.complete_since = min(connection.complete_since, now)
        check_is_remembered(issued_at, connection.complete_since, self._refused_seconds, now)

    def _purge_in_background(self) -> None:
        """Start to delete what has expired, unless that is under way."""
        now = self._clock()
        # In a forked child, the thread of its parent counts as ended.
        if self._purging is None or not self._purging.is_alive():
            self._purge_at = now + self._PURGE_INTERVAL_SECONDS
            # A thread that no event loop waits for: the loop may end before the purge.
            self._purging = threading.Thread(target=self._purge, args=(int(now),), name="mstoken purge", daemon=True)
            self._purging.start()

    def _purge(self, now: int) -> None:
        """Delete the ids that expired before `now`, in batches, so that ids can be spent between two batches."""
        # If the file fails, spending reports that. The next purge will delete what this one could not.
        with contextlib.suppress(BusyError, VerifierUnavailable):
            next_id: bytes | None = b""
            while next_id is not None:
                next_id = self._delete_expired(now, next_id)

    def _delete_expired(self, now: int, first_id: bytes) -> bytes | None:
        """Delete the ids that expired before `now`, among a batch of ids from `first_id` on.

        Return the id that follows them, or None at the end. Raises `BusyError` and `VerifierUnavailable`.

        There is no index by time, because every insert would have to write to it as well.
        """

        def delete(connection: Connection) -> bytes | None:
            row = connection.sql.execute(
                "SELECT id FROM spent WHERE id >= ? ORDER BY id LIMIT 1 OFFSET ?", (first_id, self._PURGE_ROWS)
            ).fetchone()
            if row is None:
                connection.sql.execute("DELETE FROM spent WHERE id >= ? AND expires_at < ?", (first_id, now))
                return None
            next_id: bytes = row[0]
            connection.sql.execute(
                "DELETE FROM spent WHERE id >= ? AND id < ? AND expires_at < ?", (first_id, next_id, now)
            )
            return next_id

        return self._with_waiting.use(delete)
