"""Measures what is not finished: orders that are not settled, and deliveries that have no end."""

from sqlalchemy import func, select

from services.billing.store import deliveries, orders, outbox
from services.common.backlog import MAX_COUNTED
from services.common.database import Database
from services.common.measures import OUTBOX_AGE, PENDING
from services.common.telemetry import is_measured
from services.common.times import Clock, utc, utc_now

MEASURE_SECONDS = 5.0
"""Seconds between two measurements of a process."""


class UnfinishedWork:
    """The unfinished work of the service. Each process measures all of it, so look at the largest value."""

    def __init__(self, database: Database, *, clock: Clock = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def measure(self) -> None:
        """Set the gauges, if this process has metrics. Raises `DatabaseUnavailable`."""
        if is_measured():
            pending, oldest_seconds = await self.read()
            PENDING.set(pending)
            OUTBOX_AGE.set(oldest_seconds)

    async def read(self) -> tuple[int, float]:
        """Return how many orders are not settled, up to `MAX_COUNTED`, and the age of the oldest unfinished delivery.

        The age is in seconds. It is 0 if every delivery has ended. Raises `DatabaseUnavailable`.
        """
        pending = select(orders.c.id).where(orders.c.status == "pending").limit(MAX_COUNTED).subquery()
        # Ids sort by the time at which they were made.
        oldest = select(func.min(outbox.c.delivery_id)).scalar_subquery()
        requested_at = select(deliveries.c.created_at).where(deliveries.c.id == oldest)
        async with self._database.read() as connection:
            number: int = (await connection.execute(select(func.count()).select_from(pending))).scalar_one()
            since = (await connection.execute(requested_at)).scalar_one_or_none()
        return number, 0.0 if since is None else max(0.0, (self._clock() - utc(since)).total_seconds())
