"""services/billing/dispatcher.py and outbox.py: no delivery is lost, and no two processes hand over the same one"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Column, DateTime, Integer, insert
from typing_extensions import override

from services.billing.app import MIGRATIONS
from services.billing.deliveries import EARLIER_STATUSES, Delivery, ReportedStatus
from services.billing.dispatcher import BACKOFF, LEASE_SECONDS, Dispatcher, Queue
from services.billing.outbox import Claim, Outbox
from services.billing.store import DeliveryStore, bills
from services.billing.tasks import HAND_OVER_SECONDS
from services.common.backlog import Backlog
from services.common.database import Database
from services.common.errors import DatabaseUnavailable
from services.common.ids import new_id
from services.common.late_writes import LateWrites
from tests.services.billing.fakes import BrokenQueue, FakeQueue
from tests.services.shop import ADDRESS

pytestmark = pytest.mark.both_databases

PATIENCE_SECONDS = 600.0
HOUR_SECONDS = 3600.0


class OutboxScenario:
    """Deliveries and their outbox, at a time that the test sets."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.outbox = Outbox(database)
        self.late_writes = LateWrites()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def dispatcher(self, queue: Queue) -> Dispatcher:
        """Return the dispatcher of one process."""
        return Dispatcher(
            self.outbox, queue, self.late_writes, patience_seconds=PATIENCE_SECONDS, clock=lambda: self.now
        )

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def claim(self) -> Claim:
        """Claim one due delivery for the usual time."""
        until = self.now + timedelta(seconds=LEASE_SECONDS)
        [claim] = await self.outbox.claim(new_id(), now=self.now, until=until, limit=1)
        return claim

    async def request(self) -> str:
        """Request a delivery, and return its id."""
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
    """Return any value for a column of bills."""
    match column.type:
        case DateTime():
            return datetime(2026, 1, 1, tzinfo=UTC)
        case Integer():
            return 0
    return new_id()[: getattr(column.type, "length", None)]


@pytest.fixture
async def scenario(database_url: str) -> AsyncIterator[OutboxScenario]:
    """The database of Billing, without deliveries."""
    database = Database(database_url, MIGRATIONS)
    await database.open()
    yield OutboxScenario(database)
    await database.close()


async def test_a_delivery_is_handed_over_once(scenario: OutboxScenario) -> None:
    """A new delivery is handed over at once, and not again while the queue may be working on it."""
    queue = FakeQueue()
    delivery_id = await scenario.request()
    for _ in range(3):
        await scenario.dispatcher(queue).hand_over_due()
        scenario.later(PATIENCE_SECONDS / 4)
    assert [delivery_id for delivery_id, _ in queue.accepted] == [delivery_id]


async def test_more_deliveries_than_a_batch(scenario: OutboxScenario) -> None:
    """All due deliveries are handed over, even if they are more than a batch."""
    queue = FakeQueue()
    requested = [await scenario.request() for _ in range(20)]
    await scenario.dispatcher(queue).hand_over_due()
    assert sorted(delivery_id for delivery_id, _ in queue.accepted) == sorted(requested)


async def test_a_queue_that_is_unavailable_for_an_hour(scenario: OutboxScenario) -> None:
    """While the queue is unavailable, attempts become rarer. When it is back, all deliveries are handed over."""
    queue = FakeQueue()
    queue.unavailable = True
    requested = [await scenario.request() for _ in range(3)]
    dispatcher = scenario.dispatcher(queue)
    for _ in range(int(HOUR_SECONDS / 5)):
        await dispatcher.hand_over_due()
        scenario.later(5)
    assert queue.accepted == []
    # A few at first, and then one in 30 to 65 seconds.
    assert 3 * 55 <= queue.refused <= 3 * 130
    queue.unavailable = False
    scenario.later(BACKOFF.longest_seconds)
    await dispatcher.hand_over_due()
    assert sorted(delivery_id for delivery_id, _ in queue.accepted) == sorted(requested)


async def test_the_pause_after_a_refusal_grows(scenario: OutboxScenario) -> None:
    """After the first refusal a delivery is due again within a second; after the second one within two."""
    queue = FakeQueue()
    queue.unavailable = True
    await scenario.request()
    dispatcher = scenario.dispatcher(queue)
    for shortest, longest in ((0.5, 1.0), (1.0, 2.0)):
        await dispatcher.hand_over_due()
        refused = queue.refused
        scenario.later(shortest * 0.99)
        await dispatcher.hand_over_due()
        assert queue.refused == refused
        scenario.later(longest - shortest * 0.99)
    await dispatcher.hand_over_due()
    assert queue.refused == 3


