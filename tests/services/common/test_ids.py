"""services/common/ids.py"""

import time
import uuid

from services.common.ids import new_id


def test_an_id_is_a_uuid_of_version_7() -> None:
    """Ids are UUIDs as RFC 9562 has them, with the time in front."""
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id())
    assert (made.variant, made.version) == (uuid.RFC_4122, 7)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_sort_by_their_making_and_are_all_different() -> None:
    """An id that is made later sorts later, and no two are the same."""
    first = new_id()
    time.sleep(0.002)
    later = [new_id() for _ in range(1000)]
    assert all(first < other for other in later)
    assert len(set(later)) == len(later)
