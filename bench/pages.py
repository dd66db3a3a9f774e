"""Puts the figures of the last run into the pages that quote them, between markers.

A block begins with `<!-- bench: name -->` and ends with `<!-- bench: end -->`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import pictures, report, route
from bench.charts import figure_text
from bench.environment import RESULTS, ROOT
from bench.results import CPU, Run
from bench.targets import added, verdicts

PAGES = (ROOT / "README.md", ROOT / "docs" / "performance.md")
_BLOCK = re.compile(r"(<!-- bench: (?!end)(\w[\w-]*) -->\n).*?(<!-- bench: end -->)", re.DOTALL)


def update(folder: Path = RESULTS, pages: tuple[Path, ...] = PAGES) -> None:
    """Write the blocks of the pages again, from the runs that the folder has."""
    run, growth = report.runs(folder)
    if run is None:
        return
    for page in pages:
        page.write_text(filled(page.read_text(), run, growth))


def filled(text: str, run: Run, growth: Run | None = None) -> str:
    """Return the text of a page with the figures of a run. Raise KeyError for a block that has no content.

    `growth` is the run of `make bench-growth`, which decides about some targets.
    """

    def replaced(block: re.Match[str]) -> str:
        content = report.target_lines(verdicts(run, growth)) if block[2] == "targets" else BLOCKS[block[2]](run)
        return f"{block[1]}\n{content}\n\n{block[3]}"

    return _BLOCK.sub(replaced, text)


def ratio_rows(run: Run) -> str:
    """Return the table of the README: each ratio in a sentence."""
    rows = ["| | ratio |", "|---|---|"]
    rows += [
        f"| {verdict.target.text} | {figure_text(verdict.value)} |"
        for verdict in verdicts(run)
        if verdict.target.is_in_quick and verdict.value is not None
    ]
    return "\n".join(rows)


def machine_line(run: Run) -> str:
    """Return the sentence that says where the figures are from."""
    machine = run.machine
    return (
        f"The figures are from {run.date[:10]}, commit `{run.commit}`, a machine with {machine.cores} cores "
        f"({machine.processor}) and Python {run.versions['Python']}."
    )


def verifying_parts(run: Run) -> str:
    """Return the table of the parts of a verification."""
    return _parts_table(run, "verifying", pictures.verifying_parts)


def route_parts(run: Run) -> str:
    """Return the table of the parts of a request."""
    return _parts_table(run, "route", pictures.route_parts)


def _parts_table(run: Run, name: str, parts_of: Callable[..., Mapping[str, Mapping[str, float]]]) -> str:
    section = run.section(name)
    whole = parts_of(section) if section else {}
    parts = list(dict.fromkeys(part for parts in whole.values() for part in parts))
    rows = ["| µs | " + " | ".join(whole) + " |", "|---|" + "---:|" * len(whole)]
    rows += [f"| {part} | " + " | ".join(_maybe(each.get(part)) for each in whole.values()) + " |" for part in parts]
    rows.append("| **together** | " + " | ".join(figure_text(sum(each.values())) for each in whole.values()) + " |")
    return "\n".join(rows)


def _maybe(value: float | None) -> str:
    return "" if value is None else figure_text(value)


EXPECTED_RATES = (10, 1_000, 100_000)
"""Calls a second of a whole system, for which the page says what to expect."""


def expect_rows(run: Run) -> str:
    """Return how many cores the verification of so many calls a second takes, and how many the whole route."""
    rows = [
        "| calls a second | " + " | ".join(f"{rate:,}" for rate in EXPECTED_RATES) + " |",
        "|---|" + "---:|" * len(EXPECTED_RATES),
    ]
    for label, microseconds in _costs(run).items():
        rows.append(f"| {label} | " + " | ".join(_cores(rate * microseconds / 1e6) for rate in EXPECTED_RATES) + " |")
    return "\n".join(rows)


def _costs(run: Run) -> dict[str, float]:
    found = {}
    for label, case in (("fresh mode", route.FRESH), ("proof mode", route.PROOF), (route.ADMIN, route.ADMIN)):
        if whole := run.find("route", case, CPU):
            found[f"cores for `GET /products`, {label}"] = whole.median
        if more := added(run, case):
            found[f"of these for authentication, {label}"] = more.median
    return found


def _cores(number: float) -> str:
    return figure_text(float(f"{number:.2g}"))


BLOCKS: Mapping[str, Callable[[Run], str]] = {
    "ratios": ratio_rows,
    "machine": machine_line,
    "verifying-parts": verifying_parts,
    "route-parts": route_parts,
    "expect": expect_rows,
}
