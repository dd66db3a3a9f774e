"""The outbox: the deliveries that must still be handed to the task queue, and which process does it.

A row is written in the transaction that writes its delivery, and deleted in the one that writes its final status.
Whatever crashes in between, and whatever the queue loses, the delivery is handed over again until its end is reported.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update

from services.billing.store import outbox
from services.common.backlog import Waiting
from services.common.database import Database
from services.common.queries import count_waiting


@dataclass(frozen=True, slots=True)
class Claim:
    """The right of one process to hand over a delivery, while its lease lasts.

    `hand_overs` counts how often the queue has accepted the delivery, `failures` the refusals since then. `traceparent`
    names the span in which the delivery was requested.
    """

    delivery_id: str
    hand_overs: int
    failures: int
    lease: str
    traceparent: str | None = None

    @property
    def task_id(self) -> str:
        """The name of the task of this hand-over. It stays the same if the hand-over is repeated after a crash.

        It is a hash, because Cloud Tasks is slow with names that share a prefix (`firebase_admin.functions`,
        `TaskOptions`).
        """
        return hashlib.sha256(f"{self.delivery_id}/{self.hand_overs}".encode()).hexdigest()[:32]


class Outbox:
    """The rows of the outbox. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def bring_forward(self, *, now: datetime, latest: datetime) -> None:
        """Make deliveries due at `now` that are due after `latest`: a clock that was wrong has postponed them."""
        is_too_late = outbox.c.due_at > latest
        if not await self._database.fetch(select(outbox.c.delivery_id).where(is_too_late).limit(1)):
            return
        await self._database.execute(update(outbox).where(is_too_late).values(due_at=now, lease=None))

    async def claim(self, lease: str, *, now: datetime, until: datetime, limit: int) -> Sequence[Claim]:
        """Claim up to `limit` deliveries that are due at `now`, the longest due first, under a new `lease`.

        No other process can claim them before `until`. If this process dies, others claim them after that.
        """
        due = select(outbox.c.delivery_id).where(outbox.c.due_at <= now).order_by(outbox.c.due_at).limit(limit)
        if not await self._database.fetch(due.limit(1)):
            return []  # The usual case, which must not wait for writers.
        async with self._database.write() as connection:
            # PostgreSQL skips rows that another process is claiming. SQLite has one writer, so there are none.
            free = (await connection.execute(due.with_for_update(skip_locked=True))).scalars().all()
            take = update(outbox).where(outbox.c.delivery_id.in_(free)).values(due_at=until, lease=lease)
            return [Claim(*row) for row in await connection.execute(take.returning(*_CLAIM))]

    async def waiting(self, *, at: datetime) -> Waiting:
        """Return how many deliveries are due, and since when."""
        return await count_waiting(self._database, outbox.c.due_at, outbox.c.due_at <= at)

    async def give_back(self, lease: str, *, until: datetime, now: datetime) -> bool:
        """End the claims under `lease`, which has the end `until`: their deliveries are due at `now`.

        Return False if there are none.
        """
        # The index is by time.
        is_claimed = (outbox.c.due_at == until) & (outbox.c.lease == lease)
        give_back = update(outbox).where(is_claimed).values(due_at=now, lease=None)
        return bool(await self._database.execute(give_back.returning(outbox.c.delivery_id)))

    async def handed_over(self, claim: Claim, *, due_again: datetime) -> bool:
        """Record that the queue has accepted the delivery. It is due again at `due_again` if it has not ended.

        Return False, and record nothing, if another process has claimed the delivery.
        """
        return await self._end(claim, hand_overs=outbox.c.hand_overs + 1, failures=0, due_at=due_again)

    async def postpone(self, claim: Claim, *, until: datetime) -> bool:
        """Record that the queue has not accepted the delivery. It is due again at `until`.

        Return False, and record nothing, if another process has claimed the delivery.
        """
        return await self._end(claim, failures=outbox.c.failures + 1, due_at=until)

    async def _end(self, claim: Claim, **changes: Any) -> bool:
        held: ColumnElement[bool] = (outbox.c.delivery_id == claim.delivery_id) & (outbox.c.lease == claim.lease)
        end = update(outbox).where(held).values(lease=None, **changes)
        return bool(await self._database.execute(end.returning(outbox.c.delivery_id)))


_CLAIM = (outbox.c.delivery_id, outbox.c.hand_overs, outbox.c.failures, outbox.c.lease, outbox.c.traceparent)
