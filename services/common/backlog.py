"""Backlogs: how much work waits that a service does by itself, and for how long.

`/readyz` warns of a backlog that is late. `backlogs_of` returns the figures.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from fastapi import FastAPI

MAX_COUNTED = 10_000
"""A backlog is counted up to here. To count more of it would make it longer."""
SOON = timedelta(minutes=1)
"""For work that customers wait for: when it is late."""
LATER = timedelta(hours=1)
"""For what is to be deleted: when it is late."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much waits, up to `MAX_COUNTED`, and since when the oldest of it; None if nothing waits."""

    count: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """Work that is due. `count` is how much, up to `MAX_COUNTED`, and `oldest_seconds` how long the oldest is overdue.

    It is late if that is more than `late_after_seconds`.
    """

    name: str
    count: int
    oldest_seconds: float
    late_after_seconds: float

    @classmethod
    def of(cls, name: str, waiting: Waiting, now: datetime, late_after: timedelta) -> "Backlog":
        """Return the backlog of what is waiting at `now`."""
        age = timedelta() if waiting.since is None else max(timedelta(), now - waiting.since)
        return cls(name, waiting.count, age.total_seconds(), late_after.total_seconds())

    @property
    def is_late(self) -> bool:
        """Whether something has waited for too long."""
        return self.oldest_seconds > self.late_after_seconds

    def __str__(self) -> str:
        count = f"{self.count} or more" if self.count >= MAX_COUNTED else str(self.count)
        return f"backlog of {self.name}: {count} waiting, the oldest for {self.oldest_seconds:.0f} s"


Measure: TypeAlias = Callable[[], Awaitable[Backlog]]
"""Measures a backlog. Raises `DatabaseUnavailable`."""


def install(app: "FastAPI", measures: Sequence[Measure]) -> None:
    """Let `backlogs_of` find the backlogs of an app."""
    app.state.backlogs = tuple(measures)


async def backlogs_of(app: "FastAPI") -> Sequence[Backlog]:
    """Return all backlogs of the service, the empty ones too. Raises `DatabaseUnavailable`."""
    measures: Sequence[Measure] = app.state.backlogs
    return [await measure() for measure in measures]
