"""Answers errors as problem details (RFC 9457), and documents them in OpenAPI."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from mstoken.fastapi import documented_problem, problem_response
from mstoken.problem import Problem
from services.common.errors import FrameworkError, RequestInvalid

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_MAX_FIELD_ERRORS = 20
_MAX_FIELD_LENGTH = 200

_ANY_REQUEST: Mapping[int, str] = {
    422: "The request is not valid (`request_invalid`). `errors` lists each wrong field; it never repeats a value.",
    500: "The service has a defect (`internal_error`). Its log has the details under the answer's `X-Request-ID`.",
    503: "The service, or something that it needs, is not available. Try again after `Retry-After` seconds.",
    504: "The deadline of the request has passed (`deadline_exceeded`). The work may have been done or not.",
}
_REQUEST_WITH_BODY: Mapping[int, str] = {
    400: "The body cannot be read (`body_unreadable`).",
    408: "The body did not arrive in time (`body_timeout`). Nothing was done.",
    413: "The body is too long (`body_too_large`).",
}


@cache
def documented(*problems: type[Problem], body: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route: what any request may be answered with, and `problems`. Do not change them.

    `body` says that the route takes a body.
    """
    texts = {**_ANY_REQUEST, **(_REQUEST_WITH_BODY if body else {})}
    for problem in problems:
        text = f"{problem.title} (`{problem.code}`)."
        texts[problem.status] = f"{texts[problem.status]} {text}" if problem.status in texts else text
    return {status: documented_problem(text) for status, text in sorted(texts.items())}


def install(app: FastAPI) -> None:
    """Answer the framework's errors and invalid requests as problem details.

    `mstoken.fastapi.protect` does so for every `Problem` that a route raises.
    """
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)


def response_to(problem: Problem) -> Response:
    """Return the answer to a problem without a challenge, which needs no realm."""
    return problem_response(problem, realm="")


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what the handler is registered for
    headers = {"Allow": _allowed_methods(request)} if error.status_code == 405 else error.headers or {}
    return response_to(FrameworkError(error.status_code, headers))


def _allowed_methods(request: Request) -> str:
    """Return all methods of the path (RFC 9110, section 10.2.1). Starlette names those of one route only."""

    def is_allowed(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(filter(is_allowed, _METHODS))


async def _answer_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what the handler is registered for
    return response_to(RequestInvalid([_field_error(details) for details in error.errors()[:_MAX_FIELD_ERRORS]]))


def _field_error(details: Mapping[str, Any]) -> dict[str, str]:
    """Return where the request is wrong, and how. The value is left out, because it may be a password."""
    location: Sequence[object] = details["loc"]
    return {
        "in": str(location[0]),
        "field": ".".join(str(step) for step in location[1:])[:_MAX_FIELD_LENGTH],
        "message": str(details["msg"]),
    }
