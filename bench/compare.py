"""Compares two runs: what changed, and what is only noise."""

from rich.table import Table

from bench.charts import figure_text
from bench.results import Measurement, Run

LEAST_CHANGE = 0.05
"""A smaller change is noise: the same code differs so much from run to run."""


def is_noise(before: Measurement, after: Measurement) -> bool:
    """Return whether a change may be chance: a small one, or the middle halves of the rounds overlap."""
    if not before.median:
        return not after.median
    if abs(after.median / before.median - 1) < LEAST_CHANGE:
        return True
    (low, high), (new_low, new_high) = before.spread, after.spread
    return low <= new_high and new_low <= high


def table(before: Run, after: Run) -> Table:
    """Return a table of all measurements that both runs have."""
    made = Table(title=f"{before.commit} ({before.date}) → {after.commit} ({after.date})", title_justify="left")
    for column in ("section", "case", "quantity", "before", "after", "change"):
        made.add_column(column, justify="right" if column in {"before", "after", "change"} else "left")
    for section in after.sections:
        for new in section.measurements:
            old = before.find(section.name, new.case, new.quantity, new.at)
            if old is None:
                continue
            change = new.median / old.median - 1 if old.median else 0.0
            where = "" if new.at is None else f" at {new.at:,g}"
            made.add_row(
                section.name,
                new.case + where,
                f"{new.quantity}, {new.unit}",
                figure_text(old.median),
                figure_text(new.median),
                "noise" if is_noise(old, new) else f"{change:+.0%}",
            )
    return made
