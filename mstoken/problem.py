"""Errors that are answered over HTTP as problem details (RFC 9457), with their header fields.

`Problem` is the base class of all such errors: this library's refusals, and an application's own errors. It does not
depend on a web framework: `problem_answer` returns the parts of the answer, and adapters make a response of them.
"""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from mstoken.wire import BEARER_SCHEME

PROBLEM_MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An error that is answered with a status, a stable code, a title, and a detail about this occurrence.

    A class that needs a challenge in its answer sets `scheme`. `error` is the parameter of that name in the challenge.
    Without it the challenge has no error, which is right if the request had no credential (RFC 6750, section 3.1).
    """

    status: int
    """The HTTP status."""
    code: str
    """The stable code, by which programs recognize the error."""
    title: str
    """A short text, the same for every occurrence."""
    detail_is_public: ClassVar[bool] = True
    """False if `detail` is for operators only. Then it is in the exception, and not in the answer."""
    retry_after_seconds: int | None = None
    """The value of `Retry-After`, in seconds. Set it if waiting may help."""
    scheme: ClassVar[str | None] = None
    """The auth-scheme of the challenge (RFC 9110, section 11.1)."""
    error: ClassVar[str | None] = None
    """The error in the challenge."""
    challenge_parameters: ClassVar[Mapping[str, str]] = {}
    """Further parameters of the challenge."""

    def __init__(self, detail: str | None = None) -> None:
        """`detail` is about this occurrence. It must not contain a secret."""
        super().__init__(detail or self.title)
        self.detail = detail

    def challenges(self, realm: str) -> tuple[str, ...]:
        """Return the `WWW-Authenticate` challenges of the service `realm`. An error without a scheme has none."""
        if self.scheme is None:
            return ()
        parameters: dict[str, str] = {}
        if self.error is not None:
            parameters["error"] = self.error
            if self.scheme == BEARER_SCHEME:
                parameters["error_description"] = self.title
        return (challenge(self.scheme, realm, parameters | dict(self.challenge_parameters)),)

    def headers(self) -> Mapping[str, str]:
        """Return further header fields of the answer. Subclasses may override it."""
        return {}

    def members(self) -> Mapping[str, Any]:
        """Return further members of the problem details (RFC 9457, section 3.2). Subclasses may override it."""
        return {}


def challenge(scheme: str, realm: str, parameters: Mapping[str, str] | None = None) -> str:
    """Return one challenge with the realm and the parameters as quoted strings (RFC 9110, section 11.6.1)."""
    return f"{scheme} " + ", ".join(
        f'{name}="{value}"' for name, value in {"realm": realm, **(parameters or {})}.items()
    )


def problem_details(problem: Problem) -> dict[str, Any]:
    """Return the members of the problem details (RFC 9457, section 3.1), with the extension member `code`."""
    details: dict[str, Any] = {
        "type": "about:blank",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
    }
    if problem.detail is not None and problem.detail_is_public:
        details["detail"] = problem.detail
    return details | dict(problem.members())


def problem_headers(problem: Problem, realm: str) -> dict[str, str]:
    """Return the header fields of the answer, with the challenges of the service `realm` and `Retry-After`."""
    headers = {"Cache-Control": "no-store", **problem.headers()}
    if challenges := problem.challenges(realm):
        headers["WWW-Authenticate"] = ", ".join(challenges)
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(problem.retry_after_seconds)
    return headers


class ProblemAnswer(NamedTuple):
    """The parts of an HTTP answer with problem details: the status, the header fields, and the body."""

    status: int
    headers: dict[str, str]
    body: bytes


def problem_answer(problem: Problem, realm: str) -> ProblemAnswer:
    """Return the answer to a request that failed with `problem`, as problem details of the service `realm`."""
    headers = {"Content-Type": PROBLEM_MEDIA_TYPE, **problem_headers(problem, realm)}
    body = json.dumps(problem_details(problem), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return ProblemAnswer(problem.status, headers, body.encode())
