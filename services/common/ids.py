"""Names for new things."""

import secrets
import time
from typing import Annotated

from pydantic import StringConstraints

ID_PATTERN = "^[0-9a-f]{32}$"

Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
"""An id of ours on the wire."""


def new_id() -> str:
    """A UUID of version 7 (RFC 9562, section 5.7) as 32 hexadecimal digits.

    Ids sort by the millisecond of their making; the 74 random bits after it cannot be guessed.
    """
    milliseconds = time.time_ns() // 1_000_000
    random = secrets.randbits(74)
    return f"{milliseconds:012x}7{random >> 62:03x}{0b10 << 62 | random & (1 << 62) - 1:016x}"
