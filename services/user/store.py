"""User's tables, and the stores of profiles and attempts."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Delete,
    Index,
    MetaData,
    Row,
    Select,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from services.common.backlog import Waiting
from services.common.database import Database
from services.common.queries import count_waiting
from services.common.times import utc_now
from services.user.attempts import CLOCK_DIFFERENCE_SECONDS, Attempt, Limit
from services.user.profiles import Profile

metadata = MetaData()

profiles = Table(
    "profiles",
    metadata,
    Column("uid", String(128), primary_key=True),
    Column("email", String(320)),
    Column("display_name", String(200)),
    Column("phone", String(16)),
    Column("address", JSON(none_as_null=True)),
    Column("updated_at", DateTime(timezone=True), nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("subject", String(64), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("counts_until", BigInteger, nullable=False),
    Index("attempts_of_a_subject", "subject", "at"),
    Index("attempts_by_end", "counts_until"),
)
"""One row for each limit that an attempt counts for. `subject` is what the limit counts by."""

known_networks = Table(
    "known_networks",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("network", String(64), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Index("known_networks_by_age", "at"),
)
"""The networks from which accounts were logged in to, and when last. `network` is the hash of account and network."""


class ProfileStore:
    """Profiles by the uid of the user. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, uid: str) -> Profile | None:
        """Return the profile, or None."""
        rows = await self._database.fetch(_SELECT.where(profiles.c.uid == uid))
        return _profile(rows[0]) if rows else None

    async def add(self, profile: Profile) -> None:
        """Add a new profile. Do nothing if the user has one, even if it is added at the same time."""
        values = _columns(profile)
        try:
            await self._database.execute(insert(profiles), values)
        except IntegrityError:
            return

    async def change(self, uid: str, changes: Mapping[str, Any]) -> None:
        """Set fields of an existing profile."""
        change = update(profiles).where(profiles.c.uid == uid)
        await self._database.execute(change.values({**changes, "updated_at": utc_now()}))


class AttemptStore:
    """Attempts, and the networks that accounts know. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, attempt: Attempt, limits: Mapping[str, Limit]) -> int:
        """Count an attempt for each of `limits` (by subject) and return 0, or return the seconds that it must wait.

        An attempt that must wait is not counted. Concurrent attempts are counted one after the other.
        """
        async with self._database.write() as connection:
            await self._database.take_turns(connection, *limits)
            wait_seconds = 0
            for subject, limit in limits.items():
                is_past = attempts.c.at <= attempt.at + CLOCK_DIFFERENCE_SECONDS
                counted = select(func.count(), func.max(attempts.c.at).filter(is_past)).where(
                    attempts.c.subject == subject, attempts.c.at > attempt.at - limit.window_seconds
                )
                count, latest = (await connection.execute(counted)).one()
                wait_seconds = max(wait_seconds, limit.wait_seconds(count, latest or 0, attempt.at))
            if wait_seconds == 0:
                rows = [
                    {
                        "id": attempt.id,
                        "subject": subject,
                        "at": attempt.at,
                        "counts_until": attempt.at + limit.window_seconds,
                    }
                    for subject, limit in limits.items()
                ]
                await connection.execute(insert(attempts), rows)
        return wait_seconds

    async def remove(self, attempt: Attempt) -> bool:
        """Do not count an attempt any more. Return False if it does not count."""
        remove = delete(attempts).where(attempts.c.id == attempt.id).returning(attempts.c.id)
        return bool(await self._database.execute(remove))

    async def knows_network(self, account: str, network: str, *, since: int) -> bool:
        """Return whether an account was logged in to from a network, at `since` or later."""
        found = select(known_networks.c.at).where(
            known_networks.c.account == account, known_networks.c.network == network, known_networks.c.at >= since
        )
        return bool(await self._database.fetch(found))

    async def log_in_succeeded(self, attempt: Attempt, *, keep_networks: int, since: int) -> None:
        """Forget the attempts of the subject of `attempt`, and remember its network.

        Of the networks of the account keep the latest `keep_networks`, if they are of `since` or later.
        """
        same_subject = select(attempts.c.id).where(attempts.c.subject == attempt.subject)
        of_account = known_networks.c.account == attempt.account
        of_network = known_networks.c.network == attempt.subject
        latest = select(known_networks.c.network).where(of_account).order_by(known_networks.c.at.desc())
        async with self._database.write() as connection:
            await self._database.take_turns(connection, f"networks of {attempt.account}")
            await connection.execute(delete(attempts).where(attempts.c.id.in_(same_subject)))
            await connection.execute(delete(known_networks).where(of_account, of_network))
            row = {"account": attempt.account, "network": attempt.subject, "at": attempt.at}
            await connection.execute(insert(known_networks), row)
            kept = (await connection.execute(latest.limit(keep_networks))).scalars().all()
            is_old = or_(known_networks.c.at < since, known_networks.c.network.not_in(kept))
            await connection.execute(delete(known_networks).where(of_account, is_old))

    async def forget(self, *, before: int, limit: int) -> int:
        """Delete up to `limit` rows of attempts that have not counted since `before`. Return how many."""
        is_old = attempts.c.counts_until <= before
        old = select(attempts.c.id, attempts.c.subject).where(is_old).order_by(attempts.c.counts_until)
        one = (attempts.c.id == bindparam("old_id")) & (attempts.c.subject == bindparam("old_subject"))
        return await self._delete(old, delete(attempts).where(one), limit)

    async def forgettable(self, *, before: int) -> Waiting:
        """Return how many rows of attempts `forget` would delete, and since when the first does not count."""
        return await count_waiting(self._database, attempts.c.counts_until, attempts.c.counts_until <= before)

    async def forget_networks(self, *, before: int, limit: int) -> int:
        """Delete up to `limit` networks from which the last log-in was before `before`. Return how many."""
        is_old = known_networks.c.at < before
        old = select(known_networks.c.account, known_networks.c.network).where(is_old).order_by(known_networks.c.at)
        of_account = known_networks.c.account == bindparam("old_account")
        one = of_account & (known_networks.c.network == bindparam("old_network"))
        return await self._delete(old, delete(known_networks).where(one), limit)

    async def _delete(self, old: Select[Any], deletion: Delete, limit: int) -> int:
        """Execute `deletion` for each row of `old`, whose columns are its parameters `old_…`."""
        if not await self._database.fetch(old.limit(1)):
            return 0  # Without the lock that writing takes.
        async with self._database.write() as connection:
            # PostgreSQL skips rows that another process is deleting.
            found = await connection.execute(old.limit(limit).with_for_update(skip_locked=True))
            rows = [{f"old_{name}": value for name, value in row._mapping.items()} for row in found]
            if rows:
                await connection.execute(deletion, rows)
        return len(rows)


_SELECT = select(*(column for column in profiles.c if column.name != "updated_at"))


def _profile(row: Row[Any]) -> Profile:
    return Profile(**row._mapping)


def _columns(profile: Profile) -> dict[str, Any]:
    return {**asdict(profile), "updated_at": utc_now()}
