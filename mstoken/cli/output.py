"""What commands print: tables for people, JSON for scripts. Notes and errors go to stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeAlias

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

NOT_A_TERMINAL_COLUMNS = 10_000
"""How wide a table may be that goes into a file or a pipe: lines stay whole there."""

JsonOption: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


def printable(text: str) -> str:
    """`text` with escapes for what a terminal would act on, or not show: some of it comes from strangers' tokens."""
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode("ascii") for one in text
    )


def say(text: str) -> None:
    """A line of the answer."""
    typer.echo(printable(text))


def note(text: str) -> None:
    """A line beside the answer, on stderr."""
    typer.echo(printable(text), err=True)


def show_json(value: Any) -> None:
    """The answer as JSON, in ASCII."""
    typer.echo(json.dumps(value, indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """The answer as a table, as wide as the terminal."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    width = None if sys.stdout.isatty() else NOT_A_TERMINAL_COLUMNS
    Console(file=sys.stdout, width=width, highlight=False).print(table)
