"""Processes: the end of one is noticed, and stopping them leaves no process behind."""

import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import psutil
import pytest

from emulator.run import die_with_parent
from emulator.run.errors import Interrupted, NotReady, ProcessDied, RunnerError
from emulator.run.processes import Process, Supervisor, is_alive

pytestmark = pytest.mark.process

WAIT_SECONDS = 60.0

PARENT_OF_STUBBORN = """
import subprocess, sys, time
stubborn = "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT,"
stubborn += " signal.SIG_IGN); print('up as', os.getpid(), 'now', flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", stubborn], {options})
{then}
"""
UP = re.compile(r"up as (\d+) now")
"""What the child prints, with its id."""


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """A supervisor whose processes end with the test."""
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop()


@pytest.fixture
def start(supervisor: Supervisor, tmp_path: Path) -> Callable[[str], Process]:
    """Starts a process named "it" that runs Python code."""

    def start_code(code: str) -> Process:
        command = [sys.executable, "-c", code]
        return supervisor.start("it", command, env=dict(os.environ), cwd=tmp_path, log=tmp_path / "it.log")

    return start_code


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def wait_for_child(log: Path) -> int:
    """Wait until a stubborn child is up, and return its id."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (up := UP.search(log.read_text())) is None:
        assert time.monotonic() < deadline, "the child is not up"
        time.sleep(0.02)
    return int(up[1])


def gone(pid: int) -> bool:
    """Return whether no process with this id runs."""
    try:
        return not is_alive(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return True


def test_what_a_process_writes_is_private(supervisor: Supervisor, tmp_path: Path) -> None:
    """The log of a process, and what the process writes, are for this user only: mode 0600 in folders of 0700."""
    log = tmp_path / "data" / "logs" / "it.log"
    code = "import pathlib; folder = pathlib.Path('made'); folder.mkdir(); (folder / 'x.db').touch(); print('made')"
    process = supervisor.start("it", [sys.executable, "-c", code], env=dict(os.environ), cwd=tmp_path, log=log)
    assert process.exited.wait(WAIT_SECONDS)
    assert process.has_logged("made")
    assert [mode(path) for path in (log, log.parent, log.parent.parent)] == [0o600, 0o700, 0o700]
    assert [mode(path) for path in (tmp_path / "made" / "x.db", tmp_path / "made")] == [0o600, 0o700]


def test_wait_until_returns_when_ready(supervisor: Supervisor, start: Callable[[str], Process]) -> None:
    """A wait ends as soon as the condition is true."""
    process = start("print('ready', flush=True); import time; time.sleep(600)")
    supervisor.wait_until(partial(process.has_logged, "ready"), "it", WAIT_SECONDS)
    assert not process.exited.is_set()


def test_a_wait_ends_when_the_process_ends(supervisor: Supervisor, start: Callable[[str], Process]) -> None:
    """If a process ends during a wait, the error has its name, its status and the last lines of its log."""
    start("print('cannot go on'); raise SystemExit(3)")
    with pytest.raises(ProcessDied, match="it ended with status 3") as caught:
        supervisor.wait_until(lambda: False, "it", WAIT_SECONDS)
    assert caught.value.last_lines == "cannot go on"


def test_a_killed_process_is_noticed(supervisor: Supervisor, start: Callable[[str], Process]) -> None:
    """If a signal ends a process, the error has its name and the signal."""
    process = start("print('ready', flush=True); import time; time.sleep(600)")
    supervisor.wait_until(partial(process.has_logged, "ready"), "it", WAIT_SECONDS)
    process.popen.kill()
    with pytest.raises(ProcessDied, match="it was ended by signal 9"):
        supervisor.check(WAIT_SECONDS)


def test_a_wait_has_a_deadline(supervisor: Supervisor, start: Callable[[str], Process]) -> None:
    """If the condition does not become true before the deadline, the error says so."""
    start("import time; time.sleep(600)")
    with pytest.raises(NotReady, match="it was not ready after 0 s"):
        supervisor.wait_until(lambda: False, "it", 0.2)


def test_an_interrupt_ends_a_wait(supervisor: Supervisor) -> None:
    """After an interrupt the next wait raises Interrupted."""
    supervisor.interrupt()
    with pytest.raises(Interrupted):
        supervisor.check(None)


def test_stop_does_not_wait_where_interrupts_are_ignored(
    supervisor: Supervisor, start: Callable[[str], Process]
) -> None:
    """A process ends at once when it is stopped, even if we ignore SIGINT, as the background jobs of a shell do."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start("print('ready', flush=True); import time; time.sleep(600)")
    finally:
        signal.signal(signal.SIGINT, handler)
    supervisor.wait_until(partial(process.has_logged, "ready"), "it", WAIT_SECONDS)
    supervisor.stop()
    assert process.popen.returncode == -signal.SIGINT


@pytest.mark.parametrize("options", ["", "process_group=0", "start_new_session=True"])
def test_stop_ends_grandchildren(supervisor: Supervisor, start: Callable[[str], Process], options: str) -> None:
    """Stopping a process kills its children too, even if they ignore signals or have a session of their own."""
    process = start(PARENT_OF_STUBBORN.format(options=options, then="time.sleep(600)"))
    child = wait_for_child(process.log)
    supervisor.stop()
    assert gone(process.popen.pid)
    assert gone(child)


