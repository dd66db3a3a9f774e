"""services/billing/dispatcher.py and outbox.py: nothing is lost, and nobody does another's work"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Column, DateTime, Integer, insert

from services.billing.app import MIGRATIONS
from services.billing.deliveries import EARLIER_STATUSES, Delivery, ReportedStatus
from services.billing.dispatcher import BACKOFF, LEASE_SECONDS, Dispatcher, Queue
from services.billing.outbox import Outbox
from services.billing.store import DeliveryStore, bills
from services.common.database import Database
from services.common.ids import new_id
from tests.services.billing.fakes import BrokenQueue, FakeQueue
from tests.services.shop import ADDRESS

pytestmark = pytest.mark.both_databases

PATIENCE_SECONDS = 600.0
HOUR_SECONDS = 3600.0


class Post:
    """Billing's deliveries and their outbox, at a time that a test moves."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.outbox = Outbox(database)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def dispatcher(self, queue: Queue) -> Dispatcher:
        """That of one process."""
        return Dispatcher(self.outbox, queue, patience_seconds=PATIENCE_SECONDS, clock=lambda: self.now)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def request(self) -> str:
        """The id of a new delivery."""
        bill = {column.name: some_value(column) for column in bills.c if not column.nullable}
        async with self.database.write() as connection:
            await connection.execute(insert(bills).values(bill))
        delivery = Delivery(new_id(), bill["id"], "requested", ADDRESS, self.now, self.now)
        assert await DeliveryStore(self.database).add(delivery)
        return delivery.id

    async def report(self, delivery_id: str, status: ReportedStatus) -> None:
        store = DeliveryStore(self.database)
        await store.advance(delivery_id, to=status, from_any_of=EARLIER_STATUSES[status], at=self.now)


def some_value(column: Column[Any]) -> Any:
    """Something for a bill's column: what it is plays no part here."""
    match column.type:
        case DateTime():
            return datetime(2026, 1, 1, tzinfo=UTC)
        case Integer():
            return 0
    return new_id()[: getattr(column.type, "length", None)]


@pytest.fixture
async def post(database_url: str) -> AsyncIterator[Post]:
    """Billing's database, with nothing requested yet."""
    database = Database(database_url, MIGRATIONS)
    await database.open()
    yield Post(database)
    await database.close()


async def test_a_delivery_is_handed_over_once(post: Post) -> None:
    """What was requested goes to the queue at once, and then not again while the queue may be at it."""
    queue = FakeQueue()
    delivery_id = await post.request()
    for _ in range(3):
        await post.dispatcher(queue).hand_over_due()
        post.later(PATIENCE_SECONDS / 4)
    assert [taken for taken, _ in queue.taken] == [delivery_id]


async def test_more_deliveries_than_a_batch(post: Post) -> None:
    """All that is due is handed over, however much it is."""
    queue = FakeQueue()
    requested = [await post.request() for _ in range(20)]
    await post.dispatcher(queue).hand_over_due()
    assert sorted(taken for taken, _ in queue.taken) == sorted(requested)


async def test_a_queue_that_is_away_for_an_hour(post: Post) -> None:
    """Deliveries wait while the queue is away, with fewer and fewer attempts, and arrive once it is back."""
    queue = FakeQueue()
    queue.away = True
    requested = [await post.request() for _ in range(3)]
    dispatcher = post.dispatcher(queue)
    for _ in range(int(HOUR_SECONDS / 5)):
        await dispatcher.hand_over_due()
        post.later(5)
    assert queue.taken == []
    # A few at first, and then one in 30 to 65 seconds.
    assert 3 * 55 <= queue.refused <= 3 * 130
    queue.away = False
    post.later(BACKOFF.longest_seconds)
    await dispatcher.hand_over_due()
    assert sorted(taken for taken, _ in queue.taken) == sorted(requested)


async def test_the_pause_after_a_refusal_grows(post: Post) -> None:
    """After the first refusal a delivery is due again within a second; after the second one within two."""
    queue = FakeQueue()
    queue.away = True
    await post.request()
    dispatcher = post.dispatcher(queue)
    for shortest, longest in ((0.5, 1.0), (1.0, 2.0)):
        await dispatcher.hand_over_due()
        refused = queue.refused
        post.later(shortest * 0.99)
        await dispatcher.hand_over_due()
        assert queue.refused == refused
        post.later(longest - shortest * 0.99)
    await dispatcher.hand_over_due()
    assert queue.refused == 3


