"""Spent ids in a file, for all workers of one machine."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mstoken.errors import VerifierUnavailable


class SQLiteReplayStore:
    """Spent ids in a file that all workers of one machine share.

    A spend is one insert, about ten microseconds, made right on the event loop. Only when another worker is writing
    at that very moment does it wait its turn, in a thread and on a connection of its own. The file is a cache of
    minutes: it may be deleted while no service runs.
    """

    _WAIT_SECONDS = 2.0
    _PURGE_EVERY_SECONDS = 20.0
    _PURGE_ROWS = 2_000

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._at_once = _SpentFile(Path(path), wait_seconds=0)
        self._patient = _SpentFile(Path(path), wait_seconds=self._WAIT_SECONDS)
        self._purge_due = clock() + self._PURGE_EVERY_SECONDS
        self._purging: asyncio.Future[None] | None = None

    async def spend(self, one_time_id: str, expires_at: float) -> bool:
        """See `ReplayStore.spend`."""
        self._purge_if_due()
        try:
            return self._at_once.insert(one_time_id, expires_at)
        except _BusyError:
            pass
        try:
            return await asyncio.to_thread(self._patient.insert, one_time_id, expires_at)
        except _BusyError:
            raise VerifierUnavailable("The store of spent ids is locked.") from None

    async def ready(self) -> None:
        """See `ReplayStore.ready`."""
        self._at_once.open()

    async def aclose(self) -> None:
        """See `ReplayStore.aclose`."""
        if self._purging is not None:
            await asyncio.wait([self._purging])
        self._at_once.close()
        self._patient.close()

    def _purge_if_due(self) -> None:
        now = self._clock()
        if now >= self._purge_due and (self._purging is None or self._purging.done()):
            self._purge_due = now + self._PURGE_EVERY_SECONDS
            self._purging = asyncio.get_running_loop().run_in_executor(None, self._purge, int(now))

    def _purge(self, now: int) -> None:
        """Forgets what has expired, a little at a time so that spends go on in between."""
        # Where the file fails, the spends themselves say so; forgetting can wait for the next turn.
        with contextlib.suppress(_BusyError, VerifierUnavailable):
            following: bytes | None = b""
            while following is not None:
                following = self._patient.delete_expired(now, following, self._PURGE_ROWS)


class _BusyError(Exception):
    """Another worker held the file for as long as this connection waits."""


class _SpentFile:
    """One connection to the file of spent ids; each call is one transaction.

    Opened at first use, so that no connection is carried over into a forked worker.
    """

    def __init__(self, path: Path, *, wait_seconds: float) -> None:
        self._path = path
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def insert(self, one_time_id: str, expires_at: float) -> bool:
        """Whether the id was not there yet. Raises `_BusyError` and `VerifierUnavailable`."""
        inserted = self._execute(
            "INSERT INTO spent (id, expires_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING",
            (one_time_id.encode(), int(expires_at) + 1),
        )
        return inserted.rowcount == 1

    def delete_expired(self, now: int, first: bytes, number: int) -> bytes | None:
        """Deletes those that expired before `now` among the `number` ids from `first` on, and gives the one that
        follows these; None at the end. Raises `_BusyError` and `VerifierUnavailable`.

        There is no index by time: every spend would have to write that as well.
        """
        found = self._execute("SELECT id FROM spent WHERE id >= ? ORDER BY id LIMIT 1 OFFSET ?", (first, number))
        row = found.fetchone()
        if row is None:
            self._execute("DELETE FROM spent WHERE id >= ? AND expires_at < ?", (first, now))
            return None
        following: bytes = row[0]
        self._execute("DELETE FROM spent WHERE id >= ? AND id < ? AND expires_at < ?", (first, following, now))
        return following

    def open(self) -> None:
        """Raises `VerifierUnavailable` where the file cannot be made or read."""
        with self._lock:
            self._connected()

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _execute(self, statement: str, parameters: tuple[bytes | int, ...]) -> sqlite3.Cursor:
        with self._lock:
            try:
                return self._connected().execute(statement, parameters)
            except sqlite3.Error as error:
                if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                    raise _BusyError from error
                raise _unusable(error) from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._connection = self._connect()
            except (sqlite3.Error, OSError) as error:
                raise _unusable(error) from error
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


def _unusable(error: Exception) -> VerifierUnavailable:
    return VerifierUnavailable(f"The store of spent ids cannot be used ({type(error).__name__}: {error}).")
