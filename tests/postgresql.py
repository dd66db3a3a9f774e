"""A PostgreSQL of the tests' own."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex
from typing import Any

import asyncpg
import psutil

START_SECONDS = 30.0
MISSING = "PostgreSQL is not installed (Debian: apt install postgresql)"

_UNSAFE_AND_QUICK = {"fsync": "off", "full_page_writes": "off"}
"""What is committed survives the end of the server's processes all the same; that of the machine it need not."""
_GUARD = 'read -r _; kill -QUIT "$0"; sleep 2; rm -rf "$1"'
"""Waits for the end of what writes to it, the tests, and then ends the server: they may be killed themselves."""


def programs() -> Path | None:
    """The folder with PostgreSQL's programs: Debian keeps the server's own off the PATH. None where there are none."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    candidates = [*reversed(versions), *(Path(folder) for folder in os.get_exec_path())]
    return next((path for path in candidates if (path / "initdb").exists() and (path / "postgres").exists()), None)


class PostgresServer:
    """A server on a free port, with its files in a folder of its own, without Unix sockets, gone after `remove`.

    PostgreSQL will not be run by root; where the tests are, it is run by the user `postgres` of Debian's package.
    """

    def __init__(self) -> None:
        found = programs()
        assert found is not None, MISSING
        self._programs = found
        self._as_user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []}
        if os.geteuid() != 0:
            self._as_user = {}
        self._password = token_hex(8)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
        self._data = self._folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._database_number = 0
        # asyncpg wants an event loop, and those who ask are often in one that must not be touched.
        self._thread = ThreadPoolExecutor(1)

    def start(self) -> None:
        """Returns when it answers."""
        if not self._data.exists():
            self._init()
        options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            **_UNSAFE_AND_QUICK,
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
        """SQLAlchemy's, or with `driver` "postgresql" the one of PostgreSQL's own clients."""
        return f"{driver}://postgres:{self._password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, *, database: str = "postgres") -> str:
        """Executes a statement outside of any transaction, as the superuser."""

        async def connect_and_execute() -> str:
            connection = await asyncpg.connect(self.url(database, driver="postgresql"), timeout=START_SECONDS)
            try:
                status: str = await connection.execute(statement)
                return status
            finally:
                await connection.close()

        return self._thread.submit(asyncio.run, connect_and_execute()).result()

    def make_database(self, template: str = "template1") -> str:
        """The name of a new database, a copy of `template`."""
        self._database_number += 1
        name = f"test_{self._database_number}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """With whatever is still connected to it."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def kill(self) -> None:
        """As a crash of the machine would; it can be started again."""
        assert self._process is not None
        self._dismiss_guard()
        for process in self._family():
            process.kill()
        self._process.wait()
        self._process = None

    def hang(self) -> None:
        """Connections stay open, and nothing answers."""
        for process in self._family():
            process.suspend()

    def go_on(self) -> None:
        for process in self._family():
            process.resume()

    def remove(self) -> None:
        """Ends it, with all that it has."""
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

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        leader = psutil.Process(self._process.pid)
        return [leader, *leader.children(recursive=True)]
