"""Measures processor time. The operations take turns in rounds, so that a busy machine slows all of them equally."""

import gc
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

ROUNDS = 15

Work = Callable[[], Awaitable[object]]
"""One operation. It is called many times, one call after the other."""


async def measured(works: Mapping[str, Work], repetitions: int, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Return the processor time of one call of each operation, in microseconds, in each round.

    A first round, to warm up, is not counted.
    """
    values: dict[str, list[float]] = {name: [] for name in works}
    with quiet_garbage_collector():
        for turn in range(rounds + 1):
            for name, work in works.items():
                began = time.process_time()
                for _ in range(repetitions):
                    await work()
                used = time.process_time() - began
                if turn:
                    values[name].append(used / repetitions * 1e6)
    return values


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
