"""The User service's tables."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Column, DateTime, MetaData, Row, String, Table, insert, select, update
from sqlalchemy.exc import IntegrityError

from services.common.database import Database
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


class ProfileStore:
    """Profiles by uid. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, uid: str) -> Profile | None:
        """The profile, or None if there is none yet."""
        async with self._database.read() as connection:
            row = (await connection.execute(_SELECT.where(profiles.c.uid == uid))).one_or_none()
        return None if row is None else _profile(row)

    async def add(self, profile: Profile) -> None:
        """Keeps a new profile; does nothing where the user has one, also if that happens at the same moment."""
        values = _columns(profile)
        try:
            async with self._database.write() as connection:
                await connection.execute(insert(profiles).values(values))
        except IntegrityError:
            return

    async def change(self, uid: str, changes: Mapping[str, Any]) -> None:
        """Sets the named fields of an existing profile."""
        async with self._database.write() as connection:
            statement = update(profiles).where(profiles.c.uid == uid)
            await connection.execute(statement.values({**changes, "updated_at": datetime.now(UTC)}))


_SELECT = select(*(column for column in profiles.c if column.name != "updated_at"))


def _profile(row: Row[Any]) -> Profile:
    return Profile(**row._mapping)


def _columns(profile: Profile) -> dict[str, Any]:
    return {
        "uid": profile.uid,
        "email": profile.email,
        "display_name": profile.display_name,
        "phone": profile.phone,
        "address": profile.address,
        "updated_at": datetime.now(UTC),
    }
