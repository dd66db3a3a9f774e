"""Spent ids in an SQLite file, for all workers of one machine."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from typing_extensions import override

from mstoken.callee.replay.store import ReplayStore
from mstoken.errors import VerifierUnavailable
from mstoken.private_files import make_private_file


class SQLiteReplayStore(ReplayStore):
    """Spent ids in a file that all workers of one machine share.

    To spend an id is one insert, which takes about ten microseconds on the event loop. If another worker is writing at
    that moment, the insert is repeated in a thread, on a connection of its own, and waits there. The file holds a few
    minutes of ids. It may be deleted while no service runs.
    """

    _WAIT_SECONDS = 2.0
    _PURGE_INTERVAL_SECONDS = 20.0
    _PURGE_ROWS = 2_000

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns seconds since the epoch."""
        self._clock = clock
        self._without_waiting = _SpentIdFile(Path(path), wait_seconds=0)
        self._with_waiting = _SpentIdFile(Path(path), wait_seconds=self._WAIT_SECONDS)
        self._purge_at = clock() + self._PURGE_INTERVAL_SECONDS
        self._purging: asyncio.Future[None] | None = None

    @override
    async def spend(self, one_time_id: str, expires_at: float) -> bool:
        self._purge_if_due()
        try:
            return self._without_waiting.insert(one_time_id, expires_at)
        except _BusyError:
            pass
        try:
            return await asyncio.to_thread(self._with_waiting.insert, one_time_id, expires_at)
        except _BusyError:
            raise VerifierUnavailable("The store of spent ids is locked.") from None

    @override
    async def ready(self) -> None:
        self._without_waiting.open()

    @override
    async def aclose(self) -> None:
        if self._purging is not None:
            await asyncio.wait([self._purging])
        self._without_waiting.close()
        self._with_waiting.close()

    def _purge_if_due(self) -> None:
        now = self._clock()
        if now >= self._purge_at and (self._purging is None or self._purging.done()):
            self._purge_at = now + self._PURGE_INTERVAL_SECONDS
            self._purging = asyncio.get_running_loop().run_in_executor(None, self._purge, int(now))

    def _purge(self, now: int) -> None:
        """Delete the ids that expired before `now`, in batches, so that ids can be spent between two batches."""
        # If the file fails, spending reports that. The next purge will delete what this one could not.
        with contextlib.suppress(_BusyError, VerifierUnavailable):
            next_id: bytes | None = b""
            while next_id is not None:
                next_id = self._with_waiting.delete_expired(now, next_id, self._PURGE_ROWS)


class _BusyError(Exception):
    """Another worker held the file for longer than this connection waits."""


class _SpentIdFile:
    """One connection to the file of spent ids. Each method is one transaction.

    The connection is opened at its first use, so that a forked worker does not inherit one.
    """

    def __init__(self, path: Path, *, wait_seconds: float) -> None:
        """`wait_seconds` is how long a write waits while another worker writes."""
        self._path = path
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def insert(self, one_time_id: str, expires_at: float) -> bool:
        """Insert an id. Return False if it is there already. Raises `_BusyError` and `VerifierUnavailable`."""
        inserted = self._execute(
            "INSERT INTO spent (id, expires_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING",
            (one_time_id.encode(), int(expires_at) + 1),
        )
        return inserted.rowcount == 1

    def delete_expired(self, now: int, first_id: bytes, rows: int) -> bytes | None:
        """Delete the ids that expired before `now`, among the `rows` ids from `first_id` on.

        Return the id that follows them, or None at the end. Raises `_BusyError` and `VerifierUnavailable`.

        There is no index by time, because every insert would have to write to it as well.
        """
        row = self._execute(
            "SELECT id FROM spent WHERE id >= ? ORDER BY id LIMIT 1 OFFSET ?", (first_id, rows)
        ).fetchone()
        if row is None:
            self._execute("DELETE FROM spent WHERE id >= ? AND expires_at < ?", (first_id, now))
            return None
        next_id: bytes = row[0]
        self._execute("DELETE FROM spent WHERE id >= ? AND id < ? AND expires_at < ?", (first_id, next_id, now))
        return next_id

    def open(self) -> None:
        """Open the file, and create it if it is missing. Raises `VerifierUnavailable` if that fails."""
        with self._lock:
            self._open_connection()

    def close(self) -> None:
        """Close the connection. It is opened again at the next use."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _execute(self, statement: str, parameters: tuple[bytes | int, ...]) -> sqlite3.Cursor:
        with self._lock:
            try:
                return self._open_connection().execute(statement, parameters)
            except sqlite3.Error as error:
                if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                    raise _BusyError from error
                raise _unavailable(error) from error

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                make_private_file(self._path)
                self._connection = self._connect()
            except (sqlite3.Error, OSError) as error:
                raise _unavailable(error) from error
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS spent (id BLOB PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID"
            )
            connection.execute(f"PRAGMA busy_timeout = {int(self._wait_seconds * 1000)}")
        except BaseException:
            connection.close()
            raise
        return connection


def _unavailable(error: Exception) -> VerifierUnavailable:
    return VerifierUnavailable(f"The store of spent ids cannot be used ({type(error).__name__}: {error}).")
