"""Hands deliveries to the task queue, and tries again for as long as that takes."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from mstoken.backoff import Backoff
from mstoken.log_events import log_event
from services.billing.outbox import Claim, Outbox
from services.common.times import Clock, utc_now

BATCH = 8
LEASE_SECONDS = 30.0
"""How long one process may work on a batch, in seconds. A hand-over takes 5 at most (`services.billing.tasks`)."""
BACKOFF = Backoff(first_seconds=1.0, longest_seconds=60.0)

_log = logging.getLogger("services.billing.dispatcher")


class QueueUnavailable(Exception):
    """The queue did not accept a task, or did not answer in time. The task is tried again later."""


class Queue(Protocol):
    """The task queue of the function that carries out deliveries.

    `services.billing.tasks.FirebaseQueue` is the real one. Tests have others, which refuse, hang and forget.
    """

    async def hand_over(self, delivery_id: str, task_id: str) -> None:
        """Add a task to carry out the delivery, once for each `task_id` if the queue can tell.

        Raises `QueueUnavailable`.
        """
        ...


class Dispatcher:
    """Hands over the deliveries in the outbox, at least once, and again until each has reached its final status.

    `patience_seconds` is how long a delivery may take before it is handed over again.
    """

    def __init__(self, outbox: Outbox, queue: Queue, *, patience_seconds: float, clock: Clock = utc_now) -> None:
        self._outbox = outbox
        self._queue = queue
        self._patience = timedelta(seconds=patience_seconds)
        self._clock = clock

    async def hand_over_due(self) -> None:
        """Hand over all deliveries that are due.

        Raises `DatabaseUnavailable`. Deliveries that were being handed over then are due again later.
        """
        claims = await self._claim()
        while claims:
            # Each hand-over is finished, even if another one fails.
            results = await asyncio.gather(*(self._hand_over(claim) for claim in claims), return_exceptions=True)
            for error in results:
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
            pause_seconds = BACKOFF.delay_seconds(claim.failures + 1)
            retry_after_seconds = round(pause_seconds, 1)
            log_event(
                _log,
                logging.WARNING,
                "hand_over",
                f"delivery {claim.delivery_id} was not handed over: {error}; next try in {retry_after_seconds} s",
                delivery_id=claim.delivery_id,
                reason=str(error),
                retry_after_seconds=retry_after_seconds,
            )
            await self._outbox.postpone(claim, until=self._clock() + timedelta(seconds=pause_seconds))
        else:
            number = claim.hand_overs + 1
            message = f"delivery {claim.delivery_id} was handed over to the task queue, time {number}"
            log_event(_log, logging.INFO, "hand_over", message, delivery_id=claim.delivery_id, hand_over=number)
            await self._outbox.handed_over(claim, due_again=self._clock() + self._patience)
