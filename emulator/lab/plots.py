"""Charts as SVG: lines and stacked bars over the last minutes, with an axis whose numbers are round."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["lines", "bars"]


@dataclass(frozen=True)
class Series:
    """One line, or one part of each bar. `style` is the number of a colour of the design system, or a class of its own.

    A value of None is a gap. `latest` is the value that the legend shows, in words.
    """

    name: str
    style: str
    values: Sequence[float | None]
    latest: str


@dataclass(frozen=True)
class Chart:
    """What one chart shows. `text` makes words of a value, and `empty` is shown if there is no value at all."""

    id: str
    title: str
    explanation: str
    kind: Kind
    series: Sequence[Series]
    text: Callable[[float], str]
    empty: str

    @property
    def is_whole(self) -> bool:
        """Whether all values are whole numbers."""
        return all(value == int(value) for series in self.series for value in series.values if value is not None)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not any(value for series in self.series for value in series.values)


@dataclass(frozen=True)
class Canvas:
    """The size of a chart, in the units of its view box."""

    name: str
    width: int
    height: int
    left: int
    right: int = 10
    top: int = 12
    bottom: int = 24

    @property
    def plot_width(self) -> int:
        """The width without the numbers of the axis."""
        return self.width - self.left - self.right

    @property
    def plot_height(self) -> int:
        """The height without the times."""
        return self.height - self.top - self.bottom


WIDE = Canvas("wide", 560, 220, 52)
NARROW = Canvas("narrow", 320, 180, 54)
BROAD = Canvas("broad", 1130, 220, 52)
"""For a chart that has the whole width of a large window."""
CANVASES = (WIDE, NARROW)


@dataclass(frozen=True)
class Tick:
    """A line across the chart at a round number, or a time below it."""

    at: float
    text: str


@dataclass(frozen=True)
class Shape:
    """A line, or the bars of one series, as the `d` of an SVG path."""

    style: str
    path: str


@dataclass(frozen=True)
class Plot:
    """A chart on one canvas, ready to be drawn."""

    canvas: Canvas
    rows: list[Tick]
    columns: list[Tick]
    shapes: list[Shape]


def plot(chart: Chart, canvas: Canvas, *, minutes: int) -> Plot:
    """Return a chart on a canvas. Its values cover so many minutes until now."""
    top = _round_up(_highest(chart), is_whole=chart.is_whole)

    def y(value: float) -> float:
        return canvas.top + canvas.plot_height * (1 - value / top)

    rows = [Tick(round(y(value), 1), chart.text(value)) for value in (0, top / 2, top)]
    columns = [
        Tick(
            round(canvas.left + canvas.plot_width * (1 - minute / minutes), 1),
            f"−{minute} min" if minute else "now",  # noqa: RUF001 - a minus sign, not a hyphen
        )
        for minute in range(minutes, -1, -1)
        if canvas is not NARROW or minute in {0, minutes}
    ]
    draw = _lines if chart.kind == "lines" else _bars
    return Plot(canvas, rows, columns, draw(chart, canvas, y))


def _highest(chart: Chart) -> float:
    if chart.kind == "bars":
        return max((sum(value or 0 for value in bar) for bar in _columns(chart)), default=0)
    return max((value or 0 for series in chart.series for value in series.values), default=0)


def _columns(chart: Chart) -> list[tuple[float | None, ...]]:
    return list(zip(*(series.values for series in chart.series), strict=True))


def _round_up(value: float, *, is_whole: bool) -> float:
    """Return the smallest of 1, 2, 4, 6, 10, 20, 40, … (and of their tenths) that is not below the value.

    The half of it is a round number as well. For whole numbers the smallest is 2.
    """
    if value <= 0 or (is_whole and value <= 2):
        return 2.0 if is_whole else 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 6, 10) if step * power >= value * 0.999999)


def _lines(chart: Chart, canvas: Canvas, y: Callable[[float], float]) -> list[Shape]:
    shapes = []
    for series in chart.series:
        count = len(series.values)
        path, is_down = [], False
        for index, value in enumerate(series.values):
            if value is None:
                is_down = False
                continue
            x = canvas.left + canvas.plot_width * index / max(1, count - 1)
            path.append(f"{'L' if is_down else 'M'}{x:.1f} {y(value):.1f}")
            # A value between two gaps is a dot: a line without a length, with round ends.
            if not is_down and (index + 1 == count or series.values[index + 1] is None):
                path.append("h0")
            is_down = True
        shapes.append(Shape(series.style, "".join(path)))
    return shapes


def _bars(chart: Chart, canvas: Canvas, y: Callable[[float], float]) -> list[Shape]:
    paths: list[list[str]] = [[] for _ in chart.series]
    columns = _columns(chart)
    width = canvas.plot_width / max(1, len(columns))
    for index, bar in enumerate(columns):
        below = 0.0
        for path, value in zip(paths, bar, strict=True):
            if value:
                x, bottom, top = canvas.left + width * index, y(below), y(below + value)
                path.append(f"M{x + width * 0.1:.2f} {bottom:.1f}V{top:.1f}h{width * 0.8:.2f}V{bottom:.1f}z")
                below += value
    return [Shape(series.style, "".join(path)) for series, path in zip(chart.series, paths, strict=True)]
