"""The picture of the calls: where the parts of the shop and the lines between them are, and what they say."""

import math
from dataclasses import dataclass
from typing import Any

from emulator.lab.tally import CUSTOMERS, DELIVER, FIREBASE, METADATA, TOKEN, UNKNOWN, Tally

MINUTE_SECONDS = 60
RECENT_SECONDS = 10
"""Over how many seconds the rate is computed if there are many calls."""
PARTS = {
    CUSTOMERS: ("Customers", "storefront"),
    UNKNOWN: ("Unknown", "no valid token"),
    "user": ("User", "service"),
    "product": ("Product", "service"),
    "billing": ("Billing", "service"),
    DELIVER: ("deliver", "function"),
    METADATA: ("Metadata server", "identity tokens"),
    TOKEN: ("token", "function, custom tokens"),
    FIREBASE: ("Firebase Auth", "ID tokens"),
}
"""The parts of the shop: their names, and what they are."""
LINES = (
    *((CUSTOMERS, "user"), (CUSTOMERS, "product"), (CUSTOMERS, "billing")),
    *((UNKNOWN, "user"), (UNKNOWN, "product"), (UNKNOWN, "billing")),
    *(("billing", "product"), ("billing", "user"), ("billing", DELIVER), (DELIVER, "billing")),
    *(("billing", METADATA), ("billing", TOKEN), ("billing", FIREBASE)),
    *((DELIVER, METADATA), (DELIVER, TOKEN), (DELIVER, FIREBASE)),
)
"""Which part calls which. A hop that is not among them is in the table only."""
SIGNS_IN_AT = (METADATA, TOKEN, FIREBASE)
"""The parts whose lines have no text: what happens there is written into the part."""
_WITH_QUEUE = ("billing", DELIVER)
"""Billing does not call the function itself: a task queue does."""


@dataclass(frozen=True)
class Layout:
    """The size of a picture, of its parts, and where the middle of each part is. `label_at` are places on lines.

    A place is a share of the line's length, from its beginning.
    """

    name: str
    width: int
    height: int
    part_width: int
    part_height: int
    middles: dict[str, tuple[int, int]]
    label_at: dict[tuple[str, str], float]


WIDE = Layout(
    name="wide",
    width=1160,
    height=460,
    part_width=170,
    part_height=74,
    middles={
        CUSTOMERS: (95, 130),
        UNKNOWN: (95, 412),
        "user": (430, 48),
        "billing": (430, 230),
        "product": (430, 412),
        DELIVER: (745, 412),
        METADATA: (1065, 48),
        TOKEN: (1065, 230),
        FIREBASE: (1065, 412),
    },
    label_at={
        (UNKNOWN, "user"): 0.3,
        (UNKNOWN, "billing"): 0.36,
        (UNKNOWN, "product"): 0.45,
        ("billing", DELIVER): 0.36,
        (DELIVER, "billing"): 0.42,
    },
)
NARROW = Layout(
    name="narrow",
    width=360,
    height=640,
    part_width=106,
    part_height=64,
    middles={
        CUSTOMERS: (80, 36),
        UNKNOWN: (284, 36),
        "user": (54, 190),
        "product": (302, 190),
        "billing": (150, 320),
        DELIVER: (302, 468),
        METADATA: (58, 600),
        TOKEN: (180, 600),
        FIREBASE: (302, 600),
    },
    label_at={
        (CUSTOMERS, "user"): 0.72,
        (CUSTOMERS, "billing"): 0.2,
        (CUSTOMERS, "product"): 0.3,
        (UNKNOWN, "user"): 0.85,
        (UNKNOWN, "billing"): 0.8,
        ("billing", DELIVER): 0.22,
        (DELIVER, "billing"): 0.3,
    },
)
LAYOUTS = (WIDE, NARROW)


@dataclass(frozen=True)
class Line:
    """A line of the picture, with an arrow at its end. `id` names it in the picture of any layout."""

    id: str
    path: str
    label: tuple[float, float]
    has_label: bool
    is_queue: bool


def lines(layout: Layout) -> list[Line]:
    """Return the lines of a picture: from the edge of one part to the edge of another."""
    return [_line(layout, source, target) for source, target in LINES]


def hop_id(source: str, target: str) -> str:
    """Return the id of the line between two parts."""
    return f"{source}-{target}"


