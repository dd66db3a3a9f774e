"""Measures what operations cost. They take turns in rounds, so that a busy machine slows all of them equally."""

import asyncio
import gc
import os
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mstoken.callee.replay.store import ReplayStore
from mstoken.errors import StoreIsNew

MICROSECOND = 1e-6
ROUNDS = 15
REPETITIONS = 100
TRACED = 25
"""How many calls of an operation are traced for the memory that they need."""


@dataclass(frozen=True, slots=True)
class Work:
    """An operation. Before each round, `inputs(number)` makes what so many calls need; that is not measured."""

    call: Callable[[Any], Awaitable[object]]
    inputs: Callable[[int], Sequence[Any]]
    repetitions: int = REPETITIONS
    """How often it is called in a round. Less often for one that waits long."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What one call of an operation took, in each round: processor time of this process, and elapsed time, in µs."""

    cpu: list[float] = field(default_factory=list)
    elapsed: list[float] = field(default_factory=list)


async def measured(works: Mapping[str, Work], *, rounds: int = ROUNDS) -> dict[str, Costs]:
    """Return the cost of one call of each operation. A first round, to warm up, is not counted."""
    costs = {name: Costs() for name in works}
    with quiet_garbage_collector():
        for turn in range(rounds + 1):
            for name, work in works.items():
                inputs = work.inputs(work.repetitions)
                began, began_cpu = time.perf_counter(), time.process_time()
                for each in inputs:
                    await work.call(each)
                used, took = time.process_time() - began_cpu, time.perf_counter() - began
                if turn:
                    costs[name].cpu.append(used / len(inputs) / MICROSECOND)
                    costs[name].elapsed.append(took / len(inputs) / MICROSECOND)
    return costs


async def peaks(works: Mapping[str, Work]) -> dict[str, list[float]]:
    """Return how much memory calls of each operation need at their peak, in KB (tracemalloc)."""
    found: dict[str, list[float]] = {}
    for name, work in works.items():
        inputs = work.inputs(min(TRACED, work.repetitions))
        found[name] = []
        tracemalloc.start()
        for each in inputs:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            await work.call(each)
            _, peak = tracemalloc.get_traced_memory()
            found[name].append((peak - before) / 1000)
        tracemalloc.stop()
    return found


@contextmanager
def quiet_garbage_collector() -> Iterator[None]:
    """Keep the garbage collector from visiting the objects that exist now."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def on_one_core(number: int = 0) -> Iterator[None]:
    """Keep this process, and those that it starts, on one core, where the system can do that.

    `number` counts the cores that the process may use: 0 is the first one, -1 the last one.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def until_it_remembers(store: ReplayStore) -> None:
    """Wait until a new store accepts an id that is issued now."""
    while True:
        try:
            await store.ready()
        except StoreIsNew:
            await asyncio.sleep(0.1)
        else:
            return
