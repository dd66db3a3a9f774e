"""services/common/pages.py"""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from services.common.ids import new_id
from services.common.pages import PageRequest, cut


@dataclass(frozen=True)
class Thing:
    id: str


def test_a_full_page_has_a_cursor() -> None:
    """The cursor of a page that is not the last leads to the items after it."""
    things = [Thing(new_id()) for _ in range(3)]
    items, cursor = cut(things, 2)
    assert items == things[:2]
    assert PageRequest.parse(2, cursor) == PageRequest(2, things[1].id)


def test_the_last_page_has_no_cursor() -> None:
    """The cursor of the last page is None."""
    things = [Thing(new_id())]
    assert cut(things, 1) == (things, None)


@given(st.from_regex("[A-Za-z0-9_-]{21}[AQgw]", fullmatch=True))
def test_every_well_formed_cursor_is_a_position(cursor: str) -> None:
    """Every value that looks like a cursor can be used, and no two of them mean the same position."""
    after = PageRequest.parse(20, cursor).after
    assert after is not None
    assert cut([Thing(after), Thing(new_id())], 1)[1] == cursor
