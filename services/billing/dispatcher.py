"""Hands deliveries to the task queue, and tries again for as long as that takes."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from opentelemetry.trace import SpanKind

from mstoken.backoff import Backoff
from mstoken.log_events import log_event
from mstoken.telemetry import ERROR_TYPE, error_type
from services.billing.outbox import Claim, Outbox
from services.common import measures
from services.common.backlog import SOON, Backlog
from services.common.errors import DatabaseUnavailable
from services.common.ids import new_id
from services.common.late_writes import LateWrites, Write
from services.common.times import Clock, utc_now

BATCH = 8
CORRECT_SECONDS = 5.0
"""Seconds between two searches of a process for deliveries that a wrong clock has postponed."""
LEASE_SECONDS = 30.0
"""How long one process may work on a batch, in seconds. A hand-over takes 5 at most (`services.billing.tasks`)."""
BACKOFF = Backoff(first_seconds=1.0, longest_seconds=60.0)
CLOCK_DIFFERENCE = timedelta(minutes=1)
"""By how much the clocks of two processes differ at most. A delivery that is due later than any can be is due now: a
clock that was wrong has postponed it."""

_SENDING = {"messaging.destination.name": "deliver", "messaging.operation.type": "send"}
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

    `patience_seconds` is how long a delivery may take before it is handed over again. `late_writes` end the claims of
    this process if the database is away when it wants to.
    """

    def __init__(
        self,
        outbox: Outbox,
        queue: Queue,
        late_writes: LateWrites,
        *,
        patience_seconds: float,
        clock: Clock = utc_now,
    ) -> None:
        self._outbox = outbox
        self._queue = queue
        self._late_writes = late_writes
        self._patience = timedelta(seconds=patience_seconds)
        self._clock = clock

    async def hand_over_due(self) -> None:
        """Hand over all deliveries that are due.

        Raises `DatabaseUnavailable`.
        """
        claims = await self._claim()
        while claims:
            # Each hand-over is finished, even if another one fails.
            results = await asyncio.gather(*(self._hand_over(claim) for claim in claims), return_exceptions=True)
            for error in results:
                if error is not None:
                    raise error
            claims = await self._claim()

    async def correct_due_times(self) -> None:
        """Make deliveries due that are due later than any can be. Raises `DatabaseUnavailable`."""
        now = self._clock()
        longest = max(self._patience, timedelta(seconds=max(LEASE_SECONDS, BACKOFF.longest_seconds)))
        await self._outbox.bring_forward(now=now, latest=now + longest + CLOCK_DIFFERENCE)

    async def waiting(self) -> Backlog:
        """Measure how many deliveries wait for their hand-over, and for how long."""
        now = self._clock()
        return Backlog.of("deliveries", await self._outbox.waiting(at=now), now, SOON)

    async def _claim(self) -> Sequence[Claim]:
        lease, now = new_id(), self._clock()
        until = now + timedelta(seconds=LEASE_SECONDS)
        try:
            return await self._outbox.claim(lease, now=now, until=until, limit=BATCH)
        except (DatabaseUnavailable, asyncio.CancelledError) as error:
            if not isinstance(error, DatabaseUnavailable) or error.maybe_written:
                self._late_writes.owe(
                    lambda: self._outbox.give_back(lease, until=until, now=self._clock()), useful_seconds=LEASE_SECONDS
                )
            raise

    async def _hand_over(self, claim: Claim) -> None:
        with measures.span("send deliver", _SENDING, kind=SpanKind.PRODUCER, parent=claim.traceparent):
            await self._hand_over_once(claim)

    async def _hand_over_once(self, claim: Claim) -> None:
        try:
            await self._queue.hand_over(claim.delivery_id, claim.task_id)
        except asyncio.CancelledError:
            # This process stops. If the queue has accepted the task, it will recognize its name.
            self._owe(lambda: self._outbox.postpone(claim, until=self._clock()))
            raise
        except QueueUnavailable as error:
            measures.HAND_OVERS.add(1, {ERROR_TYPE: error_type(error)})
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
            until = self._clock() + timedelta(seconds=pause_seconds)
            await self._end(lambda: self._outbox.postpone(claim, until=until))
        else:
            measures.HAND_OVERS.add(1)
            number = claim.hand_overs + 1
            message = f"delivery {claim.delivery_id} was handed over to the task queue, time {number}"
            log_event(_log, logging.INFO, "hand_over", message, delivery_id=claim.delivery_id, hand_over=number)
            due_again = self._clock() + self._patience
            await self._end(lambda: self._outbox.handed_over(claim, due_again=due_again))

    async def _end(self, write: Write) -> None:
        """End a claim now, or when the database is back."""
        await self._late_writes.make(write, useful_seconds=LEASE_SECONDS)

    def _owe(self, write: Write) -> None:
        self._late_writes.owe(write, useful_seconds=LEASE_SECONDS)
