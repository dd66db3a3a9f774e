"""Accounts at Firebase Auth, through its REST API and firebase-admin, with errors of our own.

Sources: Firebase Auth REST API ("Sign up with email / password", "Sign in with email / password", "Exchange a refresh
token for an ID token"); Firebase, "Manage User Sessions".
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

import google.auth.exceptions
import httpx
from firebase_admin import auth, exceptions
from typing_extensions import override

from mstoken import Settings
from mstoken.admin import AdminApp
from mstoken.blocking import call_blocking
from mstoken.client_pool import ClientPool
from mstoken.problem import Problem
from mstoken.strict_jwt import unverified
from mstoken.wire import API_KEY_HEADER
from services.common.breaker import CallOutcome, CircuitBreaker, CircuitOpen
from services.common.deadlines import within
from services.user.errors import (
    AccountRefused,
    CredentialsInvalid,
    EmailTaken,
    FirebaseUnavailable,
    RefreshTokenInvalid,
    TooManyAttempts,
    UserNotFound,
)

ANSWER_SECONDS = 5.0
"""Maximum time for an answer of Firebase, in seconds. The time-out of httpx begins again with each piece of it."""
POOL_SECONDS = 1.0
"""How long a request waits for a free connection, in seconds."""
TIMEOUT = httpx.Timeout(ANSWER_SECONDS, connect=3.0, pool=POOL_SECONDS)
MAX_CONNECTIONS = 64
"""Fewer connections than a process works on requests (`services.common.load`): while Firebase does not answer, log-ins
must leave room for the requests that need no Firebase."""
MAX_IDLE_CONNECTIONS = 20
IDLE_SECONDS = 5.0
"""How long an idle connection is used again, in seconds."""
LIMITS = httpx.Limits(max_connections=1, keepalive_expiry=IDLE_SECONDS)


@dataclass(frozen=True, slots=True)
class Session:
    """The result of a log-in. The ID token expires after `expires_in` seconds.

    `auth_time` is the time of the log-in, in seconds since the epoch.
    """

    uid: str
    id_token: str
    refresh_token: str
    expires_in: int
    auth_time: int
    display_name: str | None


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """Whether an account is disabled. Log-ins before `valid_since`, in seconds since the epoch, are revoked."""

    disabled: bool
    valid_since: int


class Sessions(Protocol):
    """The sessions of accounts. Both calls raise `UserNotFound` and `FirebaseUnavailable`.

    `AdminSessions` are the real ones. Tests have another implementation, a Firebase project in memory.
    """

    async def status(self, uid: str) -> AccountStatus:
        """Return the present status of the account."""
        ...

    async def end(self, uid: str, valid_since: int) -> None:
        """End every session of the account that began before `valid_since`, in seconds since the epoch."""
        ...


_TOO_SLOW = (httpx.TimeoutException, TimeoutError, exceptions.DeadlineExceededError)
_NO_ANSWER = (httpx.TransportError, TimeoutError, exceptions.FirebaseError, google.auth.exceptions.GoogleAuthError)
_ERRORS: Mapping[str, Callable[[], Problem]] = {
    "EMAIL_EXISTS": EmailTaken,
    "EMAIL_NOT_FOUND": CredentialsInvalid,
    "INVALID_PASSWORD": CredentialsInvalid,
    "INVALID_LOGIN_CREDENTIALS": CredentialsInvalid,
    "USER_DISABLED": CredentialsInvalid,
    "INVALID_EMAIL": partial(AccountRefused, "Firebase does not accept this e-mail address."),
    "WEAK_PASSWORD": partial(AccountRefused, "The password is too weak."),
    "PASSWORD_DOES_NOT_MEET_REQUIREMENTS": partial(AccountRefused, "The password does not meet the project's policy."),
    "TOO_MANY_ATTEMPTS_TRY_LATER": TooManyAttempts,
}
_REFRESH_ERRORS: Mapping[str, Callable[[], Problem]] = {
    "TOKEN_EXPIRED": RefreshTokenInvalid,
    "INVALID_REFRESH_TOKEN": RefreshTokenInvalid,
    "USER_DISABLED": RefreshTokenInvalid,
    "USER_NOT_FOUND": RefreshTokenInvalid,
}


class IdentityToolkit:
    """Firebase Auth's REST API, with the project's API key. Every call raises `FirebaseUnavailable`.

    Use it with `async with`, which closes the connections at the end.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """`transport` replaces the network. An answer is waited for `answer_seconds`.

        Raises `SettingsError` without an API key.
        """
        self._accounts_url = settings.identity_toolkit_url
        self._token_url = settings.secure_token_url
        self._headers = {API_KEY_HEADER: settings.web_api_key}
        verify = httpx.create_ssl_context()  # Read once, for all connections.
        # Not one client for all: httpcore does not free each connection whose request is cancelled (`ClientPool`).
        self._clients = ClientPool(
            lambda: httpx.AsyncClient(timeout=TIMEOUT, limits=LIMITS, transport=transport, verify=verify),
            max_clients=MAX_CONNECTIONS,
            max_idle=MAX_IDLE_CONNECTIONS,
            idle_seconds=IDLE_SECONDS,
            wait_seconds=POOL_SECONDS,
        )
        self._answer_seconds = answer_seconds
        self._breaker = CircuitBreaker("Firebase's REST API")

    async def sign_up(self, email: str, password: str, display_name: str | None) -> Session:
        """Create an account and log in. Raises `EmailTaken`, `AccountRefused` and `TooManyAttempts`."""
        body = {"email": email, "password": password, "returnSecureToken": True}
        if display_name is not None:
            body["displayName"] = display_name
        return _session(await self._post(f"{self._accounts_url}/accounts:signUp", _ERRORS, json=body))

    async def log_in(self, email: str, password: str) -> Session:
        """Log in. Raises `CredentialsInvalid` and `TooManyAttempts`."""
        body = {"email": email, "password": password, "returnSecureToken": True}
        return _session(await self._post(f"{self._accounts_url}/accounts:signInWithPassword", _ERRORS, json=body))

    async def refresh(self, refresh_token: str) -> Session:
        """Return the session of `refresh_token` with a new ID token. Raises `RefreshTokenInvalid`."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        answer = await self._post(f"{self._token_url}/token", _REFRESH_ERRORS, data=form)
        names = {"localId": "user_id", "idToken": "id_token", "refreshToken": "refresh_token"}
        return _session({ours: answer.get(theirs) for ours, theirs in (names | {"expiresIn": "expires_in"}).items()})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._clients.aclose()

    async def _post(self, url: str, errors: Mapping[str, Callable[[], Problem]], **body: Any) -> dict[str, Any]:
        with _asking(self._breaker) as outcome:
            async with within(self._answer_seconds), self._clients.client() as client:
                response = await client.post(url, headers=self._headers, **body)
            outcome.succeeded()
        try:
            answer = response.json()
        except ValueError as error:
            raise FirebaseUnavailable from error
        if not isinstance(answer, dict):
            raise FirebaseUnavailable
        if response.is_success:
            return answer
        raise errors.get(_error_code(answer), FirebaseUnavailable)()


class AdminSessions(Sessions):
    """The sessions at Firebase, through firebase-admin. It blocks, so each call runs in a thread."""

    def __init__(self, settings: Settings, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """An answer is waited for `answer_seconds`."""
        self._app = AdminApp(settings)
        self._answer_seconds = answer_seconds
        self._breaker = CircuitBreaker("Firebase's accounts")

    @override
    async def status(self, uid: str) -> AccountStatus:
        user = await self._ask(auth.get_user, uid)
        return AccountStatus(user.disabled, int(user.tokens_valid_after_timestamp or 0) // 1000)

    @override
    async def end(self, uid: str, valid_since: int) -> None:
        await self._ask(auth.update_user, uid, valid_since=valid_since)

    async def _ask(self, call: Any, uid: str, **values: Any) -> Any:
        with _asking(self._breaker) as outcome:
            try:
                async with within(self._answer_seconds):
                    answer = await call_blocking(lambda: call(uid, app=self._app.get(), **values))
            except auth.UserNotFoundError as error:
                outcome.succeeded()
                raise UserNotFound from error
            outcome.succeeded()
            return answer


@contextmanager
def _asking(breaker: CircuitBreaker) -> Iterator[CallOutcome]:
    """Raise `FirebaseUnavailable` if Firebase gives the block no answer, and at once after several that took too long.

    So log-ins during an outage do not all wait. An error that comes quickly needs no such protection.
    """
    try:
        with breaker.call() as outcome:
            try:
                yield outcome
            except httpx.PoolTimeout:
                raise
            except _TOO_SLOW:
                outcome.failed()
                raise
    except (CircuitOpen, *_NO_ANSWER) as error:
        raise FirebaseUnavailable from error


def _error_code(answer: Mapping[str, Any]) -> str:
    """Return the name in an error such as `{"error": {"message": "WEAK_PASSWORD : 6 characters at least"}}`."""
    error = answer.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    return message.partition(":")[0].strip() if isinstance(message, str) else ""


def _session(answer: Mapping[str, Any]) -> Session:
    """Return the session in an answer.

    Raises `FirebaseUnavailable` if a part is missing, which is also so for an account with a second factor.
    """
    try:
        # It needs no verification, because it comes directly from Firebase.
        claims = unverified(answer["idToken"]).payload
        return Session(
            uid=str(answer["localId"]),
            id_token=str(answer["idToken"]),
            refresh_token=str(answer["refreshToken"]),
            expires_in=int(answer["expiresIn"]),
            auth_time=int(claims["auth_time"]),
            display_name=claims.get("name") or None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FirebaseUnavailable from error
