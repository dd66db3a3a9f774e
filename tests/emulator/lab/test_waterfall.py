"""The bars of one call."""

from dataclasses import replace

import pytest

from emulator.demo.trace import Hop, Trace
from emulator.lab.waterfall import SHORTEST_BAR, seconds_text, sections

NOON = 1_800_000_000.0
SIGN_IN = [
    Hop("metadata server", "gets", NOON, 10),
    Hop("function token", "issues", NOON + 0.010, 20),
    Hop("Firebase Auth", "signs in", NOON + 0.030, 10),
]
CALLEE = Hop("product", "GET /products", NOON + 1.0, 8)
PARTS = [Hop("verification", "checks", NOON + 1.001, 2), Hop("answer", "works", NOON + 1.003, 5)]
TRACE = Trace(sign_in=SIGN_IN, around=None, callee=CALLEE, parts=PARTS, status=200, missing=[])
AROUND = Hop("billing", "POST /bills", NOON - 0.2, 1500)


def test_a_sign_in_ahead_of_need_is_a_section_of_its_own() -> None:
    """The token waited in stock: the sign-in and the call have axes of their own, and the gap is said."""
    sign_in, call = sections(TRACE)
    assert [bar.hop for bar in sign_in.bars] == SIGN_IN
    assert [(bar.start, bar.length) for bar in sign_in.bars] == [(0, 25), (25, 50), (75, 25)]
    assert [(bar.hop, bar.is_part) for bar in call.bars] == [(CALLEE, False), *((part, True) for part in PARTS)]
    assert (sign_in.span, call.span, call.gap) == ("40 ms", "8.0 ms", "The token was kept for 960 ms.")
    assert sign_in.bars[1].begins == "+10 ms"


def test_a_call_that_waits_for_its_sign_in_has_one_axis() -> None:
    """If the sign-in happened during the request that led to the call, all hops are on one axis, in order."""
    trace = replace(TRACE, around=AROUND)
    [section] = sections(trace)
    assert [bar.hop.where for bar in section.bars][:2] == ["billing", "metadata server"]
    assert (section.bars[0].start, section.bars[0].length) == (0, 100)


def test_a_bound_token_was_kept_for_long() -> None:
    """In proof mode the sign-in may be much earlier than the call, which is said in minutes."""
    later = [replace(hop, began=hop.began + 2460) for hop in (CALLEE, *PARTS)]
    call = sections(replace(TRACE, callee=later[0], parts=later[1:]))[-1]
    assert call.gap == "The token was kept for 41 min."


def test_an_identity_token_of_long_ago_has_no_bar() -> None:
    """On an axis with it, the other hops would be dots. Its row says how much earlier it was."""
    early = replace(SIGN_IN[0], began=NOON - 1800)
    sign_in = sections(replace(TRACE, sign_in=[early, *SIGN_IN[1:]]))[0]
    assert (sign_in.bars[0].earlier, sign_in.bars[0].length) == ("30 min earlier", 0)
    assert (sign_in.bars[1].start, sign_in.span) == (0, "30 ms")


def test_a_very_short_hop_is_visible() -> None:
    """A bar has a minimum length, and stays inside the axis."""
    last = Hop("Firebase Auth", "signs in", NOON + 0.0399999, 0)
    bar = sections(replace(TRACE, sign_in=[*SIGN_IN[:2], last]))[0].bars[-1]
    assert bar.length == SHORTEST_BAR
    assert bar.start + bar.length <= 100


def test_what_is_missing_has_no_section() -> None:
    """A call without a sign-in in the logs has one section, and one without anything has none."""
    assert [section.title for section in sections(replace(TRACE, sign_in=[]))] == ["The call"]
    assert [section.title for section in sections(replace(TRACE, callee=None, parts=[]))] == ["The sign-in"]
    assert sections(replace(TRACE, sign_in=[], callee=None, parts=[])) == []


@pytest.mark.parametrize(("seconds", "text"), [(0.012, "12 ms"), (2.4, "2.4 s"), (119, "119 s"), (2460, "41 min")])
def test_time_spans(seconds: float, text: str) -> None:
    """A time span has the unit that fits."""
    assert seconds_text(seconds) == text
