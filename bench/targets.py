"""The targets of the benchmark: what is compared, the bound, and how far `make bench-quick` lets it be off."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench import verifying
from bench.results import CPU, Run, ratios

QUICK_FACTOR = 1.5
"""`make bench-quick` fails when a ratio is more than half above its bound."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target. `value` computes it from a run, or returns None if the run has not measured what it needs."""

    text: str
    value: Callable[[Run], float | None]
    bound: float
    is_at_most: bool = True
    unit: Literal["", "%", "s"] = ""
    quick_factor: float | None = None
    """How often the bound the value may be in `make bench-quick`. None: it is not checked there."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run says about a target."""

    target: Target
    value: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met, or None if the run does not say."""
        if self.value is None:
            return None
        return self.value <= self.target.bound if self.target.is_at_most else self.value >= self.target.bound

    @property
    def missed_by(self) -> float:
        """How far the value is on the wrong side of its bound, as a part of the bound: 0.1 is 10 %."""
        if self.value is None or self.is_met:
            return 0.0
        return abs(self.value - self.target.bound) / self.target.bound

    @property
    def is_far_off(self) -> bool:
        """Whether `make bench-quick` fails because of it."""
        factor = self.target.quick_factor
        if self.value is None or factor is None:
            return False
        return self.value > self.target.bound * factor


def ratio(
    section: str, above: str, below: str, quantity: str = CPU, at: float | None = None
) -> Callable[[Run], float | None]:
    """Return a function of a run: the median over the rounds of the ratio of two cases."""

    def value(run: Run) -> float | None:
        one, other = run.find(section, above, quantity, at), run.find(section, below, quantity, at)
        return statistics.median(ratios(one, other)) if one and other else None

    return value


TARGETS = (
    Target(
        "Verify a call in fresh mode, SQLite / firebase-admin as it comes",
        ratio("verifying", verifying.FRESH, verifying.PLAIN_ADMIN),
        0.16,
        quick_factor=QUICK_FACTOR,
    ),
    Target(
        "Verify a call in proof mode, SQLite / auth0-api-python, which spends nothing",
        ratio("verifying", verifying.PROOF, verifying.AUTH0),
        0.33,
        quick_factor=QUICK_FACTOR,
    ),
)


def verdicts(run: Run) -> list[Verdict]:
    """Return what a run says about each target."""
    return [Verdict(target, target.value(run)) for target in TARGETS]
