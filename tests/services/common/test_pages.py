"""services/common/pages.py"""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.faults import BadCursor
from services.common.ids import new_id
from services.common.pages import PageRequest, cut


@dataclass(frozen=True)
class Thing:
    id: str


def test_a_full_page_names_the_next() -> None:
    """The cursor of a page that is not the last leads on behind the page's last item."""
    things = [Thing(new_id()) for _ in range(3)]
    items, cursor = cut(things, 2)
    assert items == things[:2]
    assert PageRequest.parse(2, cursor) == PageRequest(2, things[1].id)


def test_the_last_page_names_none() -> None:
    """A page with nothing behind it has no cursor."""
    things = [Thing(new_id())]
    assert cut(things, 1) == (things, None)


@given(st.text(alphabet="ABCabc019_-", max_size=64))
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    """Text that no page gave is refused as a cursor, and never an error of another kind."""
    with pytest.raises(BadCursor):
        PageRequest.parse(20, cursor)
