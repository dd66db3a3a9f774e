"""Errors with an answer: each says how it looks on the wire, and knows nothing of HTTP frameworks.

    Fault
    ├── DatabaseUnavailable   503  database_unavailable
    ├── Overloaded            503  overloaded
    ├── DeadlineExceeded      504  deadline_exceeded
    └── each service's own, beside what they are about

`services.common.problems` turns them into problem details (RFC 9457).
"""

from typing import ClassVar

from mstoken.problem import Problem


class Fault(Problem):
    """An error of a service. `challenge` is set if `WWW-Authenticate` is due (RFC 9110, section 11.6.1)."""

    challenge: ClassVar[str | None] = None

    def challenges(self, realm: str) -> tuple[str, ...]:
        """Return the class's own challenge."""
        return () if self.challenge is None else (self.challenge,)


class DatabaseUnavailable(Fault):
    """The database cannot be reached, or is too busy to answer in time."""

    status = 503
    code = "database_unavailable"
    title = "The database does not answer"
    retry_after_seconds = 1


class Overloaded(Fault):
    """The process has more to do than it can; it has not begun on this."""

    status = 503
    code = "overloaded"
    title = "The service has too much to do"
    retry_after_seconds = 1


class DeadlineExceeded(Fault):
    """The caller's time was over before there was an answer. What was asked for may or may not have been done.

    The status is the one that google.rpc.Code has for DEADLINE_EXCEEDED.
    """

    status = 504
    code = "deadline_exceeded"
    title = "The time for this request is over"
