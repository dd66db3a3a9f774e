"""The errors that any of the services may answer with. `services.common.problems` answers them.

    Problem
    ├── RequestInvalid             422  request_invalid
    ├── BodyTimeout                408  body_timeout
    ├── DatabaseUnavailable        503  database_unavailable
    ├── Overloaded                 503  overloaded
    ├── Stopping                   503  stopping
    ├── DeadlineExceeded           504  deadline_exceeded
    ├── InternalError              500  internal_error
    └── FrameworkError             the framework's status and a code for it, such as 404 not_found

Each service has an `errors` module for its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import override

from mstoken.problem import Problem


class RequestInvalid(Problem):
    """The request is not as documented. `errors` says for each wrong place where it is and what is wrong there."""

    status = 422
    code = "request_invalid"
    title = "The request is not valid"

    def __init__(self, errors: Sequence[Mapping[str, str]]) -> None:
        super().__init__()
        self.errors = errors

    @override
    def members(self) -> Mapping[str, Any]:
        return {"errors": self.errors}


class BodyTimeout(Problem):
    """The body of the request did not arrive in time. Nothing was done; the request may be sent again."""

    status = 408
    code = "body_timeout"
    title = "The body did not arrive in time"


class DatabaseUnavailable(Problem):
    """The database cannot be reached, or does not answer in time.

    `maybe_written` is True if the connection broke during the commit, or in a statement that is committed by itself:
    then no one knows if something was written.
    """

    status = 503
    code = "database_unavailable"
    title = "The database does not answer"
    retry_after_seconds = 1

    def __init__(self, *, maybe_written: bool = False) -> None:
        super().__init__()
        self.maybe_written = maybe_written


class Overloaded(Problem):
    """The process works on as many requests as it can. It has not begun to work on this one."""

    status = 503
    code = "overloaded"
    title = "The service is overloaded"
    retry_after_seconds = 1


class Stopping(Problem):
    """The process stops, and its time for the requests under way is over. The work may have been done or not."""

    status = 503
    code = "stopping"
    title = "The process stops"
    retry_after_seconds = 1


class DeadlineExceeded(Problem):
    """The request's deadline passed before there was an answer. The work may have been done or not.

    The status is the one that google.rpc.Code maps DEADLINE_EXCEEDED to.
    """

    status = 504
    code = "deadline_exceeded"
    title = "The deadline of this request has passed"


class InternalError(Problem):
    """A defect in the service. The answer says no more than that; the log has the exception."""

    status = 500
    code = "internal_error"
    title = "The service has a defect"


_FRAMEWORK_ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("body_unreadable", "The body cannot be read"),
    404: ("not_found", "There is nothing here"),
    405: ("method_not_allowed", "This path does not take this method"),
    413: ("body_too_large", "The body is too long"),
}
"""Code and title by status."""


class FrameworkError(Problem):
    """An HTTPException of FastAPI, Starlette or `services.common.bodies`, with its header fields."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.code, self.title = _FRAMEWORK_ERRORS.get(status, (f"http_{status}", "The request failed"))
        super().__init__()
        self._headers = headers

    @override
    def headers(self) -> Mapping[str, str]:
        return self._headers
