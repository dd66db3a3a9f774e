"""How a benchmark measures: processor time, in rounds that take turns, so that a busy machine slows all alike."""

import gc
import time
from collections.abc import Awaitable, Callable, Mapping

ROUNDS = 15

Work = Callable[[], Awaitable[object]]
"""One operation; called as often as it takes, one after the other."""


async def measured(works: Mapping[str, Work], repetitions: int) -> dict[str, float]:
    """Processor time for one of each work, in microseconds: the least of the rounds, since what disturbs only adds to
    it. One turn of warming up is not counted.
    """
    least = dict.fromkeys(works, float("inf"))
    gc.collect()
    gc.freeze()  # What was made beforehand, calls and libraries, is not looked through again and again.
    for turn in range(ROUNDS + 1):
        for name, work in works.items():
            began = time.process_time()
            for _ in range(repetitions):
                await work()
            used = time.process_time() - began
            if turn:
                least[name] = min(least[name], used / repetitions * 1e6)
    return least
