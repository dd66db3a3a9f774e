"""Refusals as answers of any web framework: problem details (RFC 9457), with the header fields that are due."""

from collections.abc import Mapping
from typing import Any

from mstoken.errors import IssuerUnavailable, Refusal, VerifierUnavailable

PROBLEM_MEDIA_TYPE = "application/problem+json"


def problem(refusal: Refusal) -> dict[str, Any]:
    """The members of the problem details (RFC 9457, section 3.1), with a stable `code` as extension member."""
    members: dict[str, Any] = {
        "type": "about:blank",
        "title": refusal.title,
        "status": refusal.status,
        "code": refusal.code,
    }
    # What an operator needs to know of an outage is in the log and at /readyz; a stranger needs none of it.
    if refusal.detail is not None and not isinstance(refusal, VerifierUnavailable | IssuerUnavailable):
        members["detail"] = refusal.detail
    return members


def problem_headers(refusal: Refusal, realm: str) -> Mapping[str, str]:
    """The challenge of the service `realm`, and `Retry-After`, where they are due."""
    headers = {"Cache-Control": "no-store", **refusal.headers()}
    if challenges := refusal.challenges(realm):
        headers["WWW-Authenticate"] = ", ".join(challenges)
    if refusal.retry_after_seconds is not None:
        headers["Retry-After"] = str(refusal.retry_after_seconds)
    return headers
