"""Writes the report of a run: Markdown with a table and charts for each section, and the targets at its top."""

import re
from collections.abc import Sequence
from pathlib import Path

from bench import charts
from bench.charts import figure_text
from bench.results import TIMELINE, Measurement, Run, Section, load
from bench.targets import Verdict, verdicts

DRAWN = 3
"""At most so many quantities of a section are drawn, the first ones. The tables have all of them."""


def write(folder: Path) -> None:
    """Write report.md and its charts, from run.json and growth.json in the same folder."""
    growth_file = folder / "growth.json"
    growth = load(growth_file) if growth_file.exists() else None
    run_file = folder / "run.json"
    run = load(run_file) if run_file.exists() else growth
    if run is None:
        return
    for old in folder.glob("*.svg"):
        old.unlink()
    parts = [_head(run), "## Targets and results", target_lines(verdicts(run))]
    for section in run.sections:
        if run is not growth:
            parts += _section(section, folder)
    if growth:
        parts += [f"## Growth to millions\n\nMeasured by `make bench-growth` on {growth.date}, at {growth.commit}."]
        for section in growth.sections:
            parts += _section(section, folder, prefix="large-", is_titled=False)
    (folder / "report.md").write_text("\n\n".join(parts) + "\n")


def target_lines(found: Sequence[Verdict]) -> str:
    """Return the table of the targets, with what a run says about each."""
    rows = ["| what | target | result | |", "|---|---|---|---|"]
    for verdict in found:
        target = verdict.target
        sign = "≤" if target.is_at_most else "≥"
        result = "-" if verdict.value is None else figure_text(verdict.value) + _unit(target.unit)
        rows.append(
            f"| {target.text} | {sign} {figure_text(target.bound)}{_unit(target.unit)} | {result} | {says(verdict)} |"
        )
    return "\n".join(rows)


def says(verdict: Verdict) -> str:
    """Return what to say about a target: met, missed and by how much, or not measured."""
    if verdict.is_met is None:
        return "not measured"
    return "met" if verdict.is_met else f"**missed by {verdict.missed_by:.0%}**"


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _head(run: Run) -> str:
    machine = run.machine
    libraries = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    took = sum(section.seconds for section in run.sections)
    return f"""# Benchmark

`make bench` has written this page and its charts. [Performance](../../docs/performance.md) says how to read them.

- **When**: {run.date}, in {took / 60:.1f} minutes; commit {run.commit}
- **Machine**: {machine.processor}, {machine.cores} cores, {machine.memory_gb:g} GB, {machine.system};
  {machine.load_before:g} processes were running before
- **Versions**: {libraries}

A figure is the median of the rounds, with the lower and the upper quartile in parentheses. Figures of another machine
differ. Ratios differ less, because what is compared took turns within one run."""


def _section(section: Section, folder: Path, *, prefix: str = "", is_titled: bool = True) -> list[str]:
    parts = [f"## {section.title}"] if is_titled else []
    single = [measurement for measurement in section.measurements if measurement.at is None]
    series = [m for m in section.measurements if m.at is not None and not m.quantity.startswith(TIMELINE)]
    for kind, measured in (("", single), ("-at", series)):
        for quantity, unit in list(dict.fromkeys((m.quantity, m.unit) for m in measured))[:DRAWN]:
            drawn = [m for m in measured if (m.quantity, m.unit) == (quantity, unit)]
            name = f"{prefix}{section.name}-{_slug(quantity)}{kind}.svg"
            title = f"{section.title}: {quantity}"
            chart = charts.lines(title, "", f"{quantity}, {unit}", drawn) if kind else charts.bars(title, unit, drawn)
            charts.save(chart, folder / name)
            parts.append(f"![{title}]({name})")
    parts += _timelines(section, folder, prefix)
    if single:
        parts.append(_table(single))
    if series:
        parts.append(_series_table(series))
    if section.left_out:
        parts.append("Not measured:\n\n" + "\n".join(f"- {why}" for why in section.left_out))
    return parts


def _timelines(section: Section, folder: Path, prefix: str) -> list[str]:
    """Draw each time line of a section. Return the links to the charts."""
    found = [m for m in section.measurements if m.quantity.startswith(TIMELINE)]
    links = []
    for quantity in dict.fromkeys(m.quantity for m in found):
        drawn = [m for m in found if m.quantity == quantity]
        name = f"{prefix}{section.name}-{_slug(quantity)}.svg"
        title = f"{section.title}{quantity.removeprefix(TIMELINE)}"
        charts.save(charts.lines(title, "seconds", f"answers, {drawn[0].unit}", drawn, is_log=False), folder / name)
        links.append(f"![{title}]({name})")
    return links


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _table(measurements: Sequence[Measurement]) -> str:
    """Return a table with a row for each case, and a column for each quantity."""
    columns = list(dict.fromkeys((m.quantity, m.unit) for m in measurements))
    cells = {(m.case, m.quantity, m.unit): cell(m) for m in measurements}
    rows = [
        "| | " + " | ".join(f"{quantity}, {unit}" for quantity, unit in columns) + " |",
        "|---|" + "---:|" * len(columns),
    ]
    rows += [
        f"| {case} | " + " | ".join(cells.get((case, *column), "") for column in columns) + " |"
        for case in dict.fromkeys(m.case for m in measurements)
    ]
    return "\n".join(rows)


def _series_table(measurements: Sequence[Measurement]) -> str:
    """Return a table with a row for each case and quantity, and a column for each size."""
    sizes = sorted({m.at for m in measurements if m.at is not None})
    cells = {(m.case, m.quantity, m.unit, m.at): cell(m) for m in measurements}
    rows = ["| | " + " | ".join(f"{size:,g}" for size in sizes) + " |", "|---|" + "---:|" * len(sizes)]
    for case, quantity, unit in dict.fromkeys((m.case, m.quantity, m.unit) for m in measurements):
        found = " | ".join(cells.get((case, quantity, unit, size), "") for size in sizes)
        rows.append(f"| {case}: {quantity}, {unit} | {found} |")
    return "\n".join(rows)


def cell(measurement: Measurement) -> str:
    """Return the median of a measurement, and its quartiles if there is more than one round."""
    median = figure_text(measurement.median)
    if len(measurement.values) == 1:
        return median
    lower, upper = map(figure_text, measurement.spread)
    return f"{median} ({lower} to {upper})"
