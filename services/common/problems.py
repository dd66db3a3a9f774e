"""Every error that an app answers, as problem details (RFC 9457)."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.routing import Match

from mstoken.fastapi import documented_problem, problem_response
from mstoken.problem import Problem
from services.common.faults import Fault

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_MAX_FIELD_ERRORS = 20
_MAX_FIELD_LENGTH = 200

_ALWAYS: Mapping[int, str] = {
    422: "The request is not as this document says; `errors` names each place, and never repeats what was sent.",
    500: "A defect in the service. The log has it under the answer's `X-Request-ID`.",
    503: "The service, or something that it needs, cannot answer now; try again after `Retry-After` seconds.",
    504: "The time for the request is over (`deadline_exceeded`), whether the work was done or not.",
}
_WITH_BODY: Mapping[int, str] = {
    400: "The body cannot be read at all.",
    413: "The body is longer than this service takes.",
}
_FRAMEWORKS: Mapping[int, tuple[str, str]] = {
    400: ("body_unreadable", "The body cannot be read"),
    404: ("not_found", "There is nothing here"),
    405: ("method_not_allowed", "This path does not take this method"),
    413: ("body_too_large", "The body is too long"),
}
"""Code and title of what the framework itself, or `services.common.middleware`, refuses."""


def documented(*faults: type[Fault], body: bool = False) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: what every call may answer, and what `faults` add. `body` says that it takes one."""
    texts = {**_ALWAYS, **(_WITH_BODY if body else {})}
    for fault in faults:
        text = f"{fault.title} (`{fault.code}`)."
        texts[fault.status] = f"{texts[fault.status]} {text}" if fault.status in texts else text
    return {status: documented_problem(text) for status, text in sorted(texts.items())}


def install(app: FastAPI) -> None:
    """Answer the framework's errors and bad requests as problem details. `protect` does it for the app's own faults."""
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_bad_request)


class InternalError(Problem):
    """A defect in the service. The answer says no more than that."""

    status = 500
    code = "internal_error"
    title = "The service has a defect"


class FrameworkError(Problem):
    """An error that FastAPI, Starlette or `services.common.middleware` raised, with its header fields."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.code, self.title = _FRAMEWORKS.get(status, (f"http_{status}", "The request failed"))
        super().__init__()
        self._headers = headers

    def headers(self) -> Mapping[str, str]:
        """Return the header fields that came with the error."""
        return self._headers


class RequestInvalid(Problem):
    """The request is not as documented: `errors` has the place and the kind of each fault."""

    status = 422
    code = "request_invalid"
    title = "The request is not valid"

    def __init__(self, errors: Sequence[Mapping[str, str]]) -> None:
        super().__init__()
        self.errors = errors

    def members(self) -> Mapping[str, Any]:
        """Return the list of errors."""
        return {"errors": self.errors}


def fault_response(problem: Problem) -> JSONResponse:
    """Return the answer to a problem without a challenge, which needs no realm."""
    return problem_response(problem, realm="")


def internal_error() -> JSONResponse:
    """Return the answer to a request that met a defect."""
    return fault_response(InternalError())


def _answer_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - what the handler is registered for
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers or {}
    return fault_response(FrameworkError(error.status_code, headers))


def _allowed(request: Request) -> str:
    """All methods of the path (RFC 9110, section 10.2.1). Starlette names only those of the first route it matches."""

    def takes(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(filter(takes, _METHODS))


def _answer_bad_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what the handler is registered for
    errors = [_field_error(fault) for fault in error.errors()[:_MAX_FIELD_ERRORS]]
    return fault_response(RequestInvalid(errors))


def _field_error(fault: Mapping[str, Any]) -> dict[str, str]:
    """Where the request is wrong, and how. The value itself is left out: it may be a password."""
    place: Sequence[object] = fault["loc"]
    return {
        "in": str(place[0]),
        "field": ".".join(str(step) for step in place[1:])[:_MAX_FIELD_LENGTH],
        "message": str(fault["msg"]),
    }
