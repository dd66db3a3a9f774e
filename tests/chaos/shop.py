"""A shop whose parts can be broken, one by one, and come back."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

import psutil

from emulator.run.errors import NotReady, ProcessDied
from emulator.run.processes import Supervisor
from emulator.run.stack import SERVICES
from tests.backing import BackedStack
from tests.chaos.link import HOST, Link
from tests.chaos.record import Downtime, Kind
from tests.chaos.shop_time import CLOCK_VARIABLE, ShopTimeControl

FUNCTION_WORKER = "functions_framework"
WATCH_SECONDS = 0.2
JUMPS_SECONDS = (40.0, 310.0)
"""The clock is advanced by one of these: beyond a lease of Billing, or also beyond the hold of a reservation."""
SHORT_SECONDS = (0.5, 2.0)
LONG_SECONDS = (5.5, 8.0)
"""Longer than Billing waits for a service (5 seconds), and sometimes than a service waits for PostgreSQL (6)."""
LONG_SHARE = 0.3
"""How many of the servers that hang, or whose packets are lost, do so for long."""


@dataclass(frozen=True)
class ChaosStack(BackedStack):
    """A stack whose Billing and Product read the clock `shop_time`.

    Billing reaches the services in `links` through those, and all services reach Firebase Auth through `auth`.
    """

    shop_time: ShopTimeControl = field(kw_only=True)
    links: Mapping[str, Link] = field(kw_only=True)
    auth: Link = field(kw_only=True)

    @property
    def auth_host(self) -> str:
        return f"{HOST}:{self.auth.port}"

    def base_url(self, service: str) -> str:
        return f"http://{HOST}:{self.links[service].port}" if service in self.links else super().base_url(service)

    def _factory(self, service: str) -> str:
        return super()._factory(service) if service == "user" else f"tests.chaos.apps:{service}"

    def _service_environment(self, service: str) -> dict[str, str]:
        own = {"USER_URL": self.base_url("user"), CLOCK_VARIABLE: str(self.shop_time.path)}
        return super()._service_environment(service) | own


@dataclass(frozen=True)
class Fault:
    """A way to break a part, and how it comes back. Both functions block."""

    begin: Callable[[], None]
    end: Callable[[], None]


@dataclass(frozen=True)
class Part:
    """Something to break, and the ways to do it."""

    name: str
    faults: Mapping[Kind, Fault]


def hanging(find: Callable[[], Iterable[psutil.Process]]) -> Fault:
    """Return the fault that suspends the processes that `find` returns (SIGSTOP), and lets them go on (SIGCONT).

    The system still accepts connections for them, and nothing answers.
    """
    suspended: list[psutil.Process] = []

    def begin() -> None:
        suspended.extend(find())
        _send_all(suspended, signal.SIGSTOP)

    def end() -> None:
        _send_all(suspended, signal.SIGCONT)
        suspended.clear()

    return Fault(begin, end)


def dropping(link: Link) -> Fault:
    """Return the fault that loses all packets of a link."""
    return Fault(link.drop, link.go_on)


class ChaosShop:
    """The services of a stack, each under a supervisor of its own, and what they stand on.

    `servers` are databases and stores that can be broken as well.
    """

    def __init__(self, stack: ChaosStack, emulators: Supervisor, servers: Sequence[Part]) -> None:
        self._stack = stack
        self._emulators = emulators
        self._running: dict[str, Supervisor] = {}
        self._servers = servers
        self._others = [
            *(Part(service, self._faults_of_service(service)) for service in SERVICES),
            Part("function", {"kill": Fault(self._kill_function_workers, _nothing), "hang": hanging(self._workers)}),
            # This process has the metadata servers too, which callers need for the token service.
            Part("auth", {"hang": hanging(partial(self._emulator, "local emulators")), "drop": dropping(stack.auth)}),
            # The functions with the token service, and the queue.
            Part("emulators", {"hang": hanging(partial(self._emulator, "firebase emulators:start"))}),
        ]
        self._dealt: Counter[tuple[str, Kind]] = Counter()
        self.downtimes: list[Downtime] = []
        self._down: set[str] = set()

    def _faults_of_service(self, service: str) -> Mapping[Kind, Fault]:
        faults: dict[Kind, Fault] = {
            "kill": Fault(partial(self._kill, service), partial(self._start, service)),
            "hang": hanging(lambda: self._running[service].processes[0].family()),
        }
        if service in self._stack.links:
            faults["drop"] = dropping(self._stack.links[service])
        return faults

    @property
    def broken(self) -> Counter[str]:
        """How often each part was broken, and in which way: "billing hang"."""
        return Counter(f"{down.part} {down.kind}" for down in self.downtimes)

    async def start(self) -> None:
        """Start the services together, and wait until they are ready."""
        await asyncio.gather(*(asyncio.to_thread(self._start, service) for service in SERVICES))

    async def break_things(self, seconds: float, rng: random.Random, begin_round: Callable[[], None]) -> None:
        """Break all parts at random moments and mend them, round after round, until so many seconds are over.

        In each round the servers are broken first, one at a time, while the services are up. Then the other parts are
        broken, several of them at the same time. One of them hangs, or its packets are lost, for longer than its
        callers wait for it. Then the clock is advanced. Each round uses other ways to break a part.
        """
        end = time.monotonic() + seconds
        for number in count():
            if time.monotonic() > end:
                return
            begin_round()
            for server in rng.sample(self._servers, len(self._servers)):
                kind = self._deal(server, rng)
                # The first round has to be short: it is all that the test suite has time for.
                is_long = number > 0 and kind != "kill" and rng.random() < LONG_SHARE
                await self._let_break(server, kind, rng.uniform(*(LONG_SECONDS if is_long else SHORT_SECONDS)))
                await asyncio.sleep(rng.uniform(0.0, 1.0))
            dealt = [(part, self._deal(part, rng)) for part in rng.sample(self._others, len(self._others))]
            long = next((part, kind) for part, kind in dealt if kind != "kill")
            async with asyncio.TaskGroup() as breaks:
                breaks.create_task(self._let_break(*long, rng.uniform(*LONG_SECONDS)))
                for part, kind in dealt:
                    if part is long[0]:
                        continue
                    breaks.create_task(self._let_break(part, kind, rng.uniform(*SHORT_SECONDS)))
                    await asyncio.sleep(rng.uniform(0.2, 1.0))
            self._stack.shop_time.advance(rng.choice(JUMPS_SECONDS))
            await asyncio.sleep(rng.uniform(0.0, 1.0))

    def _deal(self, part: Part, rng: random.Random) -> Kind:
        """Choose how to break a part: in the way that it, and then all parts together, were broken least often."""
        ways = rng.sample(sorted(part.faults), len(part.faults))
        totals = Counter(kind for _, kind in self._dealt.elements())
        kind = min(ways, key=lambda way: (self._dealt[part.name, way], totals[way]))
        self._dealt[part.name, kind] += 1
        return kind

    async def _let_break(self, part: Part, kind: Kind, seconds: float) -> None:
        start = time.monotonic()
        self._down.add(part.name)
        await asyncio.to_thread(part.faults[kind].begin)
        try:
            await asyncio.sleep(seconds)
        finally:
            # Also if the run fails: what is suspended could not be ended.
            await asyncio.to_thread(part.faults[kind].end)
        self._down.discard(part.name)
        self.downtimes.append(Downtime(part.name, kind, start, time.monotonic()))

    async def watch(self) -> None:
        """Raise AssertionError as soon as a service ends that was not killed; wait without end otherwise."""
        while True:
            for service, supervisor in self._running.items():
                if service not in self._down and supervisor.processes[0].exited.is_set():
                    raise AssertionError(
                        f"{service} has ended by itself: {self._stack.log(service).read_text()[-4000:]}"
                    )
            await asyncio.sleep(WATCH_SECONDS)

    def stop(self) -> None:
        """End the services."""
        for supervisor in self._running.values():
            supervisor.stop()

    def _start(self, service: str) -> None:
        """Start a service until it is ready. One that starts while its database is down ends: a platform starts it
        again, and so do we.
        """
        while True:
            if service in self._running:
                self._running[service].stop()
            self._running[service] = Supervisor()
            try:
                return self._stack.start_service(self._running[service], service)
            except (NotReady, ProcessDied):
                continue

    def _kill(self, service: str) -> None:
        """Kill a service's processes, all at once."""
        process = self._running[service].processes[0]
        for member in process.family():
            member.kill()
        process.exited.wait()

    def _kill_function_workers(self) -> None:
        """Kill the processes that carry out tasks. The functions emulator starts others when it needs them."""
        _send_all(self._workers(), signal.SIGKILL)

    def _workers(self) -> list[psutil.Process]:
        """Return the processes that carry out tasks, and those of the token service."""
        members = [member for process in self._emulators.processes for member in process.family()]
        return [member for member in members if _is_worker(member)]

    def _emulator(self, name: str) -> Iterable[psutil.Process]:
        return self._emulators.process(name).family()


def _is_worker(process: psutil.Process) -> bool:
    try:
        return any(FUNCTION_WORKER in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _send_all(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _nothing() -> None:
    """Do nothing: the part comes back by itself."""
