"""Two runs are compared: what changed is told from noise."""

import io

import pytest
from rich.console import Console

from bench import verifying
from bench.compare import change, compared, is_noise, slowness
from bench.results import CPU, Measurement, Run
from tests.bench.runs import VERIFYING, a_run


def of(*values: float, unit: str = "µs") -> Measurement:
    return Measurement("a case", CPU, unit, list(values))


def shown(before: Run, after: Run) -> str:
    text = io.StringIO()
    Console(file=text, width=200).print(compared(before, after))
    return text.getvalue()


def test_rounds_that_overlap_are_noise() -> None:
    """If the middle halves of the rounds overlap, the difference may be chance."""
    assert is_noise(of(10.0, 12.0, 14.0, 16.0), of(11.0, 14.0, 16.0, 18.0))
    assert not is_noise(of(10.0, 10.1, 10.2), of(12.0, 12.1, 12.2))


def test_a_small_change_is_noise() -> None:
    """The same code differs by a few per cent from run to run, however close its rounds are."""
    assert is_noise(of(100.0, 100.0), of(104.0, 104.0))
    assert not is_noise(of(100.0, 100.0), of(106.0, 106.0))


def test_a_change_in_words() -> None:
    """A change is told in per cent. What was 0 before has no per cent."""
    assert change(of(100.0), of(150.0)) == "+50 %"
    assert change(of(100.0), of(50.0)) == "-50 %"
    assert change(of(0.0), of(1.0)) == "from 0"
    assert change(of(0.0), of(0.0)) == "noise"


def test_another_machine_is_left_out() -> None:
    """A machine on which all takes twice as long, one check of a signature too, has changed nothing."""
    slower = a_run({case: 2 * value for case, value in VERIFYING.items()})
    assert slowness(a_run(), slower) == pytest.approx(2.0)
    text = shown(a_run(), slower)
    assert "One check of a signature takes 2.00 times as long" in text
    rows = [row for row in text.splitlines() if "verifying" in row]
    assert len(rows) == len(VERIFYING)
    assert all("noise" in row for row in rows)


def test_what_changed_stands_out() -> None:
    """The table has all figures, and the last line says how many have changed."""
    text = shown(a_run(), a_run({**VERIFYING, verifying.FRESH: 40.0}))
    (row,) = [row for row in text.splitlines() if f"{verifying.FRESH} " in row]
    assert "-50 %" in row
    assert "1 of 32 figures changed." in text


def test_what_only_one_run_has() -> None:
    """A figure that was not measured before is counted, and not compared."""
    before = a_run({verifying.FRESH: 1.0})
    assert "13 figures of the second run are new." in shown(before, a_run())


def test_runs_without_a_floor() -> None:
    """Without the check of a signature in both runs, the times are compared as they are."""
    assert slowness(a_run({verifying.FRESH: 1.0}), a_run()) == 1.0
