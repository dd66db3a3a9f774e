"""The hops of one call as bars on a common time axis."""

from collections.abc import Sequence
from dataclasses import dataclass

from emulator.demo.trace import Hop, Trace
from emulator.lab.picture import duration_text

LONG_AGO_SECONDS = 2.0
"""A hop that ended so much earlier than the next one gets no bar: on the same axis, the others would be dots."""
SHORTEST_BAR = 0.6
"""The minimum length of a bar, in percent of the axis."""


@dataclass(frozen=True)
class Bar:
    """A hop, its bar from `start` to `start` + `length` in percent of the axis, and its times in words.

    Without a bar, `earlier` says how long before the others the hop was. `is_part` marks a part of the hop before it.
    """

    hop: Hop
    took: str
    begins: str
    start: float
    length: float
    earlier: str = ""
    is_part: bool = False


@dataclass(frozen=True)
class Section:
    """Hops that are close to each other in time. `gap` says how much later than the section before they began."""

    title: str
    bars: list[Bar]
    span: str
    gap: str = ""


def sections(trace: Trace) -> list[Section]:
    """Return the bars of a call: of its sign-in and of its request, in one section if the one waited for the other."""
    request = [hop for hop in (trace.around, trace.callee) if hop is not None]
    parts = trace.parts
    waited = trace.waited_seconds
    if trace.sign_in and request and waited is not None and waited < LONG_AGO_SECONDS and _is_within(trace):
        hops = sorted([*trace.sign_in, *request], key=lambda hop: hop.began)
        return [_section("The sign-in and the call", hops, parts)]
    found = []
    if trace.sign_in:
        found.append(_section("The sign-in", trace.sign_in, []))
    if request:
        gap = "" if waited is None else f"The token was kept for {seconds_text(waited)}."
        found.append(_section("The call", request, parts, gap))
    return found


def seconds_text(seconds: float) -> str:
    """Return a time span in words: "12 ms", "2.4 s", "41 min"."""
    return duration_text(seconds * 1000) if seconds < 120 else f"{seconds / 60:.0f} min"


def _is_within(trace: Trace) -> bool:
    """Return whether the sign-in began after the request that led to the call: then the call waited for it."""
    return trace.around is not None and trace.sign_in[-1].began >= trace.around.began


def _section(title: str, hops: Sequence[Hop], parts: Sequence[Hop], gap: str = "") -> Section:
    near = [hop for hop in hops if not _is_long_before(hop, hops)]
    begin, end = min(hop.began for hop in near), max(hop.ended for hop in near)
    span = max(end - begin, 1e-6)

    def bar(hop: Hop, *, is_part: bool = False) -> Bar:
        if hop not in near and not is_part:
            return Bar(hop, duration_text(hop.took_ms), "", 0, 0, f"{seconds_text(begin - hop.ended)} earlier")
        start = (hop.began - begin) / span * 100
        length = max(SHORTEST_BAR, hop.took_ms / 1000 / span * 100)
        start = max(0.0, min(start, 100 - length))
        begins = f"+{duration_text(max(0.0, hop.began - begin) * 1000)}"
        return Bar(hop, duration_text(hop.took_ms), begins, round(start, 2), round(length, 2), is_part=is_part)

    bars = [bar(hop) for hop in hops]
    bars += [bar(hop, is_part=True) for hop in parts]
    return Section(title, bars, duration_text(span * 1000), gap)


def _is_long_before(hop: Hop, hops: Sequence[Hop]) -> bool:
    later = [other for other in hops if other.began > hop.began]
    return bool(later) and min(other.began for other in later) - hop.ended > LONG_AGO_SECONDS
