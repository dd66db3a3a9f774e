"""Compares two runs: what changed, and what is only noise.

Another machine, or a busy one, changes all times. Both runs have measured one check of a signature, which no change of
this project can change. So the times of the second run are first divided by what that check says.
"""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bench import verifying
from bench.charts import figure_text
from bench.results import CPU, Measurement, Run

LEAST_CHANGE = 0.05
"""A smaller change is noise: the same code differs so much from run to run."""
FLOOR = (verifying.RSA_CHECK, verifying.P256_CHECK)
TIMES, RATES = frozenset({"µs", "ms", "s"}), frozenset({"1/s"})


def slowness(before: Run, after: Run) -> float:
    """Return how many times as long the second machine takes for one check of a signature. 1 if that is not known."""
    found = [
        new.median / old.median
        for case in FLOOR
        if (old := before.find("verifying", case, CPU)) and (new := after.find("verifying", case, CPU)) and old.median
    ]
    return sum(found) / len(found) if found else 1.0


def on_the_first_machine(measurement: Measurement, slowness: float) -> Measurement:
    """Return what the second run would have measured on the machine of the first one."""
    factor = {**dict.fromkeys(TIMES, 1 / slowness), **dict.fromkeys(RATES, slowness)}.get(measurement.unit, 1.0)
    values = [value * factor for value in measurement.values]
    return Measurement(measurement.case, measurement.quantity, measurement.unit, values, measurement.at)


def is_noise(before: Measurement, after: Measurement) -> bool:
    """Return whether a change may be chance: it is small, or the middle halves of the rounds overlap."""
    if not before.median:
        return not after.median
    if abs(after.median / before.median - 1) < LEAST_CHANGE:
        return True
    (low, high), (new_low, new_high) = before.spread, after.spread
    return low <= new_high and new_low <= high


def change(before: Measurement, after: Measurement) -> str:
    """Return a change in words: "noise", "+12 %", or "from 0"."""
    if is_noise(before, after):
        return "noise"
    return f"{(after.median / before.median - 1) * 100:+.0f} %" if before.median else "from 0"


def compared(before: Run, after: Run) -> Group:
    """Return a table of all that both runs have measured."""
    factor = slowness(before, after)
    table = Table(title_justify="left")
    for column in ("section", "case", "quantity"):
        table.add_column(column)
    for column in ("before", "after", "change"):
        table.add_column(column, justify="right")
    changes = alone = 0
    for section in after.sections:
        for new in section.measurements:
            old = before.find(section.name, new.case, new.quantity, new.at)
            if old is None:
                alone += 1
                continue
            says = change(old, on_the_first_machine(new, factor))
            changes += says != "noise"
            unit = f", {new.unit}" if new.unit else ""
            case = new.case if new.at is None else f"{new.case}, at {new.at:,g}"
            medians = figure_text(old.median), figure_text(new.median)
            table.add_row(
                section.name, case, new.quantity + unit, *medians, says, style=None if says == "noise" else "bold"
            )
    head = (
        f"before: {before.date}, {before.commit}\nafter:  {after.date}, {after.commit}\n"
        f"One check of a signature takes {factor:.2f} times as long after as before. The changes leave that out.\n"
    )
    tail = f"{changes} of {table.row_count} figures changed. The changes of the others may be chance."
    if alone:
        tail += f" {alone} figures of the second run are new."
    return Group(Text(head), table, Text(tail))
