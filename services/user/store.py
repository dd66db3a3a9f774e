"""User's tables, and the stores of profiles and failed log-ins."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Index,
    MetaData,
    Row,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from services.common.database import Database
from services.user.login_attempts import LoginAttempt
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

login_attempts = Table(
    "login_attempts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account", String(64), nullable=False),
    Column("network", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
    Index("attempts_on_an_account", "account", "at"),
    Index("attempts_from_a_network", "network", "at"),
    Index("attempts_by_age", "at"),
)


class ProfileStore:
    """Profiles by the uid of the user. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, uid: str) -> Profile | None:
        """Return the profile, or None."""
        async with self._database.read() as connection:
            row = (await connection.execute(_SELECT.where(profiles.c.uid == uid))).one_or_none()
        return None if row is None else _profile(row)

    async def add(self, profile: Profile) -> None:
        """Add a new profile. Do nothing if the user has one, even if it is added at the same time."""
        values = _columns(profile)
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(profiles).values(values))
        except IntegrityError:
            return

    async def change(self, uid: str, changes: Mapping[str, Any]) -> None:
        """Set fields of an existing profile."""
        async with self._database.write() as connection:
            statement = update(profiles).where(profiles.c.uid == uid)
            await connection.execute(statement.values({**changes, "updated_at": datetime.now(UTC)}))


class LoginAttemptStore:
    """Failed log-ins. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, attempt: LoginAttempt, *, since: int, account_limit: int, network_limit: int) -> int | None:
        """Add an attempt, and delete those before `since`. Concurrent attempts are counted one after the other.

        If its account or its network has reached the limit, do not add it: return the time of the attempt that must
        expire first, in seconds since the epoch.
        """
        limits = (
            (login_attempts.c.account, attempt.account, account_limit),
            (login_attempts.c.network, attempt.network, network_limit),
        )
        async with self._database.write() as connection:
            await self._database.take_turns(connection, attempt.account, attempt.network)
            # Skips rows that another transaction is deleting.
            old = select(login_attempts.c.id).where(login_attempts.c.at < since).with_for_update(skip_locked=True)
            await connection.execute(delete(login_attempts).where(login_attempts.c.id.in_(old)))
            for column, value, limit in limits:
                latest = select(login_attempts.c.at).where(column == value).order_by(login_attempts.c.at.desc())
                blocking_at = (await connection.execute(latest.offset(limit - 1).limit(1))).scalar_one_or_none()
                if blocking_at is not None:
                    return int(blocking_at)
            values = {"id": attempt.id, "account": attempt.account, "network": attempt.network, "at": attempt.at}
            await connection.execute(insert(login_attempts).values(values))
        return None

    async def remove_account(self, account: str) -> None:
        """Delete all attempts on an account."""
        async with self._database.write() as connection:
            await connection.execute(delete(login_attempts).where(login_attempts.c.account == account))

    async def remove(self, attempt: LoginAttempt) -> None:
        """Delete one attempt."""
        async with self._database.write() as connection:
            await connection.execute(delete(login_attempts).where(login_attempts.c.id == attempt.id))


_SELECT = select(*(column for column in profiles.c if column.name != "updated_at"))


def _profile(row: Row[Any]) -> Profile:
    return Profile(**row._mapping)


def _columns(profile: Profile) -> dict[str, Any]:
    return {**asdict(profile), "updated_at": datetime.now(UTC)}
