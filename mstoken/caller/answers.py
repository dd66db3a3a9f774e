"""What error answers of Firebase and of the token service mean for a sign-in: try again later, or correct something.

Firebase answers some errors that pass with the status 400 or 403, so the status alone does not tell.

Sources: Firebase Auth REST API, "Common error codes" of each method; the server errors that Firebase's web SDK knows
(`ServerError`); Google APIs, "Global domain errors"; Google Cloud, "API design guide", "Errors" (`google.rpc.Code`) and
"ErrorInfo".
"""

import re
from collections.abc import Iterator, Mapping

import httpx

FINAL = None
"""Another attempt cannot help: something must be corrected."""
AT_ONCE = 0.0
"""Another attempt may help, after the pause of the back-off."""
BUSY_SECONDS = 5.0
"""The pause after a limit on requests per second."""
QUOTA_SECONDS = 60.0
"""The pause after a quota. Quotas of Firebase are counted by the minute, or longer."""

PAUSE_SECONDS: Mapping[str, float | None] = {
    # Limits. Their status is 400 or 403 in Identity Toolkit, and 429 in most Google APIs.
    "QUOTA_EXCEEDED": QUOTA_SECONDS,
    "TOO_MANY_ATTEMPTS_TRY_LATER": QUOTA_SECONDS,
    "RESET_PASSWORD_EXCEED_LIMIT": QUOTA_SECONDS,
    "RATE_LIMIT_EXCEEDED": BUSY_SECONDS,
    "RESOURCE_QUOTA_EXCEEDED": QUOTA_SECONDS,
    "rateLimitExceeded": BUSY_SECONDS,
    "userRateLimitExceeded": BUSY_SECONDS,
    "servingLimitExceeded": BUSY_SECONDS,
    "concurrentLimitExceeded": BUSY_SECONDS,
    "limitExceeded": QUOTA_SECONDS,
    "quotaExceeded": QUOTA_SECONDS,
    "dailyLimitExceeded": QUOTA_SECONDS,
    "variableTermLimitExceeded": QUOTA_SECONDS,
    # The backend failed.
    "INTERNAL_ERROR": AT_ONCE,
    "BACKEND_ERROR": AT_ONCE,
    "backendError": AT_ONCE,
    "internalError": AT_ONCE,
    "SERVICE_UNAVAILABLE": AT_ONCE,
    # Two processes signed in for the first time at once, and both created the identity.
    "DUPLICATE_LOCAL_ID": AT_ONCE,
    # A function that the project has Firebase ask before each sign-in failed or refused. The code does not say which.
    "BLOCKING_FUNCTION_ERROR_RESPONSE": BUSY_SECONDS,
    # google.rpc.Code, the status in the answers of Google APIs
    "RESOURCE_EXHAUSTED": AT_ONCE,
    "UNAVAILABLE": AT_ONCE,
    "ABORTED": AT_ONCE,
    "CANCELLED": AT_ONCE,
    "DEADLINE_EXCEEDED": AT_ONCE,
    "INTERNAL": AT_ONCE,
    "UNKNOWN": AT_ONCE,
    "DATA_LOSS": AT_ONCE,
    "INVALID_ARGUMENT": FINAL,
    "FAILED_PRECONDITION": FINAL,
    "OUT_OF_RANGE": FINAL,
    "UNAUTHENTICATED": FINAL,
    "PERMISSION_DENIED": FINAL,
    "NOT_FOUND": FINAL,
    "ALREADY_EXISTS": FINAL,
    "UNIMPLEMENTED": FINAL,
    # The custom token.
    "INVALID_CUSTOM_TOKEN": FINAL,
    "MISSING_CUSTOM_TOKEN": FINAL,
    "CREDENTIAL_MISMATCH": FINAL,
    "TOKEN_EXPIRED": FINAL,
    "INVALID_CLAIMS": FINAL,
    "CLAIMS_TOO_LARGE": FINAL,
    "FORBIDDEN_CLAIM": FINAL,
    # The identity.
    "USER_DISABLED": FINAL,
    "USER_NOT_FOUND": FINAL,
    "USER_CANCELLED": FINAL,
    "ADMIN_ONLY_OPERATION": FINAL,
    # The project, its tenant and its API key.
    "OPERATION_NOT_ALLOWED": FINAL,
    "CONFIGURATION_NOT_FOUND": FINAL,
    "PROJECT_NOT_FOUND": FINAL,
    "PROJECT_DISABLED": FINAL,
    "BILLING_NOT_ENABLED": FINAL,
    "INSUFFICIENT_PERMISSION": FINAL,
    "INVALID_PROJECT_ID": FINAL,
    "INVALID_TENANT_ID": FINAL,
    "TENANT_ID_MISMATCH": FINAL,
    "UNSUPPORTED_TENANT_OPERATION": FINAL,
    "INVALID_APP_ID": FINAL,
    "API_KEY_INVALID": FINAL,
    "API_KEY_SERVICE_BLOCKED": FINAL,
    "API_KEY_HTTP_REFERRER_BLOCKED": FINAL,
    "API_KEY_IP_ADDRESS_BLOCKED": FINAL,
    "API_KEY_ANDROID_APP_BLOCKED": FINAL,
    "API_KEY_IOS_APP_BLOCKED": FINAL,
    "CONSUMER_INVALID": FINAL,
    "CONSUMER_SUSPENDED": FINAL,
    "BILLING_DISABLED": FINAL,
    "SERVICE_DISABLED": FINAL,
    "accessNotConfigured": FINAL,
    "keyInvalid": FINAL,
    "keyExpired": FINAL,
    "ipRefererBlocked": FINAL,
    "badRequest": FINAL,
    "invalid": FINAL,
    "forbidden": FINAL,
    "notFound": FINAL,
}
"""The seconds to wait at least before another attempt, by the code of the error; `FINAL` if none can help."""

_CODE = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*(?::.*)?", re.DOTALL)
"""Firebase adds a text after some codes: "INVALID_CUSTOM_TOKEN : The custom token format is incorrect."."""


def pause_seconds(response: httpx.Response) -> float | None:
    """Return the seconds to wait at least before another attempt, or None if another attempt cannot help.

    A code of the table that stands for an error that passes decides, wherever it stands in the answer. Otherwise the
    status decides: 408, 429 and 5xx pass.
    """
    pauses = [pause for code in error_codes(response) if (pause := PAUSE_SECONDS.get(code)) is not None]
    if pauses:
        return max(pauses)
    if response.is_server_error or response.status_code in (
        httpx.codes.REQUEST_TIMEOUT,
        httpx.codes.TOO_MANY_REQUESTS,
    ):
        return AT_ONCE
    return FINAL


def error_codes(response: httpx.Response) -> Iterator[str]:
    """Return the codes in an error answer of a Google API: in its message, its status and its reasons."""
    error = json_member(response, "error")
    if not isinstance(error, dict):
        return
    entries: list[object] = [{"reason": error.get("status")}]
    for name in ("errors", "details"):
        if isinstance(found := error.get(name), list):
            entries += found
    if isinstance(message := error.get("message"), str) and (code := _CODE.fullmatch(message)):
        yield code[1]
    for entry in entries:
        if isinstance(entry, dict) and isinstance(reason := entry.get("reason"), str):
            yield reason


def json_member(response: httpx.Response, *path: str) -> object:
    """Return the value at `path` in the JSON of an answer, or None if there is no such value or no JSON."""
    try:
        value = response.json()
        for name in path:
            value = value[name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return value