async def test_a_crash_after_the_hand_over(scenario: OutboxScenario) -> None:
    """If a process dies before it records a hand-over, the hand-over is repeated with the same task name."""
    queue = FakeQueue()
    await scenario.request()
    claim = await scenario.claim()
    await queue.hand_over(claim.delivery_id, claim.task_id)
    scenario.later(LEASE_SECONDS - 1)
    await scenario.dispatcher(queue).hand_over_due()
    assert len(queue.accepted) == 1
    scenario.later(1)
    await scenario.dispatcher(queue).hand_over_due()
    assert len(queue.accepted) == 2
    assert len(set(queue.accepted)) == 1


async def test_a_task_that_the_queue_lost(scenario: OutboxScenario) -> None:
    """A delivery that has not ended in time is handed over again under a new task name, whatever its status."""
    queue = FakeQueue()
    delivery_id = await scenario.request()
    await scenario.dispatcher(queue).hand_over_due()
    await scenario.report(delivery_id, "dispatched")
    scenario.later(PATIENCE_SECONDS)
    await scenario.dispatcher(queue).hand_over_due()
    assert [delivery_id for delivery_id, _ in queue.accepted] == [delivery_id, delivery_id]
    assert len({task for _, task in queue.accepted}) == 2


@pytest.mark.parametrize("end", ["delivered", "failed"])
async def test_an_ended_delivery_is_not_handed_over(scenario: OutboxScenario, end: ReportedStatus) -> None:
    """After its end was reported a delivery is not handed over again, even if its hand-over was never recorded."""
    queue = FakeQueue()
    handed_over, not_yet = await scenario.request(), await scenario.request()
    claim = await scenario.claim()
    assert claim.delivery_id == handed_over
    await scenario.report(handed_over, end)
    await scenario.outbox.handed_over(claim, due_again=scenario.now)
    await scenario.report(not_yet, end)
    scenario.later(HOUR_SECONDS)
    await scenario.dispatcher(queue).hand_over_due()
    assert queue.accepted == []


async def test_processes_share_the_work(scenario: OutboxScenario) -> None:
    """However many processes look at once, each delivery is handed over by one of them."""
    queue = FakeQueue()
    requested = [await scenario.request() for _ in range(30)]
    await asyncio.gather(*(scenario.dispatcher(queue).hand_over_due() for _ in range(6)))
    assert Counter(delivery_id for delivery_id, _ in queue.accepted) == Counter(requested)


def test_a_hand_over_ends_before_its_lease() -> None:
    """The hand-overs of a batch run at the same time, and each ends long before another process may claim it."""
    assert LEASE_SECONDS > 2 * HAND_OVER_SECONDS


async def test_an_expired_lease(scenario: OutboxScenario) -> None:
    """A process that comes back after its lease has expired does not end the claim of another process."""
    await scenario.request()
    until = scenario.now + timedelta(seconds=LEASE_SECONDS)
    [late] = await scenario.outbox.claim(new_id(), now=scenario.now, until=until, limit=1)
    [held] = await scenario.outbox.claim(new_id(), now=until, until=until + timedelta(seconds=LEASE_SECONDS), limit=1)
    assert held.lease != late.lease
    await scenario.outbox.postpone(late, until=scenario.now)
    await scenario.outbox.handed_over(late, due_again=scenario.now)
    assert await scenario.outbox.claim(new_id(), now=until, until=until, limit=1) == []
    await scenario.outbox.postpone(held, until=until)
    [again] = await scenario.outbox.claim(new_id(), now=until, until=until, limit=1)
    assert (again.hand_overs, again.failures, again.task_id) == (0, 1, held.task_id)


async def test_an_unexpected_error(scenario: OutboxScenario) -> None:
    """An unexpected error is raised, and its delivery is due again when the lease ends."""
    await scenario.request()
    with pytest.raises(LookupError):
        await scenario.dispatcher(BrokenQueue()).hand_over_due()
    queue = FakeQueue()
    scenario.later(LEASE_SECONDS)
    await scenario.dispatcher(queue).hand_over_due()
    assert len(queue.accepted) == 1


async def test_an_empty_outbox(scenario: OutboxScenario) -> None:
    """With an empty outbox nothing is handed over."""
    queue = FakeQueue()
    await scenario.dispatcher(queue).hand_over_due()
    assert queue.accepted == []


