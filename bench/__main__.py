"""`make bench`: what a call costs, compared with what people use today, as ratios within one run on one core."""

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
    """Run all benchmarks. Print the results, and the targets beside them."""
    os.environ.pop(AUTH_EMULATOR_VARIABLE, None)  # While it is set, firebase-admin does not verify signatures.
    here, brokered = token_service.sign_ins()  # This runs on all cores. After it, this process uses only one.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = asyncio.run(callee.callee(Path(folder)))
    costs = asyncio.run(caller.proofs())
    waited, sign_ins = asyncio.run(caller.waits())
    _show(console, "The callee: to verify a call", whole)
    _show(console, "The parts of our verification", parts)
    _show(console, "The caller in proof mode", costs)
    at_once = sum(seconds < MILLISECOND for seconds in waited) / len(waited)
    rate = f"{caller.CALLS_PER_SECOND:.0f} calls a second, a sign-in takes {caller.FIREBASE_SECONDS * 1000:.0f} ms"
    console.print(
        f"\n[bold]The caller in fresh mode[/bold], {rate}: {len(waited)} calls, {sign_ins} sign-ins; median wait "
        f"{statistics.median(waited) * 1e6:.0f} µs, longest {max(waited) * 1000:.0f} ms"
    )
    console.print(
        f"\n[bold]A sign-in in the emulator[/bold], median: {here * 1000:.1f} ms with a custom token signed here, "
        f"{brokered * 1000:.1f} ms with one from the token service"
    )
    table = Table(title="Targets and results", title_justify="left", title_style="bold")
    for column in "What", "Target", "Result":
        table.add_column(column)
    fresh = whole[callee.FRESH] / whole[callee.PLAIN_ADMIN]
    proof = whole[callee.PROOF] / whole[callee.AUTH0]
    headers = costs[caller.HEADERS] / costs[caller.SIGNATURE]
    table.add_row("fresh mode / firebase-admin, unchanged", "≤ 0.25", f"{fresh:.2f}")
    table.add_row("proof mode / auth0-api-python", "≤ 0.50", f"{proof:.2f}")
    table.add_row("a proof and its headers / one signature", "≤ 3.00", f"{headers:.2f}")
    table.add_row("calls in fresh mode that wait less than 1 ms", "≥ 99 %", f"{at_once * 100:.1f} %")
    table.add_row("time that the token service adds to a sign-in", "≤ 5 ms", f"{(brokered - here) * 1000:.1f} ms")
    console.print()
    console.print(table)


def _show(console: Console, title: str, figures: dict[str, float]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("Processor time for one, minimum of all rounds")
    table.add_column("µs", justify="right")
    for name, microseconds in figures.items():
        table.add_row(name, f"{microseconds:.0f}")
    console.print()
    console.print(table)


if __name__ == "__main__":
    main()