def test_stop_ends_orphans(supervisor: Supervisor, start: Callable[[str], Process]) -> None:
    """Stopping also kills what a process that has ended left behind in its session."""
    # The child has a process group of its own: die_with_parent kills what is left in its parent's group.
    process = start(PARENT_OF_STUBBORN.format(options="process_group=0", then="raise SystemExit(0)"))
    assert process.exited.wait(WAIT_SECONDS)
    orphan = wait_for_child(process.log)
    assert not gone(orphan)
    supervisor.stop()
    assert gone(orphan)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can end a process with its parent")
def test_no_process_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    """If a parent is ended by SIGKILL, the processes that it started end too, and so do their children."""
    command = PARENT_OF_STUBBORN.format(options="", then="time.sleep(600)")
    code = (
        "import os, subprocess, sys;"
        f"subprocess.run([sys.executable, {die_with_parent.__file__!r}, str(os.getpid()), sys.executable, '-c',"
        f" {command!r}],"
        " start_new_session=True)"
    )
    log = tmp_path / "log"
    with log.open("wb") as output, subprocess.Popen([sys.executable, "-c", code], stdout=output) as parent:
        child = wait_for_child(log)
        family = psutil.Process(parent.pid).children(recursive=True)
        assert child in {member.pid for member in family}
        parent.kill()
    deadline = time.monotonic() + WAIT_SECONDS
    while any(is_alive(member) for member in family):
        assert time.monotonic() < deadline, family
        time.sleep(0.02)


def test_a_process_can_be_ended_and_started_again(supervisor: Supervisor, start: Callable[[str], Process]) -> None:
    """After `end` the process is gone, and `check` does not fail. One with the same name can start."""
    first = start("print('ready', flush=True); import time; time.sleep(600)")
    supervisor.wait_until(partial(first.has_logged, "ready"), "it", WAIT_SECONDS)
    supervisor.end("it")
    assert first.exited.wait(WAIT_SECONDS)
    supervisor.check(0.1)
    with pytest.raises(RunnerError, match=r"No process with the name it is running\."):
        supervisor.end("it")
    second = start("import time; time.sleep(600)")
    assert supervisor.process("it") is second
    second.popen.kill()
    with pytest.raises(ProcessDied):
        supervisor.check(WAIT_SECONDS)


def test_a_process_can_be_killed(supervisor: Supervisor, start: Callable[[str], Process]) -> None:
    """`end` with `kill` ends a process at once, without asking it, and what it started too."""
    process = start(PARENT_OF_STUBBORN.format(options="", then="time.sleep(600)"))
    child = wait_for_child(process.log)
    supervisor.end("it", kill=True)
    assert process.exited.wait(WAIT_SECONDS)
    assert process.popen.returncode == -signal.SIGKILL
    assert gone(child)


def in_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_another_thread_has_work_done_in_the_main_thread(supervisor: Supervisor) -> None:
    """A function that another thread hands over runs in the thread that checks. The future has its result."""
    seen: list[Future[str]] = []
    in_thread(lambda: seen.append(supervisor.in_main_thread(lambda: threading.current_thread().name))).join()
    assert not seen[0].done()
    supervisor.check()
    assert seen[0].result(0) == threading.current_thread().name


def test_a_check_goes_on_after_a_call(supervisor: Supervisor) -> None:
    """A call does not end the wait in which it is made, and an error of it goes to its future only."""
    failed = supervisor.in_main_thread(divmod, 1, 0)
    supervisor.interrupt()
    with pytest.raises(Interrupted):
        supervisor.check(WAIT_SECONDS)
    assert isinstance(failed.exception(0), ZeroDivisionError)


def test_calls_run_one_after_another(supervisor: Supervisor) -> None:
    """A call that arrives while another one waits runs after it, although waiting checks too."""
    order: list[str] = []

    def first() -> None:
        order.append("first begins")
        supervisor.in_main_thread(order.append, "second")
        supervisor.check(0.01)
        order.append("first ends")

    supervisor.in_main_thread(first)
    supervisor.check()
    assert order == ["first begins", "first ends", "second"]


def test_the_death_of_a_process_during_a_call_ends_the_runner(
    supervisor: Supervisor, start: Callable[[str], Process]
) -> None:
    """If a process dies while a call waits, the call fails, and `check` raises the same error."""
    start("raise SystemExit(3)")
    call = supervisor.in_main_thread(supervisor.wait_until, lambda: False, "it", WAIT_SECONDS)
    with pytest.raises(ProcessDied):
        supervisor.check(WAIT_SECONDS)
    assert isinstance(call.exception(0), ProcessDied)


def test_calls_are_cancelled_when_the_processes_are_stopped(supervisor: Supervisor) -> None:
    """`stop` cancels calls that have not begun, and those that come later, so that no thread waits for ever."""
    early = supervisor.in_main_thread(lambda: None)
    supervisor.stop()
    late = supervisor.in_main_thread(lambda: None)
    assert early.cancelled()
    assert late.cancelled()
    supervisor.check()
