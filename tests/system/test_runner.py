"""The runner as a user has it: a process that starts the shop, tells what happens, and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from emulator.run.catalogue import add_catalogue, catalogue
from emulator.run.logins import LOGINS
from emulator.run.ports import HOST, Ports, free_offset
from emulator.run.processes import is_alive
from emulator.run.shop_client import logged_in
from emulator.run.stack import ROOT, Stack

pytestmark = [pytest.mark.process, pytest.mark.slow]

WAIT_SECONDS = 120


class RunningRunner:
    """`python -m emulator`, on ports of its own."""

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
        """Reads the output until a line holds the text, and notes which processes run by then."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line
            if text in line:
                self.family = set(psutil.Process(self._process.pid).children(recursive=True))
                return
        raise AssertionError(f"{text!r} was never printed:\n{self.output}")

    def interrupt(self) -> None:
        """Sends it SIGINT, as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Waits for its end, and returns the exit status. Checks that nothing is left: no process, no port taken."""
        output, _ = self._process.communicate(timeout=WAIT_SECONDS)
        self.output += output
        assert not [process for process in self.family if is_alive(process)]
        assert not self.stack.ports.taken()
        return self._process.returncode

    def wait_until_gone(self) -> None:
        """Returns once nothing that it started runs any more; fails when something stays."""
        deadline = time.monotonic() + WAIT_SECONDS
        while left := [process for process in self.family if is_alive(process)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.1)

    def kill(self) -> None:
        """Ends it in any case, and with it what it started."""
        assert self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RunningRunner]]:
    """Starts runners that end with the test."""
    started: list[RunningRunner] = []

    def start_runner(*arguments: str, **environment: str) -> RunningRunner:
        started.append(RunningRunner(tmp_path, *arguments, **environment))
        return started[-1]

    yield start_runner
    for runner in started:
        runner.kill()


@pytest.mark.parametrize(("mode", "spent"), [("fresh", "token"), ("proof", "proof")])
def test_demo_shows_the_purchase_and_ends(start: Callable[..., RunningRunner], mode: str, spent: str) -> None:
    """The demo prints the bill, its delivery, the calls behind both, the whole way of the first of them, and what is
    refused, but no token; it ends with 0.
    """
    runner = start("demo", "--mode", mode)
    assert runner.end() == 0, runner.output
    assert re.search(r"Total .* 123\.90 USD", runner.output)
    assert "its delivery is delivered" in runner.output
    for caller, callee in (("billing", "product"), ("billing", "user"), ("delivery", "billing")):
        assert re.search(rf"svc:{caller} .* {callee} .* {callee} .* {mode} .* [\d.]+ s .* [\w-]{{22}}", runner.output)
    for where in ("metadata server", "function token", "Firebase Auth", "product"):
        assert re.search(rf"│ {where} .* [\d.]+ ms │", runner.output)
    assert re.search(rf"the same again .* 401 {spent}_replayed", runner.output)
    assert re.search(r"perfect but for its signature .* 401 token_untrusted", runner.output)
    assert "eyJ" not in runner.output
    assert runner.output.endswith("Everything is stopped.\n")


def test_run_stays_up_until_it_is_interrupted(start: Callable[..., RunningRunner]) -> None:
    """Run stays up with everybody who may log in and the whole catalogue; Ctrl-C ends all of it, with status 0."""
    runner = start("run")
    runner.read_until("Everything is up.")
    for login in LOGINS:
        assert login.password in runner.output
        with logged_in(runner.stack, login) as client:
            assert {found["name"] for found in client.products()} == {product["name"] for product in catalogue()}
    assert add_catalogue(runner.stack) == 0
    runner.interrupt()
    assert runner.end() == 0, runner.output
    assert runner.output.endswith("Everything is stopped.\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_nothing_outlives_a_runner_that_is_killed(start: Callable[..., RunningRunner]) -> None:
    """When the runner itself gets SIGKILL, everything that it started ends, functions included."""
    runner = start("run")
    runner.read_until("Everything is up.")
    assert any("functions-framework" in " ".join(process.cmdline()) for process in runner.family)
    runner.kill()
    runner.wait_until_gone()


def test_run_ends_when_a_service_dies(start: Callable[..., RunningRunner]) -> None:
    """When a service dies, run names it with the last lines of its log, stops the others, and ends with status 1."""
    runner = start("run")
    runner.read_until("Everything is up.")
    uvicorn = ["uvicorn", "--factory", "services.product.app:create_app"]
    (product,) = (process for process in runner.family if process.cmdline()[2:5] == uvicorn)
    product.kill()
    assert runner.end() == 1
    assert "Failed: product ended by signal 9" in runner.output


def test_a_service_that_does_not_start_ends_the_demo(start: Callable[..., RunningRunner]) -> None:
    """When a service cannot start, one sentence and its log's end say so; nothing stays, and the status is 1."""
    runner = start("demo", UVICORN_LOG_LEVEL="nonsense")
    assert runner.end() == 1
    assert re.search(r"^Failed: \w+ ended with status 2 \(log: .*\)\.$", runner.output, re.MULTILINE)
    assert "nonsense" in runner.output


def test_a_missing_program_ends_the_demo(start: Callable[..., RunningRunner]) -> None:
    """Without Node one sentence says that the emulators ended; nothing stays, and the status is 1."""
    runner = start("demo", PATH="/nonexistent")
    assert runner.end() == 1
    assert "Failed: firebase emulators:start ended with status 1" in runner.output
    assert "node cannot be run: No such file or directory" in runner.output


def test_a_taken_port_ends_the_demo_at_once(tmp_path: Path) -> None:
    """A port that is taken gives one sentence with the port and its purpose, and status 1, before anything starts."""
    offset = free_offset()
    port = Ports.shifted(offset).billing
    with socket.create_server((HOST, port)):
        done = subprocess.run(
            [sys.executable, "-m", "emulator", "demo", "--port-offset", str(offset), "--data", str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
        )
    assert done.returncode == 1
    assert done.stdout.startswith(f"Failed: Port {port}, wanted for billing, is taken")
    assert done.stdout.count("\n") == 1
    assert not list(tmp_path.iterdir())
