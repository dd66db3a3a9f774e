"""How the charts of this project look: of the benchmark, and of the model of a fleet.

A chart is an SVG that is the same bytes for the same figures. It has a background of its own and follows the reader's
choice of light or dark, so it can be read on any page.
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.results import Measurement

WIDTH_INCHES, HEIGHT_INCHES = 7.0, 3.6
COLORS = ("#2f6fde", "#d9730d", "#2d9a5f", "#a259d9", "#c9373f", "#7d6b57")
"""Blue first: ours, where there is a choice. All of them can be seen on both backgrounds."""
OTHERS = "#8b949e"
OURS = ("mstoken", "fresh mode", "proof mode")
"""So the names of our cases begin."""
BACKGROUND, TEXT, GRID = "#ffffff", "#1f2328", "#b0b7bf"
DARK = {BACKGROUND: "#0d1117", TEXT: "#e6edf3", GRID: "#4a525c"}
"""What the colors of the light chart become in the dark."""
_LOOK: Any = {
    "axes.edgecolor": GRID,
    "axes.facecolor": BACKGROUND,
    "axes.labelcolor": TEXT,
    "axes.prop_cycle": mpl.cycler(color=COLORS),  # type: ignore[attr-defined] # its stubs leave it out
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": TEXT,
    "axes.titlesize": 11,
    "figure.facecolor": BACKGROUND,
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.alpha": 0.5,
    "grid.color": GRID,
    "legend.frameon": False,
    "legend.labelcolor": TEXT,
    "savefig.facecolor": BACKGROUND,
    "svg.fonttype": "none",
    "svg.hashsalt": "mstoken",
    "text.color": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}


def figure(*, title: str, x: str = "", y: str = "", height: float = HEIGHT_INCHES) -> tuple[Figure, Axes]:
    """Return an empty chart and its axes."""
    with mpl.rc_context(_LOOK):
        made = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        axes: Axes = made.subplots()
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.set_axisbelow(True)
        axes.grid()
    return made, axes


def save(made: Figure, path: Path) -> None:
    """Write a chart as SVG."""
    with mpl.rc_context(_LOOK):
        written = io.StringIO()
        made.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_with_dark_colors(written.getvalue()))


def _with_dark_colors(svg: str) -> str:
    rules = [
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    ]
    return svg.replace("</style>", f"@media (prefers-color-scheme: dark){{{''.join(rules)}}}</style>", 1)


def legend(axes: Axes, **more: object) -> None:
    """Add the legend of a chart with several lines."""
    with mpl.rc_context(_LOOK):
        axes.legend(**more)


def bars(title: str, unit: str, measurements: Sequence[Measurement]) -> Figure:
    """Return a chart with a bar for each case, from the top to the bottom: medians, and the quartiles as a line.

    The bars of our cases have another color.
    """
    made, axes = figure(title=title, x=unit, height=0.8 + 0.3 * len(measurements))
    _draw_bars(axes, measurements)
    return made


def two_bars(
    left: tuple[str, Sequence[Measurement]],
    right: tuple[str, Sequence[Measurement]],
    unit: str,
) -> Figure:
    """Return two charts with bars, one beside the other. Each has its title."""
    with mpl.rc_context(_LOOK):
        made = Figure(figsize=(1.7 * WIDTH_INCHES, 0.9 + 0.32 * max(len(left[1]), len(right[1]))), layout="constrained")
        for axes, (title, measurements) in zip(made.subplots(1, 2), (left, right), strict=True):
            axes.set(title=title, xlabel=unit)
            axes.set_axisbelow(True)
            axes.grid()
            _draw_bars(axes, measurements)
    return made


def _draw_bars(axes: Axes, measurements: Sequence[Measurement]) -> None:
    with mpl.rc_context(_LOOK):
        labels = [measurement.case for measurement in measurements]
        medians = [measurement.median for measurement in measurements]
        below = [max(0.0, measurement.median - measurement.spread[0]) for measurement in measurements]
        above = [max(0.0, measurement.spread[1] - measurement.median) for measurement in measurements]
        drawn = axes.barh(
            labels,
            medians,
            color=[COLORS[0] if label.startswith(OURS) else OTHERS for label in labels],
            xerr=(below, above),
            error_kw={"ecolor": TEXT, "elinewidth": 0.8},
        )
        axes.bar_label(drawn, labels=[figure_text(median) for median in medians], padding=5)
        axes.invert_yaxis()
        axes.margins(x=0.14)
        axes.grid(visible=False, axis="y")


def stacks(title: str, unit: str, parts: Mapping[str, Mapping[str, float]]) -> Figure:
    """Return a chart with one bar for each entry, made of its parts."""
    made, axes = figure(title=title, x=unit, height=1.7 + 0.6 * len(parts))
    names = list(dict.fromkeys(name for values in parts.values() for name in values))
    with mpl.rc_context(_LOOK):
        starts = dict.fromkeys(parts, 0.0)
        for number, name in enumerate(names):
            values = [parts[label].get(name, 0.0) for label in parts]
            color = COLORS[number % len(COLORS)] if number < len(COLORS) else OTHERS
            drawn = axes.barh(list(parts), values, left=list(starts.values()), label=name, color=color, height=0.6)
            axes.bar_label(
                drawn, [f"{value:.0f}" if value else "" for value in values], label_type="center", fontsize=8
            )
            for label, value in zip(parts, values, strict=True):
                starts[label] += value
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        made.legend(loc="outside lower left", ncols=2, fontsize=8)
    return made


def lines(title: str, x: str, y: str, measurements: Sequence[Measurement], *, is_log: bool = True) -> Figure:
    """Return a chart with a line for each case, over what there was (`at`)."""
    cases = len({measurement.case for measurement in measurements})
    made, axes = figure(title=title, x=x, y=y, height=HEIGHT_INCHES + 0.1 * cases)
    with mpl.rc_context(_LOOK):
        for case in dict.fromkeys(measurement.case for measurement in measurements):
            points = sorted((m for m in measurements if m.case == case), key=lambda m: m.at or 0.0)
            places = [point.at or 0.0 for point in points]
            axes.plot(places, [point.median for point in points], "o-", label=case, markersize=4)
            axes.fill_between(
                places, [point.spread[0] for point in points], [point.spread[1] for point in points], alpha=0.15
            )
        if is_log:
            axes.set(xscale="log", yscale="log")
        made.legend(loc="outside lower left", ncols=2, fontsize=8)
    return made


def figure_text(value: float) -> str:
    """Return a number with three digits that count, such as 1,240, 43.1 or 0.23."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"
