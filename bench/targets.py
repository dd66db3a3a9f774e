"""The targets of the benchmark: what is compared, the bound, and how far `make bench-quick` lets it be off."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench import calling, growth, route, sign_in, verifying
from bench.results import CPU, ELAPSED, START, THROUGHPUT, Measurement, Run, Section, ratios

QUICK_FACTOR = 1.5
"""`make bench-quick` fails when a ratio is more than half above its bound, or above the kept result if that is more."""
BILLS_A_SECOND_BEFORE = {
    route.FRESH: 38.0,
    route.PROOF: 109.0,
    f"{route.PROOF}, {route.POSTGRESQL}": 115.0,
}
"""Purchases a second before this benchmark existed, with four clients, on a machine with two cores of an AMD EPYC."""
STEADY_CASES = tuple((case, rate) for case in calling.OURS for rate in (50.0, 500.0))
"""Where there are enough calls for a statement. At one call a second there are a few dozen."""

Value = Callable[[Run], float | None]
"""Computes a figure from a run, or returns None if the run has not measured what it needs."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target: what is compared, and the bound."""

    text: str
    value: Value
    bound: float
    is_at_most: bool = True
    unit: str = ""
    is_in_quick: bool = False
    """Whether `make bench-quick` checks it."""
    is_of_growth: bool = False
    """Whether the run of `make bench-growth` decides, if there is one, because it goes up to millions."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run says about a target. `kept` is what the results say that the repository keeps."""

    target: Target
    value: float | None
    kept: float | None = None

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
        limit = max(self.target.bound, self.kept or 0.0) * QUICK_FACTOR
        return self.target.is_in_quick and self.value is not None and self.value > limit


def ratio(section: str, above: str, below: str, quantity: str = CPU) -> Value:
    """Return a function of a run: the median over the rounds of the ratio of two cases."""

    def value(run: Run) -> float | None:
        one, other = run.find(section, above, quantity), run.find(section, below, quantity)
        return statistics.median(ratios(one, other)) if one and other else None

    return value


def added(run: Run, case: str) -> Measurement | None:
    """Return the processor time that a case adds to the route with authentication off, in each round."""
    with_it, off = run.find("route", case, CPU), run.find("route", route.OFF, CPU)
    if with_it is None or off is None:
        return None
    if len(with_it.values) == len(off.values):
        values = [one - other for one, other in zip(with_it.values, off.values, strict=True)]
    else:
        values = [with_it.median - off.median]
    return Measurement(f"what {case} adds", CPU, with_it.unit, values)


def added_ratio(above: str, below: str) -> Value:
    """Return a function of a run: what one case adds to the route, divided by what another case adds."""

    def value(run: Run) -> float | None:
        one, other = added(run, above), added(run, below)
        # The difference of two figures is noisy, so the medians are divided, not the rounds.
        return one.median / other.median if one and other and other.median > 0 else None

    return value


def added_by_verifier(case: str, verifier: str) -> Value:
    """Return a function of a run: what a case adds to the route, divided by what the verifier takes by itself."""

    def value(run: Run) -> float | None:
        whole, alone = added(run, case), run.find("verifying", verifier, CPU)
        return whole.median / alone.median if whole and alone else None

    return value


def bills(case: str, factor: float = 1.0) -> Value:
    """Return a function of a run: how many bills a second a case makes, divided by what it made before."""

    def value(run: Run) -> float | None:
        found = run.find("purchase", case, THROUGHPUT)
        return found.median / (BILLS_A_SECOND_BEFORE[case] * factor) if found else None

    return value


def steady_waits(run: Run) -> float | None:
    """Return the part of the calls that wait less than 1 ms, in %, where it is the smallest."""
    found = [run.find("calling", case, calling.AT_ONCE, at=rate) for case, rate in STEADY_CASES]
    return min((each.median for each in found if each), default=None)


def token_service(run: Run) -> float | None:
    """Return how much longer a sign-in in the emulator takes with the token service, in milliseconds."""
    here, brokered = (run.find("calling", case, ELAPSED) for case in (sign_in.SIGNED_HERE, sign_in.BROKERED))
    return brokered.median - here.median if here and brokered else None


def slowest_start(run: Run) -> float | None:
    """Return how long the slowest of the shop's processes takes to start, in seconds."""
    section = run.section("growth")
    return (
        max((each.median for each in section.measurements if each.quantity == START), default=None) if section else None
    )


def fastest_growth(run: Run) -> float | None:
    """Return the growth of the time that grows the most, divided by the growth of the logarithm."""
    section = run.section("growth")
    return max(growths(section).values(), default=None) if section else None


