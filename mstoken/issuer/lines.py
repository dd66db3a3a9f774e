"""Where in a TOML file a value stands: `tomllib` gives the values, and no lines."""

import tomllib
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, TypeAlias

TomlPath: TypeAlias = tuple[str | int, ...]
"""The way to a value in a TOML document: keys of tables, and indices of arrays from 0 on."""


def line_of(text: str, path: TomlPath) -> int | None:
    """The line, from 1 on, at which the value that `path` leads to begins in `text`, which is good TOML.

    For something that is missing, the line of the table or list that it is missing from, which is None for the whole
    file. Raises ValueError for a text that is no TOML, RecursionError for one that nests too deeply.

    This needs no parser of our own. The first lines of a TOML file are a TOML file too, unless a value goes on behind
    them: so a value ends where the shortest such beginning ends that has it, and begins behind the next shorter one.
    A list that goes on is one that a bracket would close, which tells the lines of its items apart.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    document = tomllib.loads(text)
    while path and not _leads_somewhere(path, document):
        path = path[:-1]
    if not path:
        return None
    ends = _statement_ends(lines)
    index = bisect_left(ends, True, key=lambda end: _leads_somewhere(path, _parsed(lines[:end])))
    begin = ends[index - 1] if index else 0
    for end in range(begin + 1, ends[index]):
        closed = _parsed([*lines[:end], "]"])
        if closed is not None and _leads_somewhere(path, closed):
            break
        if closed is not None:
            begin = end
    return begin + 1


def _statement_ends(lines: Sequence[str]) -> Sequence[int]:
    """After which lines of a TOML file, from 1 on, a statement ends: by itself each can be read as well."""
    ends, begin = [], 0
    for end in range(1, len(lines) + 1):
        if _parsed(lines[begin:end]) is not None:
            ends.append(end)
            begin = end
    return ends


def _parsed(lines: Sequence[str]) -> dict[str, Any] | None:
    try:
        return tomllib.loads("\n".join(lines))
    except ValueError:
        return None


def _leads_somewhere(path: TomlPath, document: Any) -> bool:
    """Whether there is a value in `document` at the end of `path`."""
    try:
        for step in path:
            document = document[step]
    except (KeyError, IndexError, TypeError):
        return False
    return True
