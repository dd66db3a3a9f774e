"""What a benchmark measured: plain data that is kept as JSON, drawn as charts and compared with other runs."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

VERSION: Literal[1] = 1
"""The version of the JSON. A change that old programs would misread gets another one."""

# Names of quantities: the same quantity has the same name in each section. A section may have others of its own.
CPU = "CPU time"
"""Processor time of one call, in µs: of the process that is measured, not of the load."""
ELAPSED = "elapsed"
"""Time that one call takes, waiting included, in µs or ms."""
THROUGHPUT = "throughput"
"""Calls a second, "1/s"."""
P50, P99, P999 = "p50", "p99", "p99.9"
"""Percentiles of the time that one call takes, in ms."""
ERRORS = "errors"
"""The part of the calls that failed, in %."""
MEMORY = "memory"
"""In MB, of the process or of what is stored."""
DISK = "disk"
"""In MB."""
TIMELINE = "answers over time"
"""The quantity of a time line begins with this: `at` is the time in seconds. It is drawn, and is in no table."""
START = "start"
"""Seconds from the start of a process until it is ready."""


class ResultsError(Exception):
    """A file does not hold the results of a benchmark. The text says which file, and what is wrong with it."""


def _silent(_line: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Plan:
    """How a section of the benchmark is measured.

    `folder` is an empty folder for its files. `seconds` is about how long the section may take. `is_quick` asks for
    nothing but the ratios that `make bench-quick` checks. `is_large` asks for the sizes of `make bench-growth`.
    `say` shows a line of progress: what is measured now.
    """

    folder: Path
    seconds: float
    is_quick: bool = False
    is_large: bool = False
    say: Callable[[str], None] = _silent
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, why: str) -> None:
        """Note in the report that something was not measured: what and why, such as "PostgreSQL: not installed"."""
        self.left_out.append(why)
        self.say(f"left out: {why}")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One quantity of one case, such as the p99 in milliseconds of the route in proof mode.

    `values` has one value for each round. `at` is how much there was at that time, in a measurement of growth: the
    number of spent ids, of bills, of calls a second.
    """

    case: str
    quantity: str
    unit: str
    values: list[float]
    at: float | None = None

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The lower and the upper quartile of the rounds: half of the rounds are between them."""
        if len(self.values) == 1:
            return self.values[0], self.values[0]
        lower, _, upper = statistics.quantiles(self.values, n=4, method="inclusive")
        return lower, upper


@dataclass(frozen=True, slots=True)
class Section:
    """What one section measured, and what it left out and why."""

    name: str
    title: str
    seconds: float
    measurements: list[Measurement]
    left_out: list[str] = field(default_factory=list)

    def find(self, case: str, quantity: str, at: float | None = None) -> Measurement | None:
        """Return the measurement of this quantity, or None if it was not measured."""
        for measurement in self.measurements:
            if (measurement.case, measurement.quantity, measurement.at) == (case, quantity, at):
                return measurement
        return None

    def cases(self) -> list[str]:
        """Return the names of the cases, in the order in which they were measured."""
        return list(dict.fromkeys(measurement.case for measurement in self.measurements))


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a run was made: what a reader must know to judge its figures."""

    processor: str
    cores: int
    memory_gb: float
    system: str
    load_before: float
    """How many processes were running when the run began (the load average of the last minute)."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmark."""

    date: str
    """When it began, in UTC, as ISO 8601."""
    commit: str
    """The commit of the code that was measured, with "+" if the working tree had other changes."""
    machine: Machine
    versions: dict[str, str]
    sections: list[Section]
    is_quick: bool = False
    version: Literal[1] = VERSION

    def section(self, name: str) -> Section | None:
        """Return a section by its name, or None if the run does not have it."""
        return next((section for section in self.sections if section.name == name), None)

    def find(self, section: str, case: str, quantity: str, at: float | None = None) -> Measurement | None:
        """Return the measurement of a section, or None if it was not measured."""
        found = self.section(section)
        return found.find(case, quantity, at) if found else None


_JSON = TypeAdapter(Run)


def ratios(above: Measurement, below: Measurement) -> list[float]:
    """Return the ratio of two measurements in each round.

    Cases that are compared take turns in rounds, so a busy moment slows both. Without the same number of rounds, this
    is the ratio of the medians.
    """
    if len(above.values) == len(below.values):
        return [one / other for one, other in zip(above.values, below.values, strict=True)]
    return [above.median / below.median]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of the values that is at least as large as `percent` % of them (nearest rank)."""
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def save(run: Run, path: Path) -> None:
    """Write a run as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_JSON.dump_json(run, indent=1) + b"\n")


def load(path: Path) -> Run:
    """Read a run that `save` has written. Raise ResultsError if the file does not hold one."""
    try:
        return _JSON.validate_json(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"Cannot read {path}: {error.strerror}. Expected the JSON of a run.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ResultsError(
            f"{path} does not hold a run of this benchmark: {place}: {first['msg']}. `make bench` writes one."
        ) from error
