"""docs/protocol.md states the numbers and codes that the code has."""

import re

from emulator.run.stack import ROOT
from mstoken import errors, wire
from mstoken.errors import Refusal

PAGE = (ROOT / "docs" / "protocol.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without the head of the table."""
    section = PAGE.partition(f"## {heading}\n")[2]
    table = section[section.index("\n|") :].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[3:]]


def refusals(of: type[Refusal]) -> dict[str, int]:
    """Return the code and the status of each refusal below a class."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, of)]
    return {kind.code: kind.status for kind in kinds if hasattr(kind, "code")}


def test_the_numbers_are_those_of_the_code() -> None:
    """Each number of section 2 is the constant of that name."""
    stated = {name.strip("`"): int(value) for name, value, _ in rows("2. Numbers")}
    assert stated == {name: getattr(wire, name) for name in stated}
    assert len(stated) == 10


def test_every_code_is_on_the_page() -> None:
    """The tables of codes have each code of the library with its status, and no other."""
    callee = {code.strip("`"): int(status) for code, status, *_ in rows("9. Refusals")}
    issuer = {code.strip("`"): int(status) for code, status, _ in rows("11.3 The checks")}
    assert callee.pop("identity_disabled") == 401
    assert issuer.pop("identity_disabled") == 403
    found = refusals(Refusal)
    found.pop("identity_disabled")
    assert callee | issuer == found


def test_the_challenges_are_those_of_the_code() -> None:
    """The table of codes states the scheme and the error of each challenge."""
    kinds = {
        kind.code: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, Refusal) and hasattr(kind, "code") and kind.status == 401
    }
    for cell_code, status, challenge, _ in rows("9. Refusals"):
        if status == "401":
            found = re.findall(r"`([^`]+)`", challenge)
            kind = kinds[cell_code.strip("`")]
            assert found == [str(kind.scheme), *([f'error="{kind.error}"'] if kind.error else [])]
