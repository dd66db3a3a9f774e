"""A shop whose parts can be killed, one by one, and come back."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import psutil

from emulator.run.errors import NotReady, ProcessDied
from emulator.run.processes import Supervisor
from emulator.run.stack import SERVICES
from tests.backing import BackedStack
from tests.chaos.record import Downtime
from tests.chaos.shop_time import CLOCK_VARIABLE, ShopTimeControl

FUNCTION_WORKER = "functions_framework"
WATCH_SECONDS = 0.2
JUMPS_SECONDS = (40.0, 310.0)
"""The clock is advanced by one of these: beyond a lease of Billing, or also beyond the hold of a reservation."""


@dataclass(frozen=True)
class ChaosStack(BackedStack):
    """A stack whose Billing and Product read the clock `shop_time`."""

    shop_time: ShopTimeControl = field(kw_only=True)

    def _factory(self, service: str) -> str:
        return super()._factory(service) if service == "user" else f"tests.chaos.apps:{service}"

    def _service_environment(self, service: str) -> dict[str, str]:
        return super()._service_environment(service) | {CLOCK_VARIABLE: str(self.shop_time.path)}


@dataclass(frozen=True)
class Part:
    """Something to kill: its name, how, and how it comes back. Both functions block."""

    name: str
    kill: Callable[[], None]
    revive: Callable[[], None]


class ChaosShop:
    """The services of a stack, each under a supervisor of its own, and what they stand on.

    `servers` are databases and stores that can be killed as well.
    """

    def __init__(self, stack: ChaosStack, emulators: Supervisor, servers: Sequence[Part]) -> None:
        self._stack = stack
        self._emulators = emulators
        self._running: dict[str, Supervisor] = {}
        self._servers = servers
        self._others = [
            *(Part(name, partial(self._kill, name), partial(self._start, name)) for name in SERVICES),
            Part("function", self._kill_function_workers, lambda: None),
        ]
        self.downtimes: list[Downtime] = []
        self._down: set[str] = set()

    @property
    def kills(self) -> Counter[str]:
        """How often each part was killed."""
        return Counter(down.part for down in self.downtimes)

    async def start(self) -> None:
        """Start the services together, and wait until they are ready."""
        await asyncio.gather(*(asyncio.to_thread(self._start, service) for service in SERVICES))

    async def break_things(self, seconds: float, rng: random.Random) -> None:
        """Kill all parts at random moments and bring them back, round after round, until so many seconds are over.

        In each round the servers are killed first, one at a time, while the services are up. Then the services are
        killed, and several of them may be down at the same time. Then the clock is advanced.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for server in rng.sample(self._servers, len(self._servers)):
                await self._let_die(server, rng.uniform(0.5, 2.0))
                await asyncio.sleep(rng.uniform(0.0, 1.0))
            async with asyncio.TaskGroup() as deaths:
                for part in rng.sample(self._others, len(self._others)):
                    deaths.create_task(self._let_die(part, rng.uniform(0.0, 2.0)))
                    await asyncio.sleep(rng.uniform(0.2, 1.5))
            self._stack.shop_time.advance(rng.choice(JUMPS_SECONDS))
            await asyncio.sleep(rng.uniform(0.0, 1.0))

    async def _let_die(self, part: Part, seconds: float) -> None:
        start = time.monotonic()
        self._down.add(part.name)
        await asyncio.to_thread(part.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(part.revive)
        self._down.discard(part.name)
        self.downtimes.append(Downtime(part.name, start, time.monotonic()))

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
        for process in self._emulators.processes:
            for member in process.family():
                try:
                    if any(FUNCTION_WORKER in word for word in member.cmdline()):
                        member.kill()
                except psutil.NoSuchProcess:
                    continue
