"""The timeline of a load: a bar for each purchase, and a band for each fault."""

from collections.abc import Sequence
from dataclasses import dataclass

from emulator.lab.load import Sale
from emulator.lab.outages import Span

SECONDS = 90.0
"""How much time the strip shows, in seconds."""
WIDTH = 900.0
HEIGHT = 120.0
TALLEST_SECONDS = 10.0
"""A purchase that takes this long has a bar of the full height. The height grows with the square root of the time."""
BAR_WIDTH = 6.0


@dataclass(frozen=True)
class Bar:
    """A purchase: where its bar is, and what it was."""

    x: float
    y: float
    height: float
    is_good: bool
    title: str


@dataclass(frozen=True)
class Band:
    """A fault: where its band is."""

    x: float
    width: float
    title: str


@dataclass(frozen=True)
class Tick:
    """A mark below the strip, with its text."""

    x: float
    text: str


@dataclass(frozen=True)
class Strip:
    """What is drawn. Lengths are in units of the drawing."""

    width: float
    height: float
    bar_width: float
    bars: tuple[Bar, ...]
    bands: tuple[Band, ...]
    ticks: tuple[Tick, ...]
    summary: str


def draw(sales: Sequence[Sale], spans: Sequence[Span], now: float) -> Strip:
    """Return the strip of the last 90 seconds before `now`, in seconds since the epoch."""
    # Whole seconds, so that the drawing does not change without a reason.
    end = float(int(now) + 1)
    start = end - SECONDS

    def x(time: float) -> float:
        return round(min(1.0, max(0.0, (time - start) / SECONDS)) * WIDTH, 1)

    shown = [sale for sale in sales if sale.began >= start]
    bands = [
        Band(x(span.begin), max(2.0, round(x(span.end or end) - x(span.begin), 1)), span.title)
        for span in spans
        if (span.end or end) > start
    ]
    good = sum(sale.is_good for sale in shown)
    summary = f"Bills issued in the last {SECONDS:.0f} seconds: {good}; failed purchases: {len(shown) - good}"
    ticks = [Tick(x(end - ago), f"-{ago} s" if ago else "now") for ago in (90, 60, 30, 0)]
    return Strip(
        WIDTH,
        HEIGHT,
        BAR_WIDTH,
        tuple(_bar(sale, x(sale.began)) for sale in shown),
        tuple(bands),
        tuple(ticks),
        summary,
    )


def _bar(sale: Sale, x: float) -> Bar:
    height = round(max(6.0, min(1.0, sale.seconds / TALLEST_SECONDS) ** 0.5 * HEIGHT), 1)
    title = f"{sale.words}, {sale.seconds * 1000:.0f} ms"
    return Bar(x, round(HEIGHT - height, 1), height, sale.is_good, title)
