"""The lines of values in TOML files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstoken.issuer.lines import TomlPath, line_of

MANY_SHAPES = """\
# A comment, and a blank line.

title = "one"
dotted.inner.value = 1
table = { first = 1, second = { third = [1, 2] } }

[outer]
one_line = ["a", "b"]
list = [
  "a", # [ "x",
  # "not this",

  "b", "c",
  { name = "d", numbers = [
      1,
      2,
  ] },
  "e"
  , "f"
]
text = \"\"\"
list = [
]
[other]
\"\"\"
after = 2

[[outer.items]]
name = "first"

[[outer.items]]
name = "second"
jwk.x = 1
jwk.y = 2

[[outer.items.parts]]
part = 1

[ outer . "quoted key" ]
value = 1

[late.table.inner]
[late.table]
value = 1
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 3),
        (("dotted",), 4),
        (("dotted", "inner", "value"), 4),
        (("table", "second", "third", 1), 5),
        (("outer",), 7),
        (("outer", "one_line", 1), 8),
        (("outer", "list"), 9),
        (("outer", "list", 0), 10),
        (("outer", "list", 1), 13),
        (("outer", "list", 2), 13),
        (("outer", "list", 3), 14),
        (("outer", "list", 3, "numbers", 1), 14),
        (("outer", "list", 4), 18),
        (("outer", "list", 5), 19),
        (("outer", "text"), 21),
        (("outer", "after"), 26),
        (("outer", "items"), 28),
        (("outer", "items", 0), 28),
        (("outer", "items", 0, "name"), 29),
        (("outer", "items", 1), 31),
        (("outer", "items", 1, "name"), 32),
        (("outer", "items", 1, "jwk"), 33),
        (("outer", "items", 1, "jwk", "x"), 33),
        (("outer", "items", 1, "jwk", "y"), 34),
        (("outer", "items", 1, "parts", 0), 36),
        (("outer", "items", 1, "parts", 0, "part"), 37),
        (("outer", "quoted key"), 39),
        (("outer", "quoted key", "value"), 40),
        (("late",), 42),
        (("late", "table"), 42),
        (("late", "table", "value"), 44),
        (("outer", "missing"), 7),
        (("outer", "items", 1, "missing", "x"), 31),
        (("outer", "items", 2), 28),
        (("outer", "list", 9), 9),
        (("title", "missing"), 3),
        (("missing",), None),
        (("missing", "too"), None),
        ((), None),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["unix", "windows"])
def test_the_line_at_which_a_value_begins(path: TomlPath, line: int | None, newline: str) -> None:
    """In every shape that TOML has for it; for what is missing, the line of what it is missing from."""
    assert line_of(MANY_SHAPES.replace("\n", newline), path) == line


FILLERS = st.sampled_from(["", "  ", "# a comment", "# key = [", '# "', "\t# ]"])
STATEMENTS = st.sampled_from(
    [["{} = 1"], ["{} = [", "  1, # [", "]"], ["{} = '''", "[", "x = 1", "'''"], ["{}.a.b = {{}}"]]
)


@given(st.data())
def test_the_line_of_any_statement(data: st.DataObject) -> None:
    """Whatever stands around it."""
    lines: list[str] = []
    expected: dict[TomlPath, int] = {}
    items = 0
    for table in range(data.draw(st.integers(0, 3), label="tables")):
        place: TomlPath = (f"table{table}",)
        if in_list := data.draw(st.booleans(), label="in a list"):
            place, items = ("list", items), items + 1
        lines += data.draw(st.lists(FILLERS, max_size=2))
        lines.append("[[list]]" if in_list else f"[{place[0]}]")
        expected[place] = len(lines)
        for index in range(data.draw(st.integers(0, 3), label="statements")):
            lines += data.draw(st.lists(FILLERS, max_size=2))
            expected[(*place, f"k{index}")] = len(lines) + 1
            lines += [line.format(f"k{index}") for line in data.draw(STATEMENTS)]
    assert {path: line_of("\n".join(lines), path) for path in expected} == expected


@given(st.lists(st.tuples(st.lists(FILLERS, max_size=2), st.integers(1, 3)), min_size=1, max_size=6))
def test_the_line_of_any_item(groups: list[tuple[list[str], int]]) -> None:
    """Of a list that goes over several lines, with blank lines and comments in it, and several items on one line."""
    lines, expected = ["calls = ["], []
    for fillers, items in groups:
        lines += [*fillers, ", ".join(["'['"] * items) + ","]
        expected += [len(lines)] * items
    text = "\n".join([*lines, "]"])
    assert [line_of(text, ("calls", index)) for index in range(len(expected))] == expected
