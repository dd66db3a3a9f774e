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
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    """A text cannot control the terminal or hide a part of itself. Letters of all languages are printed as they are."""
    assert printable(text) == shown


def test_answers_and_notes_are_separate(capsys: pytest.CaptureFixture[str]) -> None:
    """The answer goes to stdout and notes go to stderr. Control characters are escaped in both."""
    say("yes\x07")
    note("but\x07")
    assert capsys.readouterr() == ("yes\\x07\n", "but\\x07\n")


def test_json_is_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    """Other characters are escaped, and a parser restores them."""
    show_json({"name": "Zürich\x1b"})
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert json.loads(shown) == {"name": "Zürich\x1b"}


def test_each_row_of_a_table_is_one_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Rows are not wrapped, however long they are, and have no spaces at the end."""
    show_table(("NAME", "WHAT"), [("long", "x" * 500), ("[bold]", Text("y")), ("\x1b", "z")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["NAME", "WHAT"], ["long", "x" * 500], ["[bold]", "y"], ["\\x1b", "z"]]
    assert lines == [line.rstrip() for line in lines]
