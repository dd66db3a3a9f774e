"""A Redis of the tests' own."""

import signal
import socket
import subprocess
from pathlib import Path

import pytest
import redis

START_SECONDS = 20.0


class RedisServer:
    """A Redis of our own: on a free port, with its files in a folder of its own, gone when the test is."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Returns when it answers."""
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

    def command(self, *words: str) -> None:
        with redis.Redis(port=self.port) as client:
            client.execute_command(*words)

    def kill(self) -> None:
        """As a crash would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Connections stay open, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
