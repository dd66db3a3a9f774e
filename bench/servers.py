"""Server processes of the benchmark: they run on cores of their own, tell what they use, and end with the block.

PostgreSQL and Redis are among them, if this machine has them.

The server is on the first core, and the client on the last one. On a machine with one core they share it. A system
that cannot bind processes to cores (macOS) decides by itself.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import httpx
import psutil
from typing_extensions import override

from bench.results import Plan
from emulator.run import die_with_parent
from emulator.run.ports import HOST, free_port
from emulator.run.processes import Process, Supervisor
from emulator.run.stack import ROOT, clean_environment, uvicorn
from tests.postgresql import PostgresServer, programs
from tests.redis_server import RedisServer

START_SECONDS = 60.0
"""How long a server may take to become ready. Many start together."""
READY_PATH = "/readyz"


class Cores(NamedTuple):
    """The numbers of the cores: that of a server, that of the client, and all. None if the system cannot bind."""

    server: int | None
    client: int | None
    every: frozenset[int]


def cores() -> Cores:
    """Return the cores of this machine, also if this process has been bound to one of them."""
    if not hasattr(os, "sched_setaffinity"):
        return Cores(None, None, frozenset())
    bound = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        every = frozenset(os.sched_getaffinity(0))
    finally:
        os.sched_setaffinity(0, bound)
    return Cores(min(every), max(every), every)


@contextmanager
def bound_to(numbers: Collection[int]) -> Iterator[None]:
    """Bind this thread, and the processes that it starts in the block, to these cores. No numbers: do nothing."""
    if not numbers or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, numbers)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process has used, user and system. It may be that of another user."""
    if sys.platform == "linux":
        # The clock that clock_getcpuclockid(3) finds. It counts nanoseconds, and psutil's numbers 10 ms.
        return time.clock_gettime(~pid << 3 | 2)
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


class Server:
    """A running server. It is ready."""

    def __init__(self, process: Process, port: int) -> None:
        self.name = process.name
        self.port = port
        self.process = process

    @property
    def members(self) -> list[psutil.Process]:
        """The processes of the server: one, or one that starts others and those. Without the one that watches them."""
        family = self.process.family()
        return [member for member in family if die_with_parent.__file__ not in member.cmdline()]

    def processor_seconds(self) -> float:
        """Return the processor time that all of its processes have used, user and system."""
        return sum(processor_seconds(member.pid) for member in self.members)

    def memory_bytes(self) -> int:
        """Return the memory that its processes have for themselves alone (USS)."""
        return sum(member.memory_full_info().uss for member in self.members)


class Servers(AbstractContextManager["Servers"]):
    """Servers that run until the end of the block, with their logs in `folder`. Use it in the main thread."""

    def __init__(self, folder: Path) -> None:
        self.supervisor = Supervisor()
        self.cores = cores()
        self._folder = folder

    @override
    def __enter__(self) -> Self:
        return self

    @override
    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.supervisor.stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        environment: Mapping[str, str] | None = None,
        *,
        on: Collection[int] = (),
    ) -> Server:
        """Start a command that will listen on `port`, bound to the cores `on`; without numbers, to none."""
        with bound_to(on or self.cores.every):
            process = self.supervisor.start(
                name,
                command,
                env=_environment() | dict(environment or {}),
                cwd=ROOT,
                log=self._folder / f"{name}.log",
            )
        return Server(process, port)

    def start_app(
        self,
        name: str,
        factory: str,
        environment: Mapping[str, str] | None = None,
        *,
        workers: int = 1,
        options: Sequence[str] = (),
    ) -> Server:
        """Start an app as the services are started, with more `options` of uvicorn.

        One worker has the first core, and more have all of them.
        """
        port = free_port()
        on = {self.cores.server} if workers == 1 and self.cores.server is not None else ()
        return self.start(name, [*uvicorn(factory, port, workers=workers), *options], port, environment, on=on)

    def wait_for(self, server: Server, path: str = READY_PATH) -> None:
        """Wait until a server answers a GET of `path` with 200. Raises what `Supervisor.wait_until` does."""
        ready = partial(_answers, f"http://{HOST}:{server.port}{path}")
        self.supervisor.wait_until(ready, server.name, START_SECONDS)

    def check(self) -> None:
        """Raise ProcessDied, with the end of its log, if a server has ended."""
        self.supervisor.check()


def _environment() -> dict[str, str]:
    """Return the user's environment without what the servers of a shop read, and without telemetry."""
    return {name: value for name, value in clean_environment().items() if not name.startswith("OTEL_")}


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@contextmanager
def postgresql(plan: Plan, what: str) -> Iterator[PostgresServer | None]:
    """Start a PostgreSQL that writes to disk as in production. Without one, note that `what` is left out."""
    if programs() is None:
        plan.leave_out(f"{what}: PostgreSQL is not installed (Debian: apt install postgresql)")
        yield None
        return
    server = PostgresServer(durable=True)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def redis(plan: Plan, what: str) -> Iterator[RedisServer | None]:
    """Start a Redis. Without one, note that `what` is left out."""
    if shutil.which("redis-server") is None:
        plan.leave_out(f"{what}: Redis is not installed (Debian: apt install redis-server)")
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
