"""The sections of the benchmark, and how they are run one after the other."""

import importlib
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import environment
from bench.results import Plan, Run, Section


@dataclass(frozen=True, slots=True)
class Entry:
    """A section: `bench/<name>.py`, and about how many seconds it may take in `make bench` and in `make bench-quick`.

    Its module has `TITLE` and `measure(plan) -> list[Measurement]`. A section without seconds for `make bench-quick` is
    not part of it.
    """

    name: str
    seconds: float
    quick_seconds: float | None = None


ENTRIES = (
    Entry("verifying", 90, quick_seconds=18),
    Entry("route", 150, quick_seconds=25),
    Entry("calling", 90),
    Entry("purchase", 120),
    Entry("growth", 40),
    Entry("bad_times", 60),
)
NAMES = tuple(entry.name for entry in ENTRIES)
LARGE_GROWTH_SECONDS = 1_800
"""About how long `make bench-growth` takes."""


def run_sections(
    names: Sequence[str], *, is_quick: bool = False, is_large: bool = False, say: Callable[[str], None]
) -> tuple[Run, bool]:
    """Measure these sections. Return what they measured, and whether all of them could be measured.

    A section that fails is shown with its stack trace and left out, so that the others are not lost.
    """
    entries = [entry for entry in ENTRIES if entry.name in names and (not is_quick or entry.quick_seconds)]
    sections: list[Section] = []
    all_measured = True
    run = Run(
        date=environment.now(),
        commit=environment.commit(),
        machine=environment.machine(),
        versions=environment.versions(),
        sections=sections,
        is_quick=is_quick,
    )
    for number, entry in enumerate(entries, 1):
        module = _module(entry.name)
        if module is None:
            continue
        seconds = LARGE_GROWTH_SECONDS if is_large else entry.quick_seconds if is_quick else entry.seconds
        say(f"[{number}/{len(entries)}] {module.TITLE}: about {seconds:.0f} s")
        began = time.monotonic()
        measurements = []
        with tempfile.TemporaryDirectory() as folder:
            plan = Plan(Path(folder), seconds or entry.seconds, is_quick, is_large, lambda line: say(f"    {line}"))
            try:
                measurements = module.measure(plan)
            except Exception:  # it is shown, and the exit status says so
                traceback.print_exc()
                plan.leave_out(f"{module.TITLE}: it failed")
                all_measured = False
        took = time.monotonic() - began
        say(f"    took {took:.0f} s")
        sections.append(Section(entry.name, module.TITLE, took, measurements, plan.left_out))
    return run, all_measured


def _module(name: str) -> Any:
    """Return the module of a section, or None while it does not exist yet."""
    try:
        return importlib.import_module(f"bench.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"bench.{name}":
            raise
        return None
