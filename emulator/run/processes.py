"""Starts processes, watches them, and stops them together with everything that they started.

This is written by hand. Process managers stop the processes that they started, but not those that firebase-tools leaves
behind in sessions of their own, and their processes live on if the manager itself is killed.
"""

import contextlib
import functools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil

from emulator.run import die_with_parent
from emulator.run.errors import Interrupted, NotReady, ProcessDied, RunnerError
from mstoken.private_files import make_private_file

POLL_SECONDS = 0.05
STOP_SECONDS = 10.0
"""How long processes may take to end after they were asked to."""
KILL_SECONDS = 5.0
"""How long to wait for processes that were killed."""
P = ParamSpec("P")
T = TypeVar("T")

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
    """Processes that must all stay up until the user interrupts.

    Its methods are for the main thread, in which `check` waits. Other threads use `in_main_thread` and `interrupt`.
    """

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self._events: queue.SimpleQueue[Process | Callable[[], None] | None] = queue.SimpleQueue()
        self._calls: set[Future[object]] = set()
        """The calls of other threads that have not ended yet."""
        self._postponed: deque[Callable[[], None]] = deque()
        """Calls that arrived while another one was running."""
        self._is_calling = False
        self._is_stopped = False
        self._lock = threading.Lock()

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> Process:
        """Start a process, and watch it from now on.

        Call this from the main thread: the kernel ends the process when the thread that started it ends.
        """
        process = Process(name, command, env=env, cwd=cwd, log=log)
        self.processes.append(process)
        process.watch(self._events.put)
        return process

    def process(self, name: str) -> Process:
        """Return the running process with this name. Raises RunnerError if there is none."""
        for process in self.processes:
            if process.name == name:
                return process
        raise RunnerError(f"No process with the name {name} is running.")

    def end(self, name: str, *, kill: bool = False) -> None:
        """End a process and everything that it started. From now on `check` does not expect it to stay up.

        It is asked to end, as `stop` does it, or killed at once. It can be started again with the same name. Raises
        RunnerError if no such process is running.
        """
        process = self.process(name)
        self.processes.remove(process)
        _end([process], kill=kill)

    def in_main_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Call `function` in the main thread, at the next or the current wait. Return the future of what it returns.

        Calls run one after another: one that arrives while another one waits runs afterwards. `stop` cancels the calls
        that have not begun, and later ones. May be called from any thread.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._is_stopped:
                future.cancel()
                return future
            self._calls.add(future)  # type: ignore[arg-type] # it is only cancelled and removed
            future.add_done_callback(self._calls.discard)
        self._events.put(functools.partial(_call, future, functools.partial(function, *args, **kwargs)))
        return future

    def interrupt(self) -> None:
        """Make the current or the next wait raise Interrupted. May be called in a signal handler."""
        self._events.put(None)

    def check(self, seconds: float | None = 0) -> None:
        """Watch the processes for so many seconds, and make the calls of other threads. None means without end.

        Raises ProcessDied if a process ended that should stay up, and Interrupted after interrupt().
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            try:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                # A timeout of 0 would wait for a moment.
                event = self._events.get_nowait() if left == 0 else self._events.get(timeout=left)
            except queue.Empty:
                return
            if event is None:
                raise Interrupted
            if not isinstance(event, Process):
                self._make_call(event)
            elif event in self.processes:
                raise ProcessDied(event.name, event.popen.returncode, str(event.log), event.last_lines())

    def _make_call(self, call: Callable[[], None]) -> None:
        self._postponed.append(call)
        if self._is_calling:
            return
        self._is_calling = True
        try:
            while self._postponed:
                self._postponed.popleft()()
        finally:
            self._is_calling = False

    def wait_until(self, ready: Callable[[], bool], name: str, seconds: float) -> None:
        """Wait until ready() is true. Raises NotReady after so many seconds, and what check raises."""
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise NotReady(f"{name} was not ready after {seconds:.0f} s.")
            self.check(POLL_SECONDS)

    def refuse_calls(self) -> None:
        """Cancel the calls of other threads that have not begun, and from now on every new one."""
        with self._lock:
            self._is_stopped = True
            calls = list(self._calls)
        for call in calls:
            call.cancel()

    def stop(self) -> None:
        """Stop all processes and everything that they started. Those that do not end when asked to are killed."""
        self.refuse_calls()
        ending, self.processes = self.processes, []
        _end(ending)


def _call(future: "Future[T]", function: Callable[[], T]) -> None:
    """Call a function, and give the future its result or its error. What ends the runner is raised here as well."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function()
    except BaseException as error:
        future.set_exception(error)
        if isinstance(error, Interrupted | ProcessDied) or not isinstance(error, Exception):
            raise
    else:
        future.set_result(result)


def _end(processes: Sequence[Process], *, kill: bool = False) -> None:
    """End processes and everything that they started. Those that do not end when asked to are killed."""
    families = [process.family() if kill else process.ask_to_end() for process in processes]
    if not kill:
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            process.exited.wait(max(0.0, deadline - time.monotonic()))
    # Processes that were started in the meantime count too.
    members = set().union(*families, *(process.family() for process in processes))
    left = [member for member in members if is_alive(member)]
    for member in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    # Not psutil.wait_procs: it also waits until the system's first process has collected the orphans.
    deadline = time.monotonic() + KILL_SECONDS
    while any(is_alive(member) for member in left) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
