"""What is printed, and how."""

import json

import pytest
from rich.text import Text

from mstoken.cli.output import note, printable, say, show_json, show_table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zürich, 5 €", "Zürich, 5 €"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("\ud800", "\\ud800"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_a_terminal_is_told_nothing(text: str, shown: str) -> None:
    """What a terminal would act on, or not show, is printed with escapes; letters of all languages stay."""
    assert printable(text) == shown


def test_the_answer_and_notes_go_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is on stdout and what is said beside it on stderr, both made printable."""
    say("yes\x07")
    note("but\x07")
    assert capsys.readouterr() == ("yes\\x07\n", "but\\x07\n")


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON for scripts has escapes for all other characters, and comes back as it was."""
    show_json({"name": "Zürich\x1b"})
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert json.loads(shown) == {"name": "Zürich\x1b"}


def test_lines_of_a_table_stay_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no terminal reads it, a row of a table is a line, however long it is."""
    show_table(("NAME", "WHAT"), [("long", "x" * 500), ("[bold]", Text("y")), ("\x1b", "z")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["NAME", "WHAT"], ["long", "x" * 500], ["[bold]", "y"], ["\\x1b", "z"]]
