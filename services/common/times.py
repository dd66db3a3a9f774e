"""The time of day, in UTC."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Says what time it is, in UTC; tests move it."""


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def utc(time: datetime) -> datetime:
    """A time from the database: SQLite keeps no time zone, and all that we write is UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
