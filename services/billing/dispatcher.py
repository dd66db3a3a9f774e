"""Hands deliveries to the queue, however long that takes."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from mstoken.backoff import Backoff
from services.billing.outbox import Claim, Outbox
from services.common.times import Clock, utc_now

BATCH = 8
LEASE_SECONDS = 30.0
"""For a batch, each of whose hand-overs ends in a fraction of that: see `services.billing.tasks`."""
BACKOFF = Backoff(first_seconds=1.0, longest_seconds=60.0)

_log = logging.getLogger("services.billing.dispatcher")


class QueueUnavailable(Exception):
    """The queue has not taken a task, or has not said so in time. Later it may: nothing is given up."""


class Queue(Protocol):
    """Where deliveries are carried out; see `services.billing.tasks`."""

    async def hand_over(self, delivery_id: str, task_id: str) -> None:
        """Has the delivery carried out, once for a `task_id` if the queue can tell. Raises `QueueUnavailable`."""
        ...


class Dispatcher:
    """Hands over what stands in the outbox: at least once, and as often as it takes to come to its end.

    `patience_seconds` is how long a delivery may be under way before it is handed over anew.
    """

    def __init__(self, outbox: Outbox, queue: Queue, *, patience_seconds: float, clock: Clock = utc_now) -> None:
        self._outbox = outbox
        self._queue = queue
        self._patience = timedelta(seconds=patience_seconds)
        self._clock = clock

    async def hand_over_due(self) -> None:
        """Hands over everything that is due. Raises `DatabaseUnavailable`; what was begun then is due again later."""
        claims = await self._claim()
        while claims:
            # Each comes to its own end, whatever becomes of the others.
            ends = await asyncio.gather(*(self._hand_over(claim) for claim in claims), return_exceptions=True)
            for error in ends:
                if error is not None:
                    raise error
            claims = await self._claim()

    async def _claim(self) -> Sequence[Claim]:
        now = self._clock()
        return await self._outbox.claim(now=now, until=now + timedelta(seconds=LEASE_SECONDS), limit=BATCH)

    async def _hand_over(self, claim: Claim) -> None:
        try:
            await self._queue.hand_over(claim.delivery_id, claim.task_id)
        except QueueUnavailable as error:
            pause = BACKOFF.delay_seconds(claim.failures + 1)
            about = {"delivery_id": claim.delivery_id, "reason": str(error), "retry_after_seconds": round(pause, 1)}
            _log.warning("hand_over", extra=about)
            await self._outbox.put_off(claim, until=self._clock() + timedelta(seconds=pause))
        else:
            about = {"delivery_id": claim.delivery_id, "hand_over": claim.hand_overs + 1}
            _log.info("hand_over", extra=about)
            await self._outbox.handed_over(claim, due_again=self._clock() + self._patience)