def growths(section: Section) -> dict[str, float]:
    """Return how each time has grown from the smallest size to the largest, divided by the growth of the logarithm.

    The logarithm grows from `1 + log2(smallest)` to `1 + log2(largest)`: the steps of a search in a tree.
    """
    found = {}
    for case, quantity in dict.fromkeys((each.case, each.quantity) for each in section.measurements):
        series = _series(section.measurements, case, quantity)
        if len(series) < 2 or not _is_time(series[0]):
            continue
        first, last = series[0], series[-1]
        steps = (1 + math.log2(last.at or 1)) / (1 + math.log2(first.at or 1))
        found[f"{case}: {quantity}"] = last.median / first.median / steps
    return found


def _series(measurements: Iterable[Measurement], case: str, quantity: str) -> Sequence[Measurement]:
    found = [each for each in measurements if (each.case, each.quantity) == (case, quantity) and each.at is not None]
    return sorted(found, key=lambda each: each.at or 0.0)


def _is_time(measurement: Measurement) -> bool:
    return measurement.unit in {"µs", "ms", "s"} and measurement.median > 0


ADMIN = "firebase-admin in a thread pool"
TARGETS = (
    Target(
        "Verifying: fresh mode with SQLite / firebase-admin as it comes",
        ratio("verifying", verifying.FRESH, verifying.PLAIN_ADMIN),
        0.16,
        is_in_quick=True,
    ),
    Target(
        "Verifying: fresh mode with SQLite / PyJWT with the key in hand and one insert",
        ratio("verifying", verifying.FRESH, verifying.PYJWT_SPEND),
        1.0,
        is_in_quick=True,
    ),
    Target(
        "Verifying: proof mode with SQLite / auth0-api-python, which spends nothing",
        ratio("verifying", verifying.PROOF, verifying.AUTH0),
        0.33,
        is_in_quick=True,
    ),
    Target(
        "The route with authentication off / a bare FastAPI route",
        ratio("route", route.OFF, route.BARE),
        5.0,
        is_in_quick=True,
    ),
    Target(
        "What fresh mode adds to the route / the verifier by itself",
        added_by_verifier(route.FRESH, verifying.FRESH),
        1.3,
    ),
    Target(
        "What proof mode adds to the route / the verifier by itself",
        added_by_verifier(route.PROOF, verifying.PROOF),
        1.3,
    ),
    Target(
        f"What fresh mode adds to the route / {ADMIN}", added_ratio(route.FRESH, route.ADMIN), 0.25, is_in_quick=True
    ),
    Target(
        f"What proof mode adds to the route / {ADMIN}", added_ratio(route.PROOF, route.ADMIN), 0.2, is_in_quick=True
    ),
    *(
        Target(
            f"`POST /bills` in {case}, bills a second / without authentication",
            ratio("purchase", case, case.replace(route.FRESH, route.OFF).replace(route.PROOF, route.OFF), THROUGHPUT),
            0.8,
            is_at_most=False,
        )
        for case in BILLS_A_SECOND_BEFORE
    ),
    *(
        Target(
            f"`POST /bills` in {case}, bills a second / before ({before:g}, on the machine of the report)",
            bills(case),
            2.0,
            is_at_most=False,
        )
        for case, before in BILLS_A_SECOND_BEFORE.items()
    ),
    Target(
        "Calls that wait less than 1 ms for their token, at a steady rate",
        steady_waits,
        99.9,
        is_at_most=False,
        unit="%",
    ),
    Target("A proof and its headers / one P-256 signature", ratio("calling", calling.HEADERS, calling.SIGNATURE), 3.0),
    Target("What the token service adds to a sign-in in the emulator", token_service, 5.0, unit="ms"),
    Target("A process of the shop is ready", slowest_start, 2.0, unit="s"),
    Target("The time that grows the most / the logarithm of what is stored", fastest_growth, 1.0, is_of_growth=True),
    Target(
        "Purchases and pages of a shop with 100,000 bills / of an empty one, the worst",
        growth.over_empty,
        1.2,
        is_of_growth=True,
    ),
)


def verdicts(run: Run, large: Run | None = None) -> list[Verdict]:
    """Return what a run says about each target. `large` is a run of `make bench-growth`."""
    return [
        Verdict(target, target.value(large if large is not None and target.is_of_growth else run)) for target in TARGETS
    ]


def quick_verdicts(run: Run, kept: Run | None) -> list[Verdict]:
    """Return what a run says about the targets that `make bench-quick` checks.

    `kept` is the run whose results the repository keeps.
    """
    return [
        Verdict(target, target.value(run), target.value(kept) if kept else None)
        for target in TARGETS
        if target.is_in_quick
    ]
