"""The options of the runner. tests/system/test_runner.py runs the shop."""

from dataclasses import astuple

import pytest

from emulator.__main__ import HIGHEST_OFFSET, main
from emulator.run.ports import Ports


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--port-offset", "x", "'x' is not a whole number from 0 to 56000"),
        ("--port-offset", "-1", "'-1' is not a whole number from 0 to 56000"),
        ("--port-offset", "99999", "'99999' is not a whole number from 0 to 56000"),
        ("--workers", "0", "'0' is not a whole number from 1 to 64"),
        ("--workers", "1.5", "'1.5' is not a whole number from 1 to 64"),
        ("--workers", "1000", "'1000' is not a whole number from 1 to 64"),
    ],
)
def test_a_number_out_of_range(capsys: pytest.CaptureFixture[str], option: str, value: str, expected: str) -> None:
    """Nothing starts, and the error has the option, what was given and what was expected."""
    with pytest.raises(SystemExit) as ended:
        main(["run", f"{option}={value}"])
    assert ended.value.code == 2
    assert f"error: argument {option}: {expected}" in capsys.readouterr().err


def test_the_highest_offset() -> None:
    """With it, all ports exist."""
    assert max(astuple(Ports.shifted(HIGHEST_OFFSET))) < 65_536
