"""A Redis server that the tests start themselves."""

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

START_SECONDS = 20.0
MISSING = "redis-server is not installed (Debian: apt install redis-server)"


class RedisServer:
    """A server on a free port, with its files in `folder`. `kill` ends it."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of its database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Start the server with these options of redis-server, and return when it answers."""
        self._process = subprocess.Popen(
            [
                "redis-server",
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                self._folder,
                *options,
            ],
            stdout=subprocess.DEVNULL,
        )
        with redis.Redis(port=self.port) as client:
            for _ in range(int(START_SECONDS / 0.05)):
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    with pytest.raises(subprocess.TimeoutExpired):
                        self._process.wait(0.05)
        raise AssertionError("redis-server did not answer in time")

    def command(self, *words: str) -> Any:
        """Execute a command, such as FLUSHALL, and return the answer."""
        with redis.Redis(port=self.port) as client:
            return client.execute_command(*words)

    def kill(self) -> None:
        """Kill the server. It can be started again, with the data that it has in its files."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Suspend the server: connections stay open, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again after `hang`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """Run a server until the end of the block. Skips the test if Redis is not installed."""
    if shutil.which("redis-server") is None:
        pytest.skip(MISSING)
    server = RedisServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
