"""A Firestore emulator that the tests start themselves: the npm package @firestore-emulator/server.

It is not Google's. It speaks gRPC as Firestore does, and keeps documents in memory.
"""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emulator.run.ports import free_port

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "node_modules/@firestore-emulator/server"
MISSING = "the npm package @firestore-emulator/server is not installed (make setup)"

_PROGRAM = """
const { FirestoreServer } = require("@firestore-emulator/server");
const server = new FirestoreServer();
require("readline").createInterface({ input: process.stdin })
    .on("line", () => { server.state.clear(); console.log("cleared"); })
    .on("close", () => process.exit());
server.start(Number(process.argv[1])).then(() => console.log("ready"));
"""
"""Deletes all documents for each line that it reads, and ends with its input."""


class FirestoreServer:
    """A server on a free port. `kill` ends it, and `start` begins another one without documents on the same port."""

    def __init__(self) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the server, and return when it answers."""
        command = ["node", "-e", _PROGRAM, self.address.partition(":")[2]]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._expect("ready")

    def clear(self) -> None:
        """Delete all documents."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write("clear\n")
        self._expect("cleared")

    def kill(self) -> None:
        """Kill the server."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.communicate()
            self._process = None

    def hang(self) -> None:
        """Suspend the server: connections stay open, and nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def _expect(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == line


@contextmanager
def running_firestore() -> Iterator[FirestoreServer]:
    """Run a server until the end of the block. Skips the test if the package is not installed."""
    if shutil.which("node") is None or not PACKAGE.exists():
        pytest.skip(MISSING)
    server = FirestoreServer()
    try:
        server.start()
        yield server
    finally:
        server.kill()
