"""`make bench`: what a call costs, compared with what people use today, as ratios within one run."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import compare, report
from bench.environment import ROOT
from bench.results import ResultsError, load, save
from bench.sections import NAMES, run_sections
from bench.targets import verdicts
from mstoken.settings import AUTH_EMULATOR_VARIABLE

RESULTS = ROOT / "bench" / "results"
"""The results that the repository keeps, with the report."""
ELSEWHERE = ROOT / ".data" / "bench"
"""Where a part of the benchmark is written: it must not replace the results of all of it."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_console = Console(highlight=False, soft_wrap=True)


@app.callback(invoke_without_command=True)
def measure(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Check the main ratios, in a minute.")] = False,
    growth: Annotated[bool, typer.Option("--growth", help="Measure growth, up to millions.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(metavar="SECTION", help=f"Measure this section only: {', '.join(NAMES)}.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where the results go.")] = None,
) -> None:
    """Measure everything, and write report.md with its charts and run.json to bench/results.

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
    names = ["growth"] if growth else list(only or NAMES)
    run, all_measured = run_sections(names, is_quick=quick, is_large=growth, say=_console.print)
    save(run, folder / ("growth.json" if growth else "run.json"))
    if quick:
        found = verdicts(run)
        _console.print(report.target_lines(found))
        all_measured = all_measured and not any(verdict.is_far_off for verdict in found)
    else:
        report.write(folder)
        _console.print(f"{folder}/report.md has the report.")
    raise typer.Exit(0 if all_measured else 1)


@app.command("compare")
def compare_runs(
    before: Annotated[Path, typer.Argument(help="The JSON of a run.")],
    after: Annotated[Path, typer.Argument(help="The JSON of another run.")],
) -> None:
    """Show what changed between two runs, and what is only noise."""
    _console.print(compare.table(load(before), load(after)))


def main() -> None:
    """Run the command."""
    try:
        app()
    except ResultsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Nothing was written.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
