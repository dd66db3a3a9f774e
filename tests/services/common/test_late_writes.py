"""services/common/late_writes.py"""

import asyncio
import logging

import pytest

from mstoken.backoff import Backoff
from services.common.errors import DatabaseUnavailable
from services.common.late_writes import LateWrites
from tests.clock import FakeClock

QUICK = Backoff(first_seconds=0.001, longest_seconds=0.001)


class Row:
    """A row that writes are made to. While `outage` is set, they fail with it. `found` is what they return."""

    def __init__(self) -> None:
        self.outage: BaseException | None = None
        self.found = True
        self.tried = 0
        self.written = asyncio.Event()

    async def write(self) -> bool:
        self.tried += 1
        await asyncio.sleep(0)
        if self.outage is not None:
            raise self.outage
        if self.found:
            self.written.set()
        return self.found


async def test_a_write_is_made_at_once() -> None:
    """While the database answers, a write is made once, whether it finds something to change or not."""
    row = Row()
    row.found = False
    writes = LateWrites(backoff=QUICK)
    await writes.make(row.write, useful_seconds=30)
    assert (row.tried, len(writes)) == (1, 0)


async def test_a_write_is_made_when_the_database_is_back() -> None:
    """A write that fails raises nothing, and is tried again until the database is back."""
    row = Row()
    row.outage = DatabaseUnavailable()
    async with asyncio.timeout(30), LateWrites(backoff=QUICK) as writes:
        await writes.make(row.write, useful_seconds=30)
        while row.tried < 5:  # noqa: ASYNC110 - the writes go on by themselves
            await asyncio.sleep(0.001)
        row.outage = None
        await row.written.wait()
        while len(writes):  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_the_write_of_a_cancelled_caller_is_made() -> None:
    """If the caller is cancelled during its write, the write is made without it."""
    row = Row()
    async with asyncio.timeout(30), LateWrites(backoff=QUICK) as writes:
        caller = asyncio.create_task(writes.make(row.write, useful_seconds=30))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await row.written.wait()


async def test_a_write_whose_row_comes_later() -> None:
    """A write that is owed is repeated until it has changed something: the row may not be there yet."""
    row = Row()
    row.found = False
    async with asyncio.timeout(30), LateWrites(backoff=QUICK) as writes:
        writes.owe(row.write, useful_seconds=30)
        while row.tried < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        row.found = True
        await row.written.wait()


async def test_a_write_has_an_end() -> None:
    """A write that would be of no use any more is dropped."""
    row, clock = Row(), FakeClock()
    row.outage = DatabaseUnavailable()
    writes = LateWrites(clock=clock)
    await writes.make(row.write, useful_seconds=30)
    clock.advance(31)
    row.outage = None
    await writes.settle()
    assert (row.tried, len(writes)) == (1, 0)


async def test_one_outage_stops_a_round() -> None:
    """While the database is away, a round tries one write, and not all of them."""
    rows = [Row() for _ in range(3)]
    writes = LateWrites()
    for row in rows:
        writes.owe(row.write, useful_seconds=30)
    rows[0].outage = DatabaseUnavailable()
    with pytest.raises(DatabaseUnavailable):
        await writes.settle()
    assert [row.tried for row in rows] == [1, 0, 0]
    rows[0].outage = None
    await writes.settle()
    assert [row.tried for row in rows] == [2, 1, 1]


async def test_the_end_of_an_app_makes_what_it_owes() -> None:
    """A write that is still owed when the app stops is tried once more."""
    row = Row()
    row.outage = DatabaseUnavailable()
    async with asyncio.timeout(30), LateWrites(backoff=Backoff(60, 60)) as writes:
        await writes.make(row.write, useful_seconds=300)
        while row.tried < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        row.outage = None
    assert row.written.is_set()


async def test_a_write_with_a_defect_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """A write that fails with an unexpected error is logged and dropped, and the others are made."""
    broken, row = Row(), Row()
    broken.outage = LookupError("never seen before")
    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(30), LateWrites(backoff=QUICK) as writes:
            writes.owe(broken.write, useful_seconds=30)
            writes.owe(row.write, useful_seconds=30)
            await row.written.wait()
    assert [record.getMessage() for record in caplog.records] == [
        "a late write failed because of a defect, and is dropped: LookupError"
    ]