def _line(layout: Layout, source: str, target: str) -> Line:
    start, end = layout.middles[source], layout.middles[target]
    length = math.dist(start, end)
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
    # Two lines between the same parts lie beside each other.
    side = 9.0 if (target, source) in LINES else 0.0
    shift = (-along[1] * side, along[0] * side)
    begin = _edge(layout, start, along, shift, gap=2.0)
    finish = _edge(layout, end, (-along[0], -along[1]), shift, gap=7.0)
    share = layout.label_at.get((source, target), 0.5)
    label = (begin[0] + (finish[0] - begin[0]) * share, begin[1] + (finish[1] - begin[1]) * share)
    return Line(
        id=hop_id(source, target),
        path=f"M{begin[0]:.1f} {begin[1]:.1f}L{finish[0]:.1f} {finish[1]:.1f}",
        label=(round(label[0], 1), round(label[1], 1)),
        has_label=target not in SIGNS_IN_AT,
        is_queue=(source, target) == _WITH_QUEUE,
    )


def _edge(
    layout: Layout,
    middle: tuple[float, float],
    along: tuple[float, float],
    shift: tuple[float, float],
    *,
    gap: float,
) -> tuple[float, float]:
    """Return where a line that goes `along` from the (shifted) middle of a part leaves it, and `gap` further."""
    x, y = middle[0] + shift[0], middle[1] + shift[1]
    distances = []
    for component, half, offset in (
        (along[0], layout.part_width / 2, shift[0]),
        (along[1], layout.part_height / 2, shift[1]),
    ):
        if abs(component) > 1e-9:
            distances.append((half - math.copysign(1, component) * offset) / abs(component))
    distance = min(distances) + gap
    return x + along[0] * distance, y + along[1] * distance


@dataclass(frozen=True)
class HopState:
    """What happened between two parts in the last minute, in words. `state` is "idle", "active" or "refused"."""

    id: str
    source: str
    target: str
    rate: str
    took: str
    refused: int
    count: int

    @property
    def state(self) -> str:
        """The name of the line's colour."""
        if not self.count:
            return "idle"
        return "refused" if self.refused else "active"

    def as_json(self) -> dict[str, Any]:
        """Return what the script of the page writes into the picture."""
        return {
            "rate": self.rate if self.count else "",
            "took": self.took,
            "refused": f"{self.refused} refused" if self.refused else "",
            "state": self.state,
        }


def hop_states(tally: Tally) -> list[HopState]:
    """Return the state of each line, and of hops that are not in the picture."""
    minute, recent = tally.last(MINUTE_SECONDS), tally.last(RECENT_SECONDS)
    pairs = [*LINES, *sorted(pair for pair in minute.hops if pair not in LINES)]
    states = []
    for pair in pairs:
        times = minute.times.get(pair)
        median = times.quantile(0.5) if times is not None else None
        states.append(
            HopState(
                id=hop_id(*pair),
                source=name_of(pair[0]),
                target=name_of(pair[1]),
                rate=rate_text(minute.hops[pair], recent.hops[pair]),
                took="" if median is None else duration_text(median),
                refused=minute.refused[pair],
                count=minute.hops[pair],
            )
        )
    return states


def part_notes(tally: Tally) -> dict[str, str]:
    """Return what is written into the parts of the picture: how long verifications take, and how many sign in."""
    minute, recent = tally.last(MINUTE_SECONDS), tally.last(RECENT_SECONDS)
    notes = dict.fromkeys(PARTS, "")
    for callee, times in minute.verification.items():
        median = times.quantile(0.5)
        if callee in notes and median is not None:
            notes[callee] = f"checks in {duration_text(median)}"
    for target in SIGNS_IN_AT:
        sources = [pair for pair in minute.hops if pair[1] == target]
        if not sources:
            continue
        rate = rate_text(sum(minute.hops[pair] for pair in sources), sum(recent.hops[pair] for pair in sources))
        medians = [
            median
            for pair in sources
            if pair in minute.times and (median := minute.times[pair].quantile(0.5)) is not None
        ]
        notes[target] = f"{rate} · {duration_text(max(medians))}" if medians else rate
    return notes


def name_of(part: str) -> str:
    """Return the name of a part of the shop, or its identity's name if it is not in the picture."""
    return PARTS[part][0] if part in PARTS else part


def rate_text(in_a_minute: int, recent: int) -> str:
    """Return a rate in words: the calls of the last minute or, if there are many, the calls a second now."""
    per_second = recent / RECENT_SECONDS
    return f"{per_second:,.0f}/s" if per_second >= 10 else f"{in_a_minute}/min"


def duration_text(milliseconds: float) -> str:
    """Return a duration in words: "0 ms", "0.8 ms", "12 ms", "1.2 s", "45 s"."""
    if milliseconds == 0:
        return "0 ms"
    if milliseconds < 9.95:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.1f} s" if milliseconds < 10_000 else f"{milliseconds / 1000:.0f} s"
