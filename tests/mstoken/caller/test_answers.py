"""What the error answers of Firebase and of the token service mean for a sign-in."""

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mstoken.caller.answers import BUSY_SECONDS, PAUSE_SECONDS, QUOTA_SECONDS, error_codes, json_member, pause_seconds

NAMES = st.sampled_from(["error", "message", "code", "errors", "details", "status", "reason", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(), inner, max_size=3),
)
STATUSES = [400, 401, 403, 404, 408, 409, 429, 500, 503]


def refused(
    message: object = "", status: int = 400, *, errors: object = None, details: object = None, code: object = None
) -> httpx.Response:
    """Return an error answer as Google's APIs write it. `code` is its `status`."""
    error = {"code": status, "message": message, "errors": errors, "details": details, "status": code}
    return httpx.Response(status, json={"error": {name: value for name, value in error.items() if value is not None}})


class TestTable:
    """Each code of the table."""

    @pytest.mark.parametrize("code", [code for code, pause in PAUSE_SECONDS.items() if pause is not None])
    @pytest.mark.parametrize("status", [400, 403])
    def test_an_error_that_passes(self, code: str, status: int) -> None:
        """It passes wherever the code stands in the answer, and whatever the status is."""
        pause = PAUSE_SECONDS[code]
        for answer in (
            refused(code, status),
            refused(f"{code} : Some more text: with (colons)\nand lines.", status),
            refused("Some text.", status, code=code),
            refused("Some text.", status, errors=[{"reason": "invalid"}, {"domain": "usageLimits", "reason": code}]),
            refused("Some text.", status, code="INVALID_ARGUMENT", details=[{"reason": code, "@type": "ErrorInfo"}]),
        ):
            assert pause_seconds(answer) == pause

    @pytest.mark.parametrize("code", [code for code, pause in PAUSE_SECONDS.items() if pause is None])
    def test_a_final_error(self, code: str) -> None:
        """Another attempt cannot help."""
        assert pause_seconds(refused(f"{code} : text", 400, errors=[{"reason": "invalid"}])) is None

    @pytest.mark.parametrize(
        ("answer", "pause"),
        [
            (refused("QUOTA_EXCEEDED : Exceeded quota for verifying passwords."), QUOTA_SECONDS),
            (refused("QUOTA_EXCEEDED", code="INVALID_ARGUMENT"), QUOTA_SECONDS),
            (refused("TOO_MANY_ATTEMPTS_TRY_LATER : Unusual activity.", errors=[{"reason": "invalid"}]), QUOTA_SECONDS),
            (refused("Rate Limit Exceeded", 403, errors=[{"reason": "rateLimitExceeded"}]), BUSY_SECONDS),
            (
                refused("Quota exceeded.", 429, code="RESOURCE_EXHAUSTED", details=[{"reason": "RATE_LIMIT_EXCEEDED"}]),
                5,
            ),
            (refused("", 408), 0),
            (refused("Requests are blocked.", 403, code="PERMISSION_DENIED"), None),
            (refused("INVALID_CUSTOM_TOKEN : Quota of signatures: QUOTA_EXCEEDED"), None),
        ],
    )
    def test_answers_as_firebase_gives_them(self, answer: httpx.Response, pause: float | None) -> None:
        """A limit has a pause, although its status is that of an invalid request."""
        assert pause_seconds(answer) == pause

    def test_every_server_error_about_a_sign_in_is_in_the_table(self) -> None:
        """These are the errors of Firebase's web SDK and of the Auth emulator that a custom token can meet."""
        assert {
            *("ADMIN_ONLY_OPERATION", "BLOCKING_FUNCTION_ERROR_RESPONSE", "CREDENTIAL_MISMATCH", "INVALID_APP_ID"),
            *("INVALID_CUSTOM_TOKEN", "INVALID_TENANT_ID", "MISSING_CUSTOM_TOKEN", "OPERATION_NOT_ALLOWED"),
            *("QUOTA_EXCEEDED", "TENANT_ID_MISMATCH", "TOKEN_EXPIRED", "TOO_MANY_ATTEMPTS_TRY_LATER"),
            *("UNSUPPORTED_TENANT_OPERATION", "USER_CANCELLED", "USER_DISABLED", "USER_NOT_FOUND"),
            *("CLAIMS_TOO_LARGE", "DUPLICATE_LOCAL_ID", "INSUFFICIENT_PERMISSION", "PROJECT_DISABLED"),
        } <= PAUSE_SECONDS.keys()


class TestStatus:
    """An answer whose code is not in the table."""

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 599])
    def test_a_status_that_passes(self, status: int) -> None:
        """The pause is that of the back-off."""
        assert pause_seconds(httpx.Response(status, content=b"<html>")) == 0.0
        assert pause_seconds(refused("NEVER_HEARD_OF_IT", status)) == 0.0

    @pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 403, 404, 409, 422, 451])
    def test_a_final_status(self, status: int) -> None:
        """Another attempt cannot help."""
        assert pause_seconds(httpx.Response(status, content=b"<html>")) is None
        assert pause_seconds(refused("NEVER_HEARD_OF_IT", status)) is None

    @given(st.sampled_from(STATUSES), st.dictionaries(st.just("error"), JSON, min_size=1))
    def test_any_answer(self, status: int, content: Any) -> None:
        """No answer makes it fail."""
        answer = httpx.Response(status, content=json.dumps(content).encode())
        assert all(isinstance(code, str) for code in error_codes(answer))
        assert (pause_seconds(answer) or 0.0) >= 0.0


def value_at(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


class TestJsonMember:
    """A value in the JSON of an answer."""

    @given(value=JSON, path=st.lists(NAMES, max_size=3))
    def test_any_json(self, value: Any, path: list[str]) -> None:
        """It returns the value at the path, or None."""
        found = json_member(httpx.Response(400, content=json.dumps(value).encode()), *path)
        assert json.dumps(found) == json.dumps(value_at(value, path))

    @given(body=st.binary() | st.text().map(str.encode), path=st.lists(NAMES, min_size=1, max_size=3))
    def test_any_body(self, body: bytes, path: list[str]) -> None:
        """It returns None if the body is not JSON."""
        try:
            value = json.loads(body)
        except ValueError:
            value = None
        assert json_member(httpx.Response(400, content=body), *path) == value_at(value, path)

    @pytest.mark.parametrize("body", [b"[" * 100_000, b'{"code":' * 100_000, b'{"code":' + b"9" * 10_000 + b"}"])
    def test_a_body_that_the_parser_rejects(self, body: bytes) -> None:
        """It returns None for nesting and numbers that the parser does not accept."""
        assert json_member(httpx.Response(400, content=body), "code") is None
