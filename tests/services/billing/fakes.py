"""Fakes of what surrounds Billing."""

import asyncio

from services.billing.dispatcher import QueueUnavailable


class FakeQueue:
    """A task queue in memory. `accepted` lists (delivery, task); while it is `unavailable`, it refuses and counts."""

    def __init__(self) -> None:
        self.unavailable = False
        self.accepted: list[tuple[str, str]] = []
        self.refused = 0

    async def hand_over(self, delivery_id: str, task_id: str) -> None:
        await asyncio.sleep(0)
        if self.unavailable:
            self.refused += 1
            raise QueueUnavailable("unavailable")
        self.accepted.append((delivery_id, task_id))


class BrokenQueue(FakeQueue):
    """A task queue that fails with an unexpected error."""

    async def hand_over(self, delivery_id: str, task_id: str) -> None:
        raise LookupError("never seen before")
