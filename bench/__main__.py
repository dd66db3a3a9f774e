"""`make bench`: what it costs, as ratios within one run on one core, beside what people use today."""

import asyncio
import os
import statistics
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import callee, caller, token_service
from mstoken.settings import AUTH_EMULATOR_VARIABLE

MILLISECOND = 0.001


def main() -> None:
    """Runs all benchmarks, and prints what was reached beside what is wanted."""
    os.environ.pop(AUTH_EMULATOR_VARIABLE, None)  # With it firebase-admin verifies nothing.
    here, brokered = token_service.sign_ins()  # On all cores, before this process keeps to one.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        ways, parts = asyncio.run(callee.callee(Path(folder)))
    costs = asyncio.run(caller.proofs())
    waited, sign_ins = asyncio.run(caller.waits())
    _show(console, "The callee: telling who calls", ways)
    _show(console, "The parts of it", parts)
    _show(console, "The caller in proof mode", costs)
    at_once = sum(seconds < MILLISECOND for seconds in waited) / len(waited)
    rate = f"{caller.CALLS_PER_SECOND:.0f} calls a second, Firebase {caller.FIREBASE_SECONDS * 1000:.0f} ms away"
    console.print(
        f"\n[bold]The caller in fresh mode[/bold], {rate}: {len(waited)} calls, {sign_ins} sign-ins; median wait "
        f"{statistics.median(waited) * 1e6:.0f} µs, longest {max(waited) * 1000:.0f} ms"
    )
    console.print(
        f"\n[bold]A sign-in in the emulator[/bold], median: {here * 1000:.1f} ms with a custom token signed here, "
        f"{brokered * 1000:.1f} ms with one from the token service"
    )
    table = Table(title="What is wanted, and what was reached", title_justify="left", title_style="bold")
    for column in "What", "Wanted", "Reached":
        table.add_column(column)
    fresh = ways[callee.FRESH] / ways[callee.STOCK]
    proof = ways[callee.PROOF] / ways[callee.AUTH0]
    headers = costs[caller.HEADERS] / costs[caller.SIGNATURE]
    table.add_row("fresh / firebase-admin as it comes", "≤ 0.25", f"{fresh:.2f}")
    table.add_row("proof / auth0-api-python", "≤ 0.50", f"{proof:.2f}")
    table.add_row("proof and headers / one signature", "≤ 3.00", f"{headers:.2f}")
    table.add_row("calls that wait less than 1 ms, fresh", "≥ 99 %", f"{at_once * 100:.1f} %")
    table.add_row("what the token service adds to a sign-in", "≤ 5 ms", f"{(brokered - here) * 1000:.1f} ms")
    console.print()
    console.print(table)


def _show(console: Console, title: str, figures: dict[str, float]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("Processor time for one, least of the rounds")
    table.add_column("µs", justify="right")
    for name, microseconds in figures.items():
        table.add_row(name, f"{microseconds:.0f}")
    console.print()
    console.print(table)


if __name__ == "__main__":
    main()
