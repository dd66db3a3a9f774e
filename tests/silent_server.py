"""A server that accepts connections and never answers, as during some outages."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from textwrap import dedent
from types import TracebackType
from typing import Self

DEADLINE_SECONDS = 30.0
"""Maximum time that a test waits for a request."""
END_SECONDS = 60.0
"""Maximum time that a test waits for the end of a program. Only a program that waits for an answer needs so long."""
WITHOUT_TIME_LIMITS = """
import asyncio, os
os.environ["GCE_METADATA_TIMEOUT"] = "3600"

from mstoken.caller import connections
connections.TIMEOUT_SECONDS = None
asyncio.timeout = lambda _seconds, timeout=asyncio.timeout: timeout(None)
"""
"""The beginning of a program of `end_during_a_request`: it waits for answers without end. So the test does not have to
measure time in order to see whether the program waits for one, and a busy machine does not matter."""


class SilentServer:
    """Listens on a free `port` of this machine, and reads requests. Close it with `with`."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._requests = threading.Semaphore(0)
        self._accepting = threading.Thread(target=self._accept, name="silent server", daemon=True)

    @property
    def connections(self) -> int:
        """The number of connections that it has accepted."""
        return len(self._connections)

    def wait_for_request(self) -> None:
        """Wait until one more request has come, or at least its first bytes."""
        assert self._requests.acquire(timeout=DEADLINE_SECONDS), "no request has come"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # the server was closed
                return
            self._connections.append(connection)
            threading.Thread(target=self._read, args=[connection], name="silent connection", daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the connection was closed, here or by the client
            if connection.recv(65_536):
                self._requests.release()

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # `accept` in another thread goes on after `close`, but not after `shutdown`.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._accepting.join()
        for connection in self._connections:
            connection.close()


def end_during_a_request(
    server: SilentServer, script: str, variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program that sends a request to `server`, and then reads a line, which says that the request has come.

    Nothing in the program has a time limit. Raise `subprocess.TimeoutExpired` if it does not end.
    """
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WITHOUT_TIME_LIMITS + dedent(script)],
        env=os.environ | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            server.wait_for_request()
            stdout, stderr = process.communicate("the request has come\n", timeout=END_SECONDS)
        finally:
            process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
