"""The records in the logs of the shop's processes: one JSON object in a line."""

import json
from typing import Any

FUNCTION_LOG = ">  "
"""The functions emulator writes this before each line that a function logs."""


def record_in(line: str) -> dict[str, Any] | None:
    """Return the record in a line of a log, or None if the line is not a JSON object."""
    try:
        found = json.loads(line.removeprefix(FUNCTION_LOG))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
