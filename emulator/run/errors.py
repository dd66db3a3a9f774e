"""The errors of the runner.

RunnerError            the runner cannot go on
├── PortTaken          another program listens on a port that the shop needs
├── ProcessDied        a process that should stay up ended
├── NotReady           a process did not become ready in time
└── Unexpected         a service did not answer as expected
Interrupted            the user asked to stop; not an error
"""


class RunnerError(Exception):
    """The runner cannot go on. The text tells the user why."""


class PortTaken(RunnerError):
    """Another program listens on a port that the shop needs."""


class ProcessDied(RunnerError):
    """A process that should stay up ended. `last_lines` is the end of its log."""

    def __init__(self, name: str, status: int, log: str, last_lines: str) -> None:
        """`status` is the exit status, or minus the number of the signal that ended the process."""
        how = f"ended with status {status}" if status >= 0 else f"was ended by signal {-status}"
        super().__init__(f"{name} {how} (log: {log}).")
        self.last_lines = last_lines


class NotReady(RunnerError):
    """A process did not become ready in time."""


class Unexpected(RunnerError):
    """A service did not answer as expected."""


class Interrupted(Exception):
    """The user asked to stop."""
