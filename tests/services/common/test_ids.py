"""services/common/ids.py"""

import time
import uuid

from services.common.ids import new_id


def test_an_id_is_a_uuid_of_version_7() -> None:
    """Ids are UUIDs of version 7 (RFC 9562), which begin with the time."""
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id())
    assert (made.variant, made.version) == (uuid.RFC_4122, 7)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_sort_by_time_and_are_unique() -> None:
    """An id that was made later sorts later, and no two ids are equal."""
    first = new_id()
    time.sleep(0.002)
    later = [new_id() for _ in range(1000)]
    assert all(first < other for other in later)
    assert len(set(later)) == len(later)
