"""A clock that several processes share, and that a test can advance for all of them at once."""

import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

CLOCK_VARIABLE = "CHAOS_CLOCK"
"""The variable that names the file of the clock."""


@dataclass(frozen=True)
class ShopTime:
    """The time of day, plus the seconds in the file `path`."""

    path: Path

    @classmethod
    def from_environment(cls) -> "ShopTime":
        """Return the clock that the environment names."""
        return cls(Path(os.environ[CLOCK_VARIABLE]))

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=float(self.path.read_text()))


@dataclass
class ShopTimeControl:
    """Advances a `ShopTime`, and remembers when."""

    path: Path
    jumps: list[tuple[float, float]] = field(default_factory=list)
    """When the clock was advanced, by `time.monotonic`, and by how many seconds."""

    def __post_init__(self) -> None:
        self.path.write_text("0")

    def advance(self, seconds: float) -> None:
        """Advance the clock of all processes."""
        self.jumps.append((time.monotonic(), seconds))
        new = self.path.with_suffix(".new")
        new.write_text(str(sum(seconds for _, seconds in self.jumps)))
        new.replace(self.path)  # Atomic: a reader gets the old text or the new one.
