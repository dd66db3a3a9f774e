"""Fakes of what surrounds Billing."""

import asyncio

from services.billing.dispatcher import QueueUnavailable
from services.common.measures import traceparent


class FakeQueue:
    """A task queue in memory. `accepted` lists (delivery, task); while it is `unavailable`, it refuses and counts.

    `traceparents` has the names of the spans in which the deliveries were handed over.
    """

    def __init__(self) -> None:
        self.unavailable = False
        self.accepted: list[tuple[str, str]] = []
        self.traceparents: list[str | None] = []
        self.refused = 0

    async def hand_over(self, delivery_id: str, task_id: str) -> None:
        await asyncio.sleep(0)
        if self.unavailable:
            self.refused += 1
            raise QueueUnavailable("unavailable")
        self.traceparents.append(traceparent())
        self.accepted.append((delivery_id, task_id))


class BrokenQueue(FakeQueue):
    """A task queue that fails with an unexpected error."""

    async def hand_over(self, delivery_id: str, task_id: str) -> None:
        raise LookupError("never seen before")
