"""The outbox: which deliveries have still to be handed to the queue, and which process is doing it.

A row is written in the transaction that writes its delivery, and goes in the one that ends it: so whatever crashes in
between, and whatever the queue forgets, the delivery is handed over again until its end has been reported.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update

from services.billing.store import outbox
from services.common.database import Database
from services.common.ids import new_id


@dataclass(frozen=True, slots=True)
class Claim:
    """The right of one process to hand a delivery over, for as long as its lease runs.

    `hand_overs` counts those that the queue has taken, `failures` the attempts since the last of them.
    """

    delivery_id: str
    hand_overs: int
    failures: int
    lease: str

    @property
    def task_id(self) -> str:
        """A name for the task of this hand-over. One that is repeated, after a crash in the middle, has the same.

        Hashed, since Cloud Tasks slows down with names that begin alike (`firebase_admin.functions.TaskOptions`).
        """
        return hashlib.sha256(f"{self.delivery_id}/{self.hand_overs}".encode()).hexdigest()[:32]


class Outbox:
    """The rows of the outbox. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, *, now: datetime, until: datetime, limit: int) -> Sequence[Claim]:
        """Takes up to `limit` deliveries that are due at `now`, those due longest first; nobody else does `until` then.

        A process that dies leaves its claims to the others by not coming back.
        """
        due = select(outbox.c.delivery_id).where(outbox.c.due_at <= now).order_by(outbox.c.due_at).limit(limit)
        async with self._database.read() as connection:
            if (await connection.execute(due.limit(1))).first() is None:
                return []  # The usual case, and one that shall not wait for writers.
        async with self._database.write() as connection:
            # Where rows have locks (PostgreSQL) those that another process is taking are passed over; where the
            # database has one writer at a time (SQLite) there are none.
            free = (await connection.execute(due.with_for_update(skip_locked=True))).scalars().all()
            take = update(outbox).where(outbox.c.delivery_id.in_(free)).values(due_at=until, lease=new_id())
            return [Claim(*row) for row in await connection.execute(take.returning(*_CLAIM))]

    async def handed_over(self, claim: Claim, *, due_again: datetime) -> None:
        """The queue has taken it. It is due again if it has not come to its end by then."""
        await self._settle(claim, hand_overs=outbox.c.hand_overs + 1, failures=0, due_at=due_again)

    async def put_off(self, claim: Claim, *, until: datetime) -> None:
        """The queue has not taken it."""
        await self._settle(claim, failures=outbox.c.failures + 1, due_at=until)

    async def _settle(self, claim: Claim, **changes: Any) -> None:
        """Ends a claim; one whose lease has run out, and that somebody else has taken, is theirs to end."""
        held: ColumnElement[bool] = (outbox.c.delivery_id == claim.delivery_id) & (outbox.c.lease == claim.lease)
        async with self._database.write() as connection:
            await connection.execute(update(outbox).where(held).values(lease=None, **changes))


_CLAIM = (outbox.c.delivery_id, outbox.c.hand_overs, outbox.c.failures, outbox.c.lease)