async def test_a_crash_after_the_hand_over(post: Post) -> None:
    """Where a process dies before it notes that the queue took a task, the task is given once more, by its own name."""
    queue = FakeQueue()
    await post.request()
    [claim] = await post.outbox.claim(now=post.now, until=post.now + timedelta(seconds=LEASE_SECONDS), limit=1)
    await queue.hand_over(claim.delivery_id, claim.task_id)
    post.later(LEASE_SECONDS - 1)
    await post.dispatcher(queue).hand_over_due()
    assert len(queue.taken) == 1
    post.later(1)
    await post.dispatcher(queue).hand_over_due()
    assert len(queue.taken) == 2
    assert len(set(queue.taken)) == 1


async def test_a_task_that_the_queue_has_forgotten(post: Post) -> None:
    """What has not come to its end in time is handed over anew, as another task, whatever it had come to."""
    queue = FakeQueue()
    delivery_id = await post.request()
    await post.dispatcher(queue).hand_over_due()
    await post.report(delivery_id, "dispatched")
    post.later(PATIENCE_SECONDS)
    await post.dispatcher(queue).hand_over_due()
    assert [taken for taken, _ in queue.taken] == [delivery_id, delivery_id]
    assert len({task for _, task in queue.taken}) == 2


@pytest.mark.parametrize("end", ["delivered", "failed"])
async def test_what_has_come_to_its_end_is_left_alone(post: Post, end: ReportedStatus) -> None:
    """Once its end is reported a delivery is not handed over any more, also where that was never noted."""
    queue = FakeQueue()
    handed_over, not_yet = await post.request(), await post.request()
    [claim] = await post.outbox.claim(now=post.now, until=post.now + timedelta(seconds=LEASE_SECONDS), limit=1)
    assert claim.delivery_id == handed_over
    await post.report(handed_over, end)
    await post.outbox.handed_over(claim, due_again=post.now)
    await post.report(not_yet, end)
    post.later(HOUR_SECONDS)
    await post.dispatcher(queue).hand_over_due()
    assert queue.taken == []


async def test_two_processes_share_the_work(post: Post) -> None:
    """However many processes look at once, each delivery is handed over by one of them."""
    queue = FakeQueue()
    requested = [await post.request() for _ in range(30)]
    await asyncio.gather(*(post.dispatcher(queue).hand_over_due() for _ in range(6)))
    assert Counter(taken for taken, _ in queue.taken) == Counter(requested)


async def test_a_lease_that_has_run_out(post: Post) -> None:
    """A process that comes back too late ends nobody else's claim."""
    await post.request()
    until = post.now + timedelta(seconds=LEASE_SECONDS)
    [late] = await post.outbox.claim(now=post.now, until=until, limit=1)
    [held] = await post.outbox.claim(now=until, until=until + timedelta(seconds=LEASE_SECONDS), limit=1)
    assert held.lease != late.lease
    await post.outbox.postpone(late, until=post.now)
    await post.outbox.handed_over(late, due_again=post.now)
    assert await post.outbox.claim(now=until, until=until, limit=1) == []
    await post.outbox.postpone(held, until=until)
    [again] = await post.outbox.claim(now=until, until=until, limit=1)
    assert (again.hand_overs, again.failures, again.task_id) == (0, 1, held.task_id)


async def test_a_fault_that_nobody_thought_of(post: Post) -> None:
    """An error of an unknown kind comes out, and what it hit is due again when its lease ends."""
    await post.request()
    with pytest.raises(LookupError):
        await post.dispatcher(BrokenQueue()).hand_over_due()
    queue = FakeQueue()
    post.later(LEASE_SECONDS)
    await post.dispatcher(queue).hand_over_due()
    assert len(queue.taken) == 1


async def test_nothing_to_do(post: Post) -> None:
    """With nothing in the outbox nothing happens."""
    queue = FakeQueue()
    await post.dispatcher(queue).hand_over_due()
    assert queue.taken == []
