"""How a benchmark measures: processor time, in rounds that take turns, so that a busy machine slows all alike."""

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

ROUNDS = 9

Work = Callable[[], Awaitable[object]]
"""One operation; called as often as it takes, one after the other."""


@dataclass(frozen=True)
class Measured:
    """Processor time for one operation in microseconds, a figure for each round."""

    rounds: Sequence[float]

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.rounds)

    def ratio_to(self, other: "Measured") -> float:
        """The median of the rounds' ratios: each round is compared with the other's of the same turn."""
        return statistics.median(ours / theirs for ours, theirs in zip(self.rounds, other.rounds, strict=True))


async def measured(works: Mapping[str, Work], repetitions: int) -> dict[str, Measured]:
    """The cost of each work. One turn of warming up is not counted."""
    rounds: dict[str, list[float]] = {name: [] for name in works}
    gc.collect()
    gc.freeze()  # What was made beforehand, calls and libraries, is not looked through again and again.
    for turn in range(ROUNDS + 1):
        for name, work in works.items():
            began = time.process_time()
            for _ in range(repetitions):
                await work()
            used = time.process_time() - began
            if turn:
                rounds[name].append(used / repetitions * 1e6)
    return {name: Measured(figures) for name, figures in rounds.items()}
