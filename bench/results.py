"""What a benchmark measured: plain data that is kept as JSON, drawn as charts and compared with other runs."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Plan:
    """How a section of the benchmark is measured.

    `folder` is an empty folder for its files. `seconds` is about how long the section may take. `is_quick` asks for
    nothing but the ratios that `make bench-quick` checks.
    """

    folder: Path
    seconds: float
    is_quick: bool = False


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
