"""Charts as SVG."""

import re
from collections.abc import Sequence

import pytest

from emulator.lab.plots import CANVASES, NARROW, WIDE, Canvas, Chart, Kind, Series, plot


def chart(kind: Kind, *values: Sequence[float | None]) -> Chart:
    series = [Series(f"series {number}", f"series-{number}", found, "") for number, found in enumerate(values, 1)]
    return Chart("it", "It", "What it shows.", kind, series, lambda value: f"{value:g}", "Nothing.")


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


@pytest.mark.parametrize("canvas", CANVASES, ids=lambda canvas: canvas.name)
def test_a_line_goes_through_its_values(canvas: Canvas) -> None:
    """The first value is at the left edge, the last at the right one. 0 is at the bottom, the round top at the top."""
    [shape] = plot(chart("lines", [0, 5, 10]), canvas, minutes=5).shapes
    bottom, right = canvas.height - canvas.bottom, canvas.width - canvas.right
    middle = ((canvas.left + right) / 2, (canvas.top + bottom) / 2)
    assert points(shape.path) == [(canvas.left, bottom), middle, (right, canvas.top)]


def test_a_gap_interrupts_a_line() -> None:
    """A missing value is not a 0: the line begins again after it. A single value is a dot."""
    [shape] = plot(chart("lines", [1, 1, None, 1, None]), WIDE, minutes=5).shapes
    assert re.sub(r"[\d. ]", "", shape.path) == "MLMh"


@pytest.mark.parametrize(
    ("highest", "texts"),
    [
        (0, ["0", "1", "2"]),
        (1, ["0", "1", "2"]),
        (0.3, ["0", "0.2", "0.4"]),
        (0.9, ["0", "0.5", "1"]),
        (3, ["0", "2", "4"]),
        (7, ["0", "5", "10"]),
        (10, ["0", "5", "10"]),
        (1100, ["0", "1000", "2000"]),
    ],
)
def test_the_numbers_of_the_axis_are_round(highest: float, texts: list[str]) -> None:
    """The axis ends at 1, 2, 4, 6 or 10 times a power of ten. Numbers that are counted have no half in the middle."""
    assert [tick.text for tick in plot(chart("lines", [highest]), WIDE, minutes=5).rows] == texts


def test_bars_are_stacked() -> None:
    """The second series begins where the first one ends. The axis fits the sum."""
    drawn = plot(chart("bars", [2, 0], [4, 1]), WIDE, minutes=5)
    assert drawn.rows[-1].text == "6"
    first, second = (re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", shape.path) for shape in drawn.shapes)
    assert first[0][1] == second[0][0]
    assert second[0][1] == f"{WIDE.top:.1f}"
    assert (len(first), len(second)) == (1, 2)


def test_times_below() -> None:
    """A wide chart names each minute, a narrow one only the first and the last."""
    wide, narrow = (plot(chart("lines", [1]), canvas, minutes=5) for canvas in (WIDE, NARROW))
    assert [tick.text for tick in narrow.columns] == ["\N{MINUS SIGN}5 min", "now"]
    assert len(wide.columns) == 6


@pytest.mark.parametrize("values", [[], [[]], [[None, 0]]], ids=["no series", "no values", "nothing happened"])
def test_a_chart_without_values(values: list[list[float | None]]) -> None:
    """A chart of nothing is empty, and can be drawn."""
    kinds: tuple[Kind, ...] = ("lines", "bars")
    for kind in kinds:
        empty = chart(kind, *values)
        assert empty.is_empty
        assert plot(empty, WIDE, minutes=5).rows[0].text == "0"
    assert not chart("lines", [None, 1]).is_empty
