"""Starts processes, watches them, and stops them together with everything that they started.

This is written by hand. Process managers stop the processes that they started, but not those that firebase-tools leaves
behind in sessions of their own, and their processes live on if the manager itself is killed.
"""

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
from mstoken.private_files import make_private_file

POLL_SECONDS = 0.05
STOP_SECONDS = 10.0
"""How long processes may take to end after they were asked to."""
KILL_SECONDS = 5.0
"""How long to wait for processes that were killed."""
PRIVATE_UMASK = 0o077
"""Makes what a process writes (databases, logs, exported users) readable for this user only."""


class Process:
    """A running command, in a session of its own, with its output in a log file.

    On Linux it ends when this process ends (see `die_with_parent`).
    """

    def __init__(self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self.name = name
        self.log = log
        make_private_file(log)
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
                umask=PRIVATE_UMASK,
            )
        self.exited = threading.Event()

    def watch(self, on_exit: Callable[["Process"], None]) -> None:
        """Call `on_exit` from another thread as soon as the process has ended."""

        def wait() -> None:
            self.popen.wait()
            self.exited.set()
            on_exit(self)

        threading.Thread(target=wait, name=f"watch {self.name}", daemon=True).start()

    def family(self) -> set[psutil.Process]:
        """Return the process, its descendants, and all other processes of its session, including orphans."""
        found = {process for process in psutil.process_iter() if _session(process.pid) == self.popen.pid}
        try:
            root = psutil.Process(self.popen.pid)
            return found | {root, *root.children(recursive=True)}
        except psutil.NoSuchProcess:
            return found

    def ask_to_end(self) -> set[psutil.Process]:
        """Send the process SIGINT, as Ctrl-C does. Return the processes that have to end with it."""
        family = self.family()
        if not self.exited.is_set():
            self.popen.send_signal(signal.SIGINT)
        return family

    def has_logged(self, text: str) -> bool:
        """Return whether the text is in the log."""
        return text in self.log.read_text(errors="replace")

    def last_lines(self, count: int = 10) -> str:
        """Return the last `count` lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process still runs. A zombie does not, once its last thread has ended and closed its ports."""
    try:
        return process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1)
    except psutil.NoSuchProcess:
        return False


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


class Supervisor:
    """Processes that must all stay up until the user interrupts."""

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self._events: queue.SimpleQueue[Process | None] = queue.SimpleQueue()

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> Process:
        """Start a process, and watch it from now on.

        Call this from the main thread: the kernel ends the process when the thread that started it ends.
        """
        process = Process(name, command, env=env, cwd=cwd, log=log)
        self.processes.append(process)
        process.watch(self._events.put)
        return process

    def interrupt(self) -> None:
        """Make the current or the next wait raise Interrupted. May be called in a signal handler."""
        self._events.put(None)

    def check(self, seconds: float | None = 0) -> None:
        """Watch the processes for so many seconds; None means without end.

        Raises ProcessDied if a process ended, and Interrupted after interrupt().
        """
        try:
            process = self._events.get(timeout=seconds) if seconds != 0 else self._events.get_nowait()
        except queue.Empty:
            return
        if process is None:
            raise Interrupted
        raise ProcessDied(process.name, process.popen.returncode, str(process.log), process.last_lines())

    def wait_until(self, ready: Callable[[], bool], name: str, seconds: float) -> None:
        """Wait until ready() is true. Raises NotReady after so many seconds, and what check raises."""
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise NotReady(f"{name} was not ready after {seconds:.0f} s.")
            self.check(POLL_SECONDS)

    def stop(self) -> None:
        """Stop all processes and everything that they started. Those that do not end when asked to are killed."""
        families = [process.ask_to_end() for process in self.processes]
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.processes:
            process.exited.wait(max(0.0, deadline - time.monotonic()))
        # Processes that were started in the meantime count too.
        members = set().union(*families, *(process.family() for process in self.processes))
        left = [member for member in members if is_alive(member)]
        for member in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        # Not psutil.wait_procs: it also waits until the system's first process has collected the orphans.
        deadline = time.monotonic() + KILL_SECONDS
        while any(is_alive(member) for member in left) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        self.processes.clear()
