"""Waiting for what another process does, when no event tells of it."""

import time
from collections.abc import Callable

WAIT_SECONDS = 60.0
"""Longer than anything takes, also on a busy machine. A wait ends as soon as its condition is true."""


def wait_until(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Wait until the condition is true. Fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not after {seconds} s"
        time.sleep(0.05)
