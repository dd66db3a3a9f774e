"""Starts processes, watches them, and stops them with everything that they started."""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from emulator.run import die_with_parent
from emulator.run.errors import Interrupted, NotReady, ProcessDied

POLL_SECONDS = 0.05
STOP_SECONDS = 10.0
KILL_SECONDS = 5.0


class Process:
    """A running command: in a session of its own, its output in a log file, tied to our life where Linux can."""

    def __init__(self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        shim = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
        with log.open("ab") as output:
            self.popen = subprocess.Popen(  # noqa: S603 - the commands are our own
                [*shim, *command],
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.exited = threading.Event()

    def watch(self, tell: Callable[["Process"], None]) -> None:
        """Calls tell from another thread as soon as the process has ended."""

        def wait() -> None:
            self.popen.wait()
            self.exited.set()
            tell(self)

        threading.Thread(target=wait, name=f"watch {self.name}", daemon=True).start()

    def family(self) -> set[psutil.Process]:
        """The process, its descendants, and all others of its session, orphans included."""
        found = {process for process in psutil.process_iter() if _session(process.pid) == self.popen.pid}
        try:
            root = psutil.Process(self.popen.pid)
            return found | {root, *root.children(recursive=True)}
        except psutil.NoSuchProcess:
            return found

    def ask_to_end(self) -> set[psutil.Process]:
        """Sends the process itself SIGINT, as Ctrl-C would, and returns the family that has to end with it."""
        family = self.family()
        if not self.exited.is_set():
            self.popen.send_signal(signal.SIGINT)
        return family

    def has_said(self, text: str) -> bool:
        """Whether the text is in the log."""
        return text in self.log.read_text(errors="replace")

    def last_lines(self, count: int = 10) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])


def is_alive(process: psutil.Process) -> bool:
    """Whether a process still runs; one that has ended and that nobody waits for does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


class Supervisor:
    """Processes that must all stay up, until one ends or somebody interrupts."""

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self._events: queue.SimpleQueue[Process | None] = queue.SimpleQueue()

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> Process:
        """Starts a process and watches it from now on. To be called from the main thread, which outlives it."""
        process = Process(name, command, env=env, cwd=cwd, log=log)
        self.processes.append(process)
        process.watch(self._events.put)
        return process

    def interrupt(self) -> None:
        """Makes the call that waits now, or else the next one, raise Interrupted. Safe in a signal handler."""
        self._events.put(None)

    def check(self, seconds: float | None = 0) -> None:
        """Waits so many seconds (None: for ever) for something to go wrong.

        Raises ProcessDied when a process ended, Interrupted after interrupt().
        """
        try:
            process = self._events.get(timeout=seconds) if seconds != 0 else self._events.get_nowait()
        except queue.Empty:
            return
        if process is None:
            raise Interrupted
        raise ProcessDied(process.name, process.popen.returncode, str(process.log), process.last_lines())

    def wait_until(self, ready: Callable[[], bool], name: str, seconds: float) -> None:
        """Waits until ready() holds. Raises NotReady when it does not in time, and what check raises."""
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise NotReady(f"{name} was not ready after {seconds:.0f} s.")
            self.check(POLL_SECONDS)

    def stop(self) -> None:
        """Stops all with everything that they started: they are asked to end, and after a while made to."""
        families = [process.ask_to_end() for process in self.processes]
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.processes:
            process.exited.wait(max(0.0, deadline - time.monotonic()))
        # Those started meanwhile count as well.
        everybody = set().union(*families, *(process.family() for process in self.processes))
        left = [member for member in everybody if is_alive(member)]
        for member in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(left, timeout=KILL_SECONDS)
        self.processes.clear()
