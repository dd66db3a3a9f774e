"""A PostgreSQL server that the tests start themselves."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import asyncpg
import psutil
import pytest

from emulator.run.ports import free_port

START_SECONDS = 30.0
MISSING = "PostgreSQL is not installed (Debian: apt install postgresql)"

_UNSAFE_AND_QUICK = {"fsync": "off", "full_page_writes": "off"}
"""Committed data survives when the server's processes are killed. It does not survive a crash of the machine."""
_GUARD = 'read -r _; kill -QUIT "$0"; sleep 2; rm -rf "$1"'
"""Ends the server when its standard input ends, which the test process holds: that process may be killed."""


def programs() -> Path | None:
    """Return the folder with PostgreSQL's server programs, or None if it is not installed.

    Debian does not put the server's programs on the PATH.
    """
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    candidates = [*reversed(versions), *(Path(folder) for folder in os.get_exec_path())]
    return next((path for path in candidates if (path / "initdb").exists() and (path / "postgres").exists()), None)


class PostgresServer:
    """A server on a free port, with its files in a new folder inside `parent`. `remove` ends it and deletes the files.

    It has no Unix socket. PostgreSQL refuses to run as root: if the tests run as root, the server runs as the user
    `postgres` of Debian's package.
    """

    def __init__(self, parent: Path | None = None, *, durable: bool = False) -> None:
        """With `durable`, a commit waits for the disk, as it does in production. Tests are faster without."""
        found = programs()
        assert found is not None, MISSING
        self._programs = found
        self._options = {} if durable else _UNSAFE_AND_QUICK
        self._as_user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []}
        if os.geteuid() != 0:
            self._as_user = {}
        self._password = token_hex(8)
        version = subprocess.check_output([found / "postgres", "--version"], text=True)
        # Older versions know no other strategy. The default of newer ones writes a log of the copy, which takes longer.
        self._strategy = "STRATEGY FILE_COPY" if int(version.split()[2].split(".")[0]) >= 15 else ""
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir=parent))
        self._data = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._database_number = 0
        self._templates: dict[str, str] = {}
        # asyncpg needs an event loop. The caller often has one that runs already, so statements run in a thread.
        self._thread = ThreadPoolExecutor(1)

    def start(self) -> None:
        """Start the server, and return when it answers."""
        if not self._data.exists():
            self._init()
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            **self._options,
        }
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres",
                    *("-D", self._data),
                    *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
                ],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                **self._as_user,
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(self._process.pid), self._folder],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        give_up_at = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
                return
            except (OSError, asyncpg.CannotConnectNowError):
                ended = self._process.poll() is not None
                if ended or time.monotonic() > give_up_at:
                    raise AssertionError((self._folder / "log").read_text()) from None
                time.sleep(0.05)

    def _init(self) -> None:
        password_file = self._folder / "password"
        password_file.write_text(self._password)
        if self._as_user:
            for path in (self._folder, password_file):
                shutil.chown(path, "postgres", "postgres")
        subprocess.run(
            [
                self._programs / "initdb",
                *("--pgdata", self._data),
                *("--username", "postgres", "--pwfile", password_file, "--auth", "password"),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
            ],
            cwd=self._folder,
            check=True,
            capture_output=True,
            **self._as_user,
        )

    def url(self, database: str = "postgres", *, driver: str = "postgresql+asyncpg") -> str:
        """Return the URL of a database for SQLAlchemy, or for PostgreSQL's own clients if `driver` is "postgresql"."""
        return f"{driver}://postgres:{self._password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, *, database: str = "postgres") -> str:
        """Execute a statement outside a transaction, as the superuser."""

        async def connect_and_execute() -> str:
            connection = await asyncpg.connect(self.url(database, driver="postgresql"), timeout=START_SECONDS)
            try:
                status: str = await connection.execute(statement)
                return status
            finally:
                await connection.close()

        return self._thread.submit(asyncio.run, connect_and_execute()).result()

    def make_database(self, template: str = "template1") -> str:
        """Create a database as a copy of `template`, and return its name."""
        self._database_number += 1
        name = f"test_{self._database_number}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} {self._strategy}")
        return name

    def template(self, key: str, fill: Callable[[str], Awaitable[None]]) -> str:
        """Return the name of the template for `key`: at the first use a new database, filled by `fill(url)`.

        `fill` must close its connections, since PostgreSQL does not copy a database that is in use.
        """
        if key not in self._templates:
            name = self.make_database()

            async def fill_database() -> None:
                await fill(self.url(name))

            self._thread.submit(asyncio.run, fill_database()).result()
            self._templates[key] = name
        return self._templates[key]

    def drop_database(self, name: str) -> None:
        """Drop a database, and end the connections to it."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def kill(self) -> None:
        """Kill all of its processes. It can be started again."""
        assert self._process is not None
        self._dismiss_guard()
        for process in self._family():
            process.kill()
        self._process.wait()
        self._process = None

    def hang(self) -> None:
        """Suspend the server: connections stay open, and nothing answers."""
        self._send_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again after `hang`."""
        self._send_all(signal.SIGCONT)

    def remove(self) -> None:
        """End the server and delete its files."""
        self._dismiss_guard()
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        self._thread.shutdown()
        shutil.rmtree(self._folder)

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _send_all(self, number: int) -> None:
        for process in self._family():
            with suppress(psutil.NoSuchProcess):  # A connection's process may end at any time.
                process.send_signal(number)

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        leader = psutil.Process(self._process.pid)
        return [leader, *leader.children(recursive=True)]


@contextmanager
def running_postgresql(parent: Path) -> Iterator[PostgresServer]:
    """Run a server until the end of the block, with its files in a new folder inside `parent`.

    Skips the test if PostgreSQL is not installed.
    """
    if programs() is None:
        pytest.skip(MISSING)
    server = PostgresServer(parent)
    try:
        server.start()
        yield server
    finally:
        server.remove()
