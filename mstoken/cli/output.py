"""What commands print: tables for people and JSON for scripts on stdout, notes and errors on stderr."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mstoken.log_events import one_line

PIPE_COLUMNS = 10_000
"""Maximum width of a table that does not go to a terminal, so that each row stays on one line."""


def printable(text: str) -> str:
    """Return `text` with escapes in place of control and invisible characters, which a token may contain."""
    return "\n".join(one_line(line) for line in text.split("\n"))


def say(text: str) -> None:
    """Print a line of the answer on stdout."""
    typer.echo(printable(text))


def note(text: str) -> None:
    """Print a line on stderr that does not belong to the answer."""
    typer.echo(printable(text), err=True)


def show_json(value: Any) -> None:
    """Print the answer as JSON in ASCII on stdout."""
    typer.echo(json.dumps(value, indent=2))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print the answer as a table on stdout, at most as wide as the terminal."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    console = Console(file=sys.stdout, width=width, highlight=False)
    with console.capture() as rendered:
        console.print(table)
    typer.echo("\n".join(line.rstrip() for line in rendered.get().splitlines()))
