"""The runner as a process, as `make run` and `make demo` start it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from emulator.run.ports import Ports, free_offset
from emulator.run.processes import is_alive
from emulator.run.stack import ROOT, Stack

WAIT_SECONDS = 120


class RunningRunner:
    """`python -m emulator` as a process, on ports of its own."""

    def __init__(self, data: Path, *arguments: str, **environment: str) -> None:
        offset = free_offset()
        self.stack = Stack(Ports.shifted(offset), data)
        self.family: set[psutil.Process] = set()
        self.output = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "emulator", *arguments, "--port-offset", str(offset), "--data", str(data)],
            cwd=ROOT,
            env=os.environ | {"COLUMNS": "120"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def read_until(self, text: str) -> None:
        """Read the output until a line contains the text. Record the processes that run by then."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line
            if text in line:
                self.family = set(psutil.Process(self._process.pid).children(recursive=True))
                return
        raise AssertionError(f"{text!r} was never printed:\n{self.output}")

    def commands(self) -> dict[psutil.Process, list[str]]:
        """Return the command lines of the recorded processes. One that has ended by now has none, and is left out."""
        found = {}
        for process in self.family:
            with suppress(psutil.NoSuchProcess):
                found[process] = process.cmdline()
        return found

    def interrupt(self) -> None:
        """Send SIGINT, as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait until the process ends. Check that no process and no port in use is left. Return the exit status."""
        output, _ = self._process.communicate(timeout=WAIT_SECONDS)
        self.output += output
        assert not [process for process in self.family if is_alive(process)]
        assert not self.stack.ports.taken()
        return self._process.returncode

    def wait_until_gone(self) -> None:
        """Wait until nothing that the runner started still runs. Fail if something does."""
        deadline = time.monotonic() + WAIT_SECONDS
        while left := [process for process in self.family if is_alive(process)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.1)

    def kill(self) -> None:
        """End the runner with SIGKILL. What it started ends with it."""
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
