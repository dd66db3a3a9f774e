"""The time of day, in UTC."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Returns the present time in UTC. Tests hand in clocks of their own."""


def utc_now() -> datetime:
    """Return the present time."""
    return datetime.now(UTC)


def utc(time: datetime) -> datetime:
    """Return a time from the database with its time zone. SQLite stores none, and everything we store is UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
