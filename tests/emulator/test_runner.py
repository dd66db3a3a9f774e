"""What the runner prints if the shop does not start; tests/system/test_runner.py runs the whole shop."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from typing_extensions import override

from emulator.run.errors import NotReady
from emulator.run.ports import Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import Stack
from emulator.runner import FAILED, SIGNALS, Runner

pytestmark = pytest.mark.process


class SlowStack(Stack):
    """A stack whose emulators start and never become ready."""

    @override
    def start_emulators(self, supervisor: Supervisor) -> None:
        command = [sys.executable, "-c", "import time; time.sleep(600)"]
        supervisor.start("slow", command, env=dict(os.environ), cwd=self.data, log=self.log("slow"))
        raise NotReady("slow was not ready after 90 s.")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Restores the signal handlers that a runner replaces."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_failure_to_start_names_the_logs(tmp_path: Path) -> None:
    """If something does not become ready, the runner says what, and where the logs are. Then it stops the rest."""
    output = io.StringIO()
    runner = Runner(SlowStack(Ports.shifted(free_offset()), tmp_path), Console(file=output, width=200))
    assert runner.run(stay=True) == FAILED
    assert output.getvalue().splitlines()[-4:] == [
        "Failed: slow was not ready after 90 s.",
        f"The logs are in {tmp_path / 'logs'}",
        "Stopping …",
        "Everything is stopped.",
    ]
