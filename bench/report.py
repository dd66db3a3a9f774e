"""Writes the report of a run: the targets first, and then a table and charts for each section."""

from collections.abc import Sequence
from pathlib import Path

from bench import charts, pictures
from bench.charts import figure_text
from bench.results import TIMELINE, Measurement, Run, Section, load
from bench.targets import Verdict, verdicts

RUN_FILE = "run.json"
GROWTH_FILE = "growth.json"
REPORT_FILE = "report.md"


def runs(folder: Path) -> tuple[Run | None, Run | None]:
    """Return the last run of `make bench`, and that of `make bench-growth`, as far as the folder has them."""
    run_file, growth_file = folder / RUN_FILE, folder / GROWTH_FILE
    return load(run_file) if run_file.exists() else None, load(growth_file) if growth_file.exists() else None


def write(folder: Path) -> None:
    """Write the report and its charts, from the runs that the folder has."""
    run, growth = runs(folder)
    for old in folder.glob("*.svg"):
        old.unlink()
    parts = ["# Benchmark"]
    if run:
        parts += [_head(run), "## Targets and results", target_lines(verdicts(run, growth))]
        if made := pictures.summary(run):
            charts.save(made, folder / f"{pictures.SUMMARY}.svg")
        for section in run.sections:
            parts += [f"## {section.title}", *_section(section, folder)]
    if growth:
        parts += ["## Growth up to millions", f"`make bench-growth` has measured this. {_where(growth)}"]
        for section in growth.sections:
            parts += _section(section, folder, prefix="large-")
    (folder / REPORT_FILE).write_text("\n\n".join(parts) + "\n")


def target_lines(found: Sequence[Verdict]) -> str:
    """Return the table of the targets, with what a run says about each."""
    rows = ["| what | target | result | |", "|---|---|---|---|"]
    for verdict in found:
        target = verdict.target
        bound = f"{'≤' if target.is_at_most else '≥'} {figure_text(target.bound)}{_unit(target.unit)}"
        result = "-" if verdict.value is None else figure_text(verdict.value) + _unit(target.unit)
        rows.append(f"| {target.text} | {bound} | {result} | {says(verdict)} |")
    return "\n".join(rows)


def says(verdict: Verdict) -> str:
    """Return what to say about a target: met, missed and by how much, or not measured."""
    if verdict.is_met is None:
        return "not measured"
    if verdict.is_met:
        return "met"
    return f"**missed by {'less than 1 %' if verdict.missed_by < 0.01 else f'{verdict.missed_by * 100:.0f} %'}**"


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _head(run: Run) -> str:
    took = sum(section.seconds for section in run.sections)
    return f"""`make bench` has written this page and its charts in {took / 60:.1f} minutes.
[Performance](../../docs/performance.md) says how to read them. `make bench-compare A=… B=…` compares two runs.

{_where(run)}

A figure is the median of the rounds, with the lower and the upper quartile in parentheses. On another machine the
figures are others. Ratios differ less, because what is compared took turns within one run."""


def _where(run: Run) -> str:
    machine = run.machine
    libraries = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return f"""- Date and commit: {run.date}, `{run.commit}`
- Machine: {machine.processor}, {machine.cores} cores, {machine.memory_gb:g} GB, {machine.system}
- Load average before the run: {machine.load_before:g}
- Versions: {libraries}"""


def _section(section: Section, folder: Path, *, prefix: str = "") -> list[str]:
    parts = []
    for name, title, chart in pictures.pictures(section):
        charts.save(chart, folder / f"{prefix}{name}.svg")
        parts.append(f"![{title}]({prefix}{name}.svg)")
    single = [measurement for measurement in section.measurements if measurement.at is None]
    parts += map(table, together(single))
    if series := [m for m in section.measurements if m.at is not None and not m.quantity.startswith(TIMELINE)]:
        parts.append(series_table(series))
    if section.left_out:
        parts.append("Not measured:\n\n" + "\n".join(f"- {why}" for why in section.left_out))
    return parts


def together(measurements: Sequence[Measurement]) -> list[list[Measurement]]:
    """Divide measurements into tables: cases that have no quantity in common are in different ones."""
    groups: list[tuple[set[str], list[Measurement]]] = []
    for case in dict.fromkeys(each.case for each in measurements):
        found = [each for each in measurements if each.case == case]
        quantities = {each.quantity for each in found}
        for known, members in groups:
            if known & quantities:
                known |= quantities
                members += found
                break
        else:
            groups.append((quantities, found))
    return [members for _, members in groups]


def table(measurements: Sequence[Measurement]) -> str:
    """Return a table with a row for each case, and a column for each quantity."""
    columns = list(dict.fromkeys((m.quantity, m.unit) for m in measurements))
    cells = {(m.case, m.quantity, m.unit): cell(m) for m in measurements}
    rows = ["| | " + " | ".join(_heading(*column) for column in columns) + " |", "|---|" + "---:|" * len(columns)]
    rows += [
        f"| {case} | " + " | ".join(cells.get((case, *column), "") for column in columns) + " |"
        for case in dict.fromkeys(m.case for m in measurements)
    ]
    return "\n".join(rows)


def series_table(measurements: Sequence[Measurement]) -> str:
    """Return a table with a row for each case and quantity, and a column for each size."""
    sizes = sorted({m.at for m in measurements if m.at is not None})
    cells = {(m.case, m.quantity, m.unit, m.at): cell(m) for m in measurements}
    rows = ["| | " + " | ".join(f"{size:,g}" for size in sizes) + " |", "|---|" + "---:|" * len(sizes)]
    for case, quantity, unit in dict.fromkeys((m.case, m.quantity, m.unit) for m in measurements):
        found = " | ".join(cells.get((case, quantity, unit, size), "") for size in sizes)
        rows.append(f"| {case}: {_heading(quantity, unit)} | {found} |")
    return "\n".join(rows)


def _heading(quantity: str, unit: str) -> str:
    return f"{quantity}, {unit}" if unit else quantity


def cell(measurement: Measurement) -> str:
    """Return the median of a measurement, and its quartiles if there is more than one round."""
    median = figure_text(measurement.median)
    if len(measurement.values) == 1:
        return median
    lower, upper = map(figure_text, measurement.spread)
    return f"{median} ({lower} to {upper})"
