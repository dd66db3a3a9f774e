"""A shop whose parts can be killed, one by one, and come back."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import psutil

from emulator.run.errors import NotReady, ProcessDied
from emulator.run.processes import Supervisor
from emulator.run.stack import SERVICES
from tests.backing import BackedStack

FUNCTION_WORKER = "functions_framework"
MEND_SECONDS = 0.5


@dataclass(frozen=True)
class Part:
    """Something to kill: its name, how, and how it comes back."""

    name: str
    kill: Callable[[], None]
    revive: Callable[[], None]


class ChaosShop:
    """The services of a stack, each under a supervisor of its own, and what they stand on.

    `servers` are databases and stores that can be killed as well.
    """

    def __init__(self, stack: BackedStack, emulators: Supervisor, servers: Sequence[Part]) -> None:
        self._stack = stack
        self._emulators = emulators
        self._running = {service: self._started(service) for service in SERVICES}
        self._parts = [
            *(Part(name, partial(self._kill, name), partial(self._revive, name)) for name in SERVICES),
            Part("function", self._kill_function_workers, lambda: None),
            *servers,
        ]
        self.kills: list[str] = []
        self._down: set[str] = set()

    async def break_things(self, stop: asyncio.Event, rng: random.Random) -> None:
        """Kill a part after a random pause, start it again after another, and go on with the next, until `stop` is set.

        Each part is killed once, in random order, before any is killed again.
        """
        next_parts: list[Part] = []
        while not stop.is_set():
            await asyncio.sleep(rng.uniform(0.1, 1.0))
            next_parts = next_parts or rng.sample(self._parts, len(self._parts))
            part = next_parts.pop()
            self.kills.append(part.name)
            await asyncio.to_thread(part.kill)
            await asyncio.sleep(rng.uniform(0.0, 1.0))
            await asyncio.to_thread(part.revive)

    async def mend(self, stop: asyncio.Event) -> None:
        """Starts services again that ended by themselves, as a platform does: one that starts while its database is
        away gives up.
        """
        while not stop.is_set():
            for service, supervisor in list(self._running.items()):
                if service not in self._down and supervisor.processes[0].exited.is_set():
                    await asyncio.to_thread(self._revive, service)
            await asyncio.sleep(MEND_SECONDS)

    def stop(self) -> None:
        """Ends the services."""
        for supervisor in self._running.values():
            supervisor.stop()

    def _started(self, service: str) -> Supervisor:
        """A service that was started; it need not become ready, where what it stands on is away."""
        supervisor = Supervisor()
        with suppress(NotReady, ProcessDied):
            self._stack.start_service(supervisor, service)
        return supervisor

    def _kill(self, service: str) -> None:
        """The whole family at once, workers included."""
        self._down.add(service)
        process = self._running[service].processes[0]
        for member in process.family():
            member.kill()
        process.exited.wait()

    def _revive(self, service: str) -> None:
        self._running[service].stop()
        self._running[service] = self._started(service)
        self._down.discard(service)

    def _kill_function_workers(self) -> None:
        """The processes that carry out tasks; the functions emulator starts others when it needs them."""
        for process in self._emulators.processes:
            for member in process.family():
                try:
                    if any(FUNCTION_WORKER in word for word in member.cmdline()):
                        member.kill()
                except psutil.NoSuchProcess:
                    continue
