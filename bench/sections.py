"""The sections of the benchmark, and how they are run one after the other."""

import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from bench import bad_times, calling, growth, purchase, route, verifying
from bench.results import Measurement, Plan, Run, Section


class SectionModule(Protocol):
    """A module of `bench/` that measures a section."""

    TITLE: str

    def measure(self, plan: Plan) -> list[Measurement]:
        """Measure as the plan says. Servers and processes that it starts have ended when it returns."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A section, and about how many seconds it may take in `make bench` and in `make bench-quick`.

    A section without seconds for `make bench-quick` is not part of it.
    """

    name: str
    module: SectionModule
    seconds: float
    quick_seconds: float | None = None


ENTRIES = (
    Entry("verifying", verifying, 60, quick_seconds=10),
    Entry("route", route, 140, quick_seconds=30),
    Entry("calling", calling, 120),
    Entry("purchase", purchase, 110),
    Entry("growth", growth, 40),
    Entry("bad_times", bad_times, 60),
)
NAMES = tuple(entry.name for entry in ENTRIES)
LARGE_GROWTH_SECONDS = 300.0
"""About how long `make bench-growth` takes."""


def run_sections(
    run: Run, entries: Sequence[Entry], *, is_large: bool = False, say: Callable[[str], None]
) -> tuple[Run, bool]:
    """Measure these sections. Return `run` with what they measured, and whether all of them could be measured.

    A section that fails is shown with its stack trace and left out, so that the others are not lost.
    """
    sections: list[Section] = []
    all_measured = True
    for number, entry in enumerate(entries, 1):
        seconds = LARGE_GROWTH_SECONDS if is_large else entry.seconds
        if run.is_quick and entry.quick_seconds:
            seconds = entry.quick_seconds
        say(f"[{number}/{len(entries)}] {entry.module.TITLE}: about {seconds:.0f} s")
        began = time.monotonic()
        measurements: list[Measurement] = []
        with tempfile.TemporaryDirectory() as folder:
            plan = Plan(Path(folder), seconds, run.is_quick, is_large, lambda line: say(f"    {line}"))
            try:
                measurements = entry.module.measure(plan)
            except Exception:  # it is shown, and the exit status says so
                traceback.print_exc()
                plan.leave_out(f"{entry.module.TITLE}: it failed")
                all_measured = False
        took = time.monotonic() - began
        say(f"    took {took:.0f} s")
        sections.append(Section(entry.name, entry.module.TITLE, took, measurements, plan.left_out))
    return replace(run, sections=sections), all_measured


def chosen(names: Sequence[str], *, is_quick: bool = False) -> list[Entry]:
    """Return the sections with these names, or all of them if there are no names; only the quick ones if asked."""
    return [entry for entry in ENTRIES if (not names or entry.name in names) and (not is_quick or entry.quick_seconds)]
