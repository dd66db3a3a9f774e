"""The file of spent ids: many workers open it at once, and it is made anew if it is damaged."""

import contextlib
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from weakref import WeakSet

from mstoken.errors import VerifierUnavailable
from mstoken.private_files import make_private_file, make_private_folder

try:
    import fcntl
except ImportError:  # Windows, where no server forks
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")

_TABLES = {
    "spent": "CREATE TABLE spent (id BLOB PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID",
    # One row: since when the memory is complete, in seconds since the epoch, and what changes when ids may be lost.
    "memory": "CREATE TABLE memory (complete_since REAL NOT NULL, state TEXT NOT NULL)",
}
_SUFFIXES = ("-wal", "-shm", "")
"""The endings of the names of SQLite's files (SQLite, "Write-Ahead Logging"). The database itself is the last."""
_DAMAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""Result codes of a damaged file. SQLITE_ERROR means that a table or a column is missing."""
NOTICED_SECONDS = 0.1
"""Maximum seconds for which a worker goes on with a file that was deleted or replaced.

To look for the file takes 3 µs, a third of a spend. So a worker that saw it less than this long ago does not look
again. An id that it spends in a lost file was then issued less than this long after a new file was made. The new file
refuses the ids that were issued that early, so no id is accepted in both files.
"""
_MAGIC = b"SQLite format 3\0"
"""What each database begins with (SQLite, "Database File Format", section 1.3.1)."""
_ATTEMPTS = 3
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Outdated(Exception):
    """What the file remembers does not count any more."""


class BusyError(Exception):
    """Another worker held the file for longer than this connection waits."""


@dataclass(slots=True)
class Connection:
    """A connection to the file, and since when the file's memory is complete, in seconds since the epoch.

    `seen_at` is when the file was last seen in its place, by the same clock.
    """

    sql: sqlite3.Connection
    complete_since: float
    inodes: tuple[int | None, int | None]
    seen_at: float = float("-inf")


class SpentIdFile:
    """One connection to the file of spent ids. It is opened at its first use.

    It is closed before each fork, and opened again afterwards: a process must not have a connection that its parent has
    opened, not even to close it (SQLite, "How To Corrupt An SQLite Database File", section 2.6).

    The memory begins anew, in a new file, if the file is missing or damaged, if it is a copy, and after a restart of
    the machine. So SQLite need not wait for the disk: what a crash of the machine damages is not used again. A damaged
    file is not deleted: it gets the ending `.damaged`.
    """

    def __init__(self, path: Path, *, wait_seconds: float, clock: Callable[[], float]) -> None:
        """`wait_seconds` is how long a write waits for another worker. `clock` returns seconds since the epoch."""
        self._path = path
        self._files = {suffix: f"{path}{suffix}" for suffix in _SUFFIXES}
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        _files.add(self)

    def use(self, work: Callable[[Connection], T]) -> T:
        """Return the result of `work`, which makes one change. It is called again if the file was lost meanwhile.

        Raises `BusyError`, `VerifierUnavailable`, and what `work` raises except for errors of SQLite.
        """
        with self._lock:
            for _ in range(_ATTEMPTS):
                try:
                    connection = self._connection = self._connection or self._open()
                    result = work(connection)
                    # After the change, and by the time then: the process may have stood still.
                    if self._is_in_place(connection):
                        return result
                except sqlite3.Error as error:
                    code = _code(error)
                    if code == sqlite3.SQLITE_BUSY:
                        raise BusyError from error
                    self._discard(damaged=code in _DAMAGE)
                    if code not in _DAMAGE:
                        raise self._unavailable(error) from error
                    continue
                except OSError as error:
                    raise self._unavailable(error) from error
                self._discard(damaged=True)
        raise VerifierUnavailable(f"The file of spent ids is damaged or replaced again and again: {self._path}.")

    def create(self) -> None:
        """Create the file if it is missing, so that its memory begins now. Raises as `use` does."""
        self.use(lambda _connection: None)
        self.close()

    def close(self) -> None:
        """Close the connection. It is opened again at the next use."""
        with self._lock:
            self._close()

    def begin_fork(self) -> None:
        """Close the connection, and let no thread open it until `end_fork`."""
        self._lock.acquire()
        self._close()

    def end_fork(self) -> None:
        """Let threads use the file again, in the parent or in the child."""
        self._lock.release()

    def _is_in_place(self, connection: Connection) -> bool:
        """Return whether the file of a connection is in its place, or was within the last `NOTICED_SECONDS`."""
        now = self._clock()
        if 0 <= now - connection.seen_at < NOTICED_SECONDS:
            return True
        if connection.inodes != self._inodes():
            return False
        connection.seen_at = now
        return True

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.sql.close()
            self._connection = None

    def _discard(self, *, damaged: bool) -> None:
        """Close the connection. If its file is damaged and still in its place, set it aside."""
        connection = self._connection
        self._close()
        if damaged and connection is not None:
            # If this fails, for example because the folder is gone, opening the file will tell why.
            with contextlib.suppress(OSError), self._folder_locked():
                if self._inodes()[0] == connection.inodes[0]:
                    self._set_aside()

    def _open(self) -> Connection:
        make_private_folder(self._path.parent)
        with self._folder_locked():
            try:
                return self._connect()
            except _Outdated:
                self._delete()
            except sqlite3.Error as error:
                if _code(error) not in _DAMAGE:
                    raise
                if _code(error) == sqlite3.SQLITE_NOTADB:
                    self._check_was_database()
                self._set_aside()
            return self._connect()

    def _connect(self) -> Connection:
        if self._path.exists() and not self._path.is_file():
            raise self._not_ours("not a file")
        is_new = self._is_missing_or_empty()
        if is_new:
            # If there is a log of a lost database, SQLite deletes it, because this database is empty.
            make_private_file(self._path)
        sql = sqlite3.connect(self._path, timeout=self._wait_seconds, isolation_level=None, check_same_thread=False)
        try:
            if not is_new:
                self._check_tables(sql)
            sql.execute("PRAGMA journal_mode = WAL")
            # With NORMAL, one spend in a thousand waits for the disk, and all others of its process with it.
            sql.execute(f"PRAGMA synchronous = {'NORMAL' if _boot() is None else 'OFF'}")
            sql.execute("BEGIN IMMEDIATE")
            complete_since = self._complete_since(sql, is_new=is_new)
            sql.execute("COMMIT")
            return Connection(sql, complete_since, self._inodes())
        except BaseException:
            sql.close()
            raise

    def _is_missing_or_empty(self) -> bool:
        """Return whether there is no file, or one that was just made, in which a full disk allowed no tables."""
        inode, log_inode = self._inodes()
        return inode is None or (log_inode is None and self._path.stat().st_size == 0)

    def _check_was_database(self) -> None:
        """Raise `VerifierUnavailable` if the file, which is not a database, does not look like a damaged one either.

        A crash of the machine leaves zeros. Only a file that SQLite does not take is read here: to close a file takes
        away the locks that SQLite has on it (SQLite, "How To Corrupt An SQLite Database File", section 2.2).
        """
        with self._path.open("rb") as file:
            beginning = file.read(len(_MAGIC))
        if beginning != _MAGIC and any(beginning):
            raise self._not_ours("not a database")

    def _check_tables(self, sql: sqlite3.Connection) -> None:
        """Raise sqlite3.DatabaseError if the tables are not those of this module: also if there are none.

        Raises `VerifierUnavailable` if the file is the database of something else, which must not be set aside.
        """
        tables = dict(sql.execute("SELECT name, sql FROM sqlite_schema"))
        if others := tables.keys() - _TABLES.keys():
            raise self._not_ours(f"another database: it contains {min(others)}")
        if tables != _TABLES:
            raise sqlite3.DatabaseError("The file of spent ids has other tables than expected.")

    def _complete_since(self, sql: sqlite3.Connection, *, is_new: bool) -> float:
        """Return since when the memory is complete. Create the tables in a new file.

        Raises sqlite3.Error, and `_Outdated` if the file is a copy, or from before a restart of the machine.
        """
        now, state = self._clock(), self._state()
        if is_new:
            for statement in _TABLES.values():
                sql.execute(statement)
            sql.execute("INSERT INTO memory VALUES (?, ?)", (now, state))
            return now
        rows = sql.execute("SELECT complete_since, state FROM memory").fetchall()
        if len(rows) != 1 or not isinstance(rows[0][0], float):
            raise sqlite3.DatabaseError("The file of spent ids does not tell since when it is complete.")
        complete_since, known_state = rows[0]
        if known_state != state:
            raise _Outdated
        # A time in the future is from a clock that has been set back. The memory is complete since now at the latest.
        if complete_since > now:
            sql.execute("UPDATE memory SET complete_since = ?", (now,))
            return now
        return float(complete_since)

    def _state(self) -> str:
        """Return what changes when ids may be lost: the boot of the machine, and the file, which may be a copy."""
        return f"{_boot() or '?'} {self._inodes()[0]}"

    def _inodes(self) -> tuple[int | None, int | None]:
        """Return the inodes of the database and of its log. None stands for a missing file."""
        return _inode(self._files[""]), _inode(self._files["-wal"])

    def _set_aside(self) -> None:
        """Rename the files, so that a new database can be made."""
        for suffix, file in self._files.items():
            with contextlib.suppress(FileNotFoundError):
                os.replace(file, f"{self._path}.damaged{suffix}")

    def _delete(self) -> None:
        """Delete the files, so that a new database can be made."""
        for file in self._files.values():
            with contextlib.suppress(FileNotFoundError):
                os.unlink(file)

    def _not_ours(self, what: str) -> VerifierUnavailable:
        return VerifierUnavailable(
            f"MSTOKEN_REPLAY_URL names {self._path}, which is {what}. Set it to a file of its own."
        )

    def _unavailable(self, error: Exception) -> VerifierUnavailable:
        return VerifierUnavailable(
            f"The file of spent ids cannot be used ({type(error).__name__}: {error}). Its path is {self._path}."
        )

    @contextlib.contextmanager
    def _folder_locked(self) -> Iterator[None]:
        """Let one worker at a time open the file, or set it aside."""
        if fcntl is None:
            yield
            return
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code of SQLite. Errors that this module raises count as damage."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF


def _boot() -> str | None:
    """Return the id of this boot of the machine; None on a system that does not tell.

    Source: Linux, Documentation/admin-guide/sysctl/kernel.rst, "random".
    """
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


def _inode(file: str) -> int | None:
    try:
        return os.stat(file).st_ino
    except FileNotFoundError:
        return None


_files: "WeakSet[SpentIdFile]" = WeakSet()
_files_during_fork: list[SpentIdFile] = []


def _before_fork() -> None:
    _files_during_fork.extend(_files)
    for file in _files_during_fork:
        file.begin_fork()


def _after_fork() -> None:
    while _files_during_fork:
        _files_during_fork.pop().end_fork()


if sys.platform != "win32":  # Windows cannot fork.
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
