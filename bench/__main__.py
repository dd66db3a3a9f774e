"""`make bench`: what a call costs, compared with what people use today, as ratios within one run."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import compare, pages, report
from bench.environment import RESULTS, ROOT, new_run
from bench.results import ResultsError, Run, load, save
from bench.sections import NAMES, Entry, chosen, run_sections
from bench.targets import Verdict, quick_verdicts
from mstoken.settings import AUTH_EMULATOR_VARIABLE

ELSEWHERE = ROOT / ".data" / "bench"
"""Where a part of the benchmark is written: it must not replace the results of all of it."""

WIDTH = 140
"""How wide the table of a comparison is in a file, in characters."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def measure(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Check the main ratios, in a minute.")] = False,
    growth: Annotated[bool, typer.Option("--growth", help="Measure growth up to millions.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="SECTION", help=f"Measure this section only: {', '.join(NAMES)}.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where the results go.")] = None,
) -> None:
    """Measure everything. Write report.md with its charts and run.json to bench/results, and update the pages.

    A part of the benchmark (--quick, --only) writes to .data/bench, because it must not replace the whole report.
    """
    if context.invoked_subcommand:
        return
    if unknown := set(only or ()) - set(NAMES):
        raise typer.BadParameter(f"There is no section {', '.join(sorted(unknown))}. Expected: {', '.join(NAMES)}.")
    if growth and (quick or only):
        raise typer.BadParameter("--growth measures one section by itself: leave out --quick and --only.")
    folder = out or (ELSEWHERE if quick or only else RESULTS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"Cannot write to {folder}: {error.strerror}.") from error
    os.environ.pop(AUTH_EMULATOR_VARIABLE, None)  # While it is set, firebase-admin does not verify signatures.
    entries = chosen(["growth"] if growth else only or [], is_quick=quick)
    run, all_measured = run_sections(new_run(is_quick=quick), entries, is_large=growth, say=_say)
    save(run, folder / (report.GROWTH_FILE if growth else report.RUN_FILE))
    if quick:
        all_measured &= _is_passed(run, entries)
    else:
        report.write(folder)
        if folder == RESULTS:
            pages.update(folder)
        _say(f"The report is {folder / report.REPORT_FILE}.")
    raise typer.Exit(0 if all_measured else 1)


@app.command("compare")
def compare_runs(
    before: Annotated[Path | None, typer.Argument(help="The JSON of a run.")] = None,
    after: Annotated[Path | None, typer.Argument(help="The JSON of another run.")] = None,
) -> None:
    """Show what changed between two runs, and what is only noise."""
    if before is None or after is None:
        raise typer.BadParameter("Expected two runs: make bench-compare A=before.json B=after.json")
    width = None if sys.stdout.isatty() else WIDTH
    Console(highlight=False, width=width).print(compare.compared(load(before), load(after)))


@app.command("report")
def write_report() -> None:
    """Write the report of bench/results and the tables of the pages again, from what was measured last."""
    report.write(RESULTS)
    pages.update(RESULTS)


def _is_passed(run: Run, entries: Sequence[Entry]) -> bool:
    """Print the ratios, and return whether all are near their targets. What is far off is measured once more."""
    kept = load(RESULTS / report.RUN_FILE) if (RESULTS / report.RUN_FILE).exists() else None
    found = quick_verdicts(run, kept)
    if _far_off(found):
        _say("A ratio is far off. Everything is measured once more, because the machine may have been busy.")
        again, _ = run_sections(run, entries, say=_say)
        found = [
            min(pair, key=lambda each: each.is_far_off) for pair in zip(found, quick_verdicts(again, kept), strict=True)
        ]
    _say(report.target_lines(found))
    for verdict in (far_off := _far_off(found)):
        _say(f"Far off: {verdict.target.text}.")
    return not far_off


def _far_off(found: list[Verdict]) -> list[Verdict]:
    return [verdict for verdict in found if verdict.is_far_off]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Run the command."""
    try:
        app()
    except ResultsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
