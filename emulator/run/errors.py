"""What can keep the runner from running.

RunnerError            one sentence for the user
├── PortTaken          something else listens on a port that we need
├── ProcessDied        a process that should stay up ended
├── NotReady           a process did not become ready in time
└── Unexpected         a service did not answer as it should
Interrupted            the user asked to stop: not an error
"""


class RunnerError(Exception):
    """The runner cannot go on. The text is one sentence for the user."""


class PortTaken(RunnerError):
    """Something else listens on a port that we need."""


class ProcessDied(RunnerError):
    """A process that should stay up ended. `last_lines` is the end of its log."""

    def __init__(self, name: str, status: int, log: str, last_lines: str) -> None:
        how = f"with status {status}" if status >= 0 else f"by signal {-status}"
        super().__init__(f"{name} ended {how} (log: {log}).")
        self.last_lines = last_lines


class NotReady(RunnerError):
    """A process did not become ready in time."""


class Unexpected(RunnerError):
    """A service did not answer as it should."""


class Interrupted(Exception):
    """The user asked to stop."""
