"""The picture of the calls: its geometry and its words."""

import re
from itertools import combinations

import pytest

from emulator.lab.picture import LAYOUTS, LINES, PARTS, Layout, duration_text, hop_states, lines, part_notes, rate_text
from tests.emulator.lab.logged_shop import LoggedShop

each_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


@each_layout
def test_parts_do_not_overlap_and_are_inside(layout: Layout) -> None:
    """Each part has its place in the picture, and no part covers another one."""
    assert layout.middles.keys() == PARTS.keys()
    for x, y in layout.middles.values():
        assert layout.part_width / 2 <= x <= layout.width - layout.part_width / 2
        assert layout.part_height / 2 <= y <= layout.height - layout.part_height / 2
    for one, other in combinations(layout.middles.values(), 2):
        assert abs(one[0] - other[0]) >= layout.part_width or abs(one[1] - other[1]) >= layout.part_height


@each_layout
def test_lines_end_at_the_edges_of_parts(layout: Layout) -> None:
    """A line begins at the edge of the caller, ends at the edge of the callee, and is in no part."""
    for (source, target), line in zip(LINES, lines(layout), strict=True):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", line.path)]
        begin, end = (numbers[0], numbers[1]), (numbers[2], numbers[3])
        for point, part in ((begin, source), (end, target)):
            x, y = layout.middles[part]
            outside = max(abs(point[0] - x) / layout.part_width, abs(point[1] - y) / layout.part_height)
            assert 0.5 < outside < 0.75
        points = [
            (begin[0] + (end[0] - begin[0]) * share / 100, begin[1] + (end[1] - begin[1]) * share / 100)
            for share in range(101)
        ]
        for part, (x, y) in layout.middles.items():
            through = [
                point
                for point in points
                if abs(point[0] - x) < layout.part_width / 2 and abs(point[1] - y) < layout.part_height / 2
            ]
            assert not through, (line.id, part)


def test_the_state_of_each_hop(shop: LoggedShop) -> None:
    """A hop says how many calls there were in the last minute, how long they took, and how many were refused."""
    shop.call()
    shop.request(duration_ms=40)
    shop.call(verdict="token_replayed", request_id="r2")
    shop.call(process="user", at=-59)
    shop.call(caller="user:maya", at=-70, request_id="r3")
    shop.read()
    states = {state.id: state for state in hop_states(shop.lab.tally)}
    refused = states["billing-product"]
    assert (refused.source, refused.target, refused.rate, refused.refused) == ("Billing", "Product", "2/min", 1)
    assert re.fullmatch(r"(39|40|41) ms", refused.took)
    assert [states[name].state for name in ("billing-product", "billing-user", "customers-product")] == [
        "refused",
        "active",
        "idle",
    ]
    assert states["customers-product"].as_json() == {"rate": "", "took": "", "refused": "", "state": "idle"}
    assert refused.as_json()["refused"] == "1 refused"


def test_a_hop_that_is_not_in_the_picture_is_in_the_table(shop: LoggedShop) -> None:
    """A caller that the picture does not know has a row of its own."""
    shop.call(caller="svc:rogue")
    shop.read()
    assert hop_states(shop.lab.tally)[-1].source == "rogue"


def test_notes_in_the_parts(shop: LoggedShop) -> None:
    """A service says how long its checks take, and the parts that services sign in at say how often they do."""
    shop.call()
    for _ in range(3):
        shop.sign_in()
    shop.read()
    notes = part_notes(shop.lab.tally)
    assert notes["product"] == "checks in 2.0 ms"
    assert re.fullmatch(r"3/min · (9.\d|10) ms", notes["firebase"])
    assert (notes["user"], notes["metadata"]) == ("", "")


@pytest.mark.parametrize(
    ("in_a_minute", "recent", "text"),
    [(0, 0, "0/min"), (59, 9, "59/min"), (600, 100, "10/s"), (60_000, 12_340, "1,234/s")],
)
def test_rates(in_a_minute: int, recent: int, text: str) -> None:
    """Few calls are counted by the minute, many by the second."""
    assert rate_text(in_a_minute, recent) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (0.84, "0.8 ms"),
        (9.94, "9.9 ms"),
        (9.96, "10 ms"),
        (999.4, "999 ms"),
        (1234, "1.2 s"),
        (45_000, "45 s"),
    ],
)
def test_durations(milliseconds: float, text: str) -> None:
    """A duration has about two digits, and the unit that fits."""
    assert duration_text(milliseconds) == text