@pytest.mark.parametrize("jump", [timedelta(minutes=50), timedelta(days=3)], ids=str)
async def test_a_clock_that_was_ahead_postpones_no_delivery(scenario: OutboxScenario, jump: timedelta) -> None:
    """A delivery that was handed over while the clock was ahead is due again in time when the clock is right."""
    queue = FakeQueue()
    await scenario.request()
    dispatcher = scenario.dispatcher(queue)
    scenario.now += jump
    await dispatcher.hand_over_due()
    scenario.now -= jump
    await dispatcher.correct_due_times()
    await dispatcher.hand_over_due()
    assert len(queue.accepted) == 2
    await dispatcher.correct_due_times()
    await dispatcher.hand_over_due()
    assert len(queue.accepted) == 2


class AwayOutbox(Outbox):
    """An outbox whose database goes away at the next call of `at`, after `claim` and before any other."""

    at = ""

    def _break(self, call: str) -> None:
        if self.at == call:
            self.at = ""
            raise DatabaseUnavailable(maybe_written=call == "claim")

    @override
    async def claim(self, lease: str, *, now: datetime, until: datetime, limit: int) -> Sequence[Claim]:
        claims = await super().claim(lease, now=now, until=until, limit=limit)
        self._break("claim")
        return claims

    @override
    async def handed_over(self, claim: Claim, *, due_again: datetime) -> bool:
        self._break("handed_over")
        return await super().handed_over(claim, due_again=due_again)

    @override
    async def postpone(self, claim: Claim, *, until: datetime) -> bool:
        self._break("postpone")
        return await super().postpone(claim, until=until)


async def test_claims_whose_commit_broke_are_given_back(scenario: OutboxScenario) -> None:
    """If the database breaks while deliveries are claimed, they are handed over as soon as it is back."""
    queue, outbox = FakeQueue(), AwayOutbox(scenario.database)
    scenario.outbox, outbox.at = outbox, "claim"
    requested = await scenario.request()
    with pytest.raises(DatabaseUnavailable):
        await scenario.dispatcher(queue).hand_over_due()
    await scenario.dispatcher(queue).hand_over_due()
    assert queue.accepted == []
    await scenario.late_writes.settle()
    await scenario.dispatcher(queue).hand_over_due()
    assert [delivery_id for delivery_id, _ in queue.accepted] == [requested]


@pytest.mark.parametrize("is_accepted", [True, False])
async def test_the_end_of_a_claim_is_recorded_when_the_database_is_back(
    scenario: OutboxScenario, is_accepted: bool
) -> None:
    """What the queue has answered while the database was away is recorded afterwards, not tried again after a lease."""
    queue, outbox = FakeQueue(), AwayOutbox(scenario.database)
    scenario.outbox, outbox.at = outbox, "handed_over" if is_accepted else "postpone"
    queue.unavailable = not is_accepted
    await scenario.request()
    await scenario.dispatcher(queue).hand_over_due()
    await scenario.late_writes.settle()
    scenario.later(LEASE_SECONDS if is_accepted else BACKOFF.first_seconds)
    queue.unavailable = False
    await scenario.dispatcher(queue).hand_over_due()
    assert len(queue.accepted) == 1


class EndlessQueue(FakeQueue):
    """A task queue that never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = asyncio.Event()

    @override
    async def hand_over(self, delivery_id: str, task_id: str) -> None:
        self.is_asked.set()
        await asyncio.Event().wait()


async def test_a_process_that_stops_gives_its_claims_back(scenario: OutboxScenario) -> None:
    """A delivery whose hand-over is cancelled is handed over by another process at once."""
    endless, queue = EndlessQueue(), FakeQueue()
    await scenario.request()
    working = asyncio.create_task(scenario.dispatcher(endless).hand_over_due())
    await endless.is_asked.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    await scenario.late_writes.settle()
    await scenario.dispatcher(queue).hand_over_due()
    assert len(queue.accepted) == 1


async def test_how_many_deliveries_wait(scenario: OutboxScenario) -> None:
    """Deliveries that are due count as a backlog, which is late after a minute."""
    dispatcher = scenario.dispatcher(FakeQueue())
    for _ in range(3):
        await scenario.request()
    assert str(await dispatcher.waiting()) == "backlog of deliveries: 3 waiting, the oldest for 0 s"
    scenario.later(61)
    assert (await dispatcher.waiting()).is_late
    await dispatcher.hand_over_due()
    assert await dispatcher.waiting() == Backlog("deliveries", 0, 0.0, 60.0)
