"""Ids for new records."""

import secrets
import time
from typing import Annotated

from pydantic import StringConstraints

ID_PATTERN = "^[0-9a-f]{32}$"

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
"""An id that `new_id` made, in a request."""


def new_id() -> str:
    """Return a new UUID of version 7 (RFC 9562, section 5.7) as 32 hexadecimal digits.

    Ids sort by the millisecond in which they were made. The 74 random bits after it cannot be guessed.
    """
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    return f"{milliseconds:012x}7{random >> 62:03x}{0b10 << 62 | random & (1 << 62) - 1:016x}"
