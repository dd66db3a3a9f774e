"""What stands in for Billing's surroundings."""

import asyncio

from services.billing.dispatcher import QueueUnavailable


class FakeQueue:
    """A task queue in memory. While it is `away` it takes nothing; `taken` is what it took, (delivery, task) each."""

    def __init__(self) -> None:
        self.away = False
        self.taken: list[tuple[str, str]] = []
        self.refused = 0

    async def hand_over(self, delivery_id: str, task_id: str) -> None:
        await asyncio.sleep(0)
        if self.away:
            self.refused += 1
            raise QueueUnavailable("away")
        self.taken.append((delivery_id, task_id))


class BrokenQueue(FakeQueue):
    """A task queue that fails in a way that nobody thought of."""

    async def hand_over(self, delivery_id: str, task_id: str) -> None:
        raise LookupError("never seen before")
