"""Errors that are answered over HTTP, as problem details (RFC 9457) with the header fields that go with them.

`Problem` is the root of every such error, of this library's refusals and of an application's own. It knows no web
framework: `problem_details` and `problem_headers` give the parts of the answer, adapters put them together.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from mstoken.wire import BEARER_SCHEME

PROBLEM_MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An error that a caller is told about: `status`, a stable `code`, a `title` in words, a `detail` of this case.

    `retry_after_seconds` is set where waiting may help. `scheme` is set where an answer needs a challenge; `error` is
    the challenge's parameter of that name, and None makes a bare challenge (RFC 6750, section 3.1: no error code where
    nothing was sent).
    """

    status: int
    """The HTTP status."""
    code: str
    title: str
    detail_is_public: ClassVar[bool] = True
    """False where `detail` is for operators only: it is in the log and in the exception, and not in the answer."""
    retry_after_seconds: int | None = None
    """The value of `Retry-After`, in seconds."""
    scheme: ClassVar[str | None] = None
    """The auth-scheme of the challenge (RFC 9110, section 11.1)."""
    error: ClassVar[str | None] = None
    challenge_parameters: ClassVar[Mapping[str, str]] = {}
    """Further parameters of the challenge."""

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail

    def challenges(self, realm: str) -> tuple[str, ...]:
        """Return the `WWW-Authenticate` challenges of the service `realm`; none for an error without a scheme."""
        if self.scheme is None:
            return ()
        parameters: dict[str, str] = {}
        if self.error is not None:
            parameters["error"] = self.error
            if self.scheme == BEARER_SCHEME:
                parameters["error_description"] = self.title
        return (challenge(self.scheme, realm, parameters | dict(self.challenge_parameters)),)

    def headers(self) -> Mapping[str, str]:
        """Return further header fields of the answer."""
        return {}

    def members(self) -> Mapping[str, Any]:
        """Return further members of the problem details (RFC 9457, section 3.2)."""
        return {}


def challenge(scheme: str, realm: str, parameters: Mapping[str, str] | None = None) -> str:
    """Return one challenge: the scheme, the realm, and parameters as quoted strings (RFC 9110, section 11.6.1)."""
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
    """Return the header fields of the answer: the challenge of the service `realm` and `Retry-After` where due."""
    headers = {"Cache-Control": "no-store", **problem.headers()}
    if challenges := problem.challenges(realm):
        headers["WWW-Authenticate"] = ", ".join(challenges)
    if problem.retry_after_seconds is not None:
        headers["Retry-After"] = str(problem.retry_after_seconds)
    return headers
