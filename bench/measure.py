"""Measures processor time. The operations take turns in rounds, so that a busy machine slows all of them equally."""

import gc
import time
from collections.abc import Awaitable, Callable, Mapping

ROUNDS = 15

Work = Callable[[], Awaitable[object]]
"""One operation. It is called many times, one call after the other."""


async def measured(works: Mapping[str, Work], repetitions: int) -> dict[str, float]:
    """Return the processor time of one call of each operation, in microseconds: the minimum of all rounds.

    The minimum is used because disturbances only add time. A first round, to warm up, is not counted.
    """
    least = dict.fromkeys(works, float("inf"))
    gc.collect()
    gc.freeze()  # So the garbage collector does not visit existing objects in each run.
    for turn in range(ROUNDS + 1):
        for name, work in works.items():
            began = time.process_time()
            for _ in range(repetitions):
                await work()
            used = time.process_time() - began
            if turn:
                least[name] = min(least[name], used / repetitions * 1e6)
    return least
