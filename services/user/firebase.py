"""Accounts at Firebase Auth, through its REST API and firebase-admin, with errors of our own.

Sources: Firebase Auth REST API ("Sign up with email / password", "Sign in with email / password", "Exchange a refresh
token for an ID token"); Firebase, "Manage User Sessions".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import google.auth.exceptions
import httpx
from firebase_admin import auth, exceptions
from typing_extensions import override

from mstoken import Settings
from mstoken.admin import AdminApp
from mstoken.blocking import call_blocking
from mstoken.problem import Problem
from mstoken.strict_jwt import unverified
from mstoken.wire import API_KEY_HEADER
from services.user.errors import (
    AccountRefused,
    CredentialsInvalid,
    EmailTaken,
    FirebaseUnavailable,
    RefreshTokenInvalid,
    TooManyAttempts,
    UserNotFound,
)

TIMEOUT = httpx.Timeout(10.0, connect=3.0)


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
    """Firebase Auth's REST API, with the project's API key. Every call raises `FirebaseUnavailable`."""

    def __init__(self, settings: Settings, client: httpx.AsyncClient) -> None:
        """`client` must have time-outs, and is closed by its owner. Raises `SettingsError` without an API key."""
        self._accounts_url = settings.identity_toolkit_url
        self._token_url = settings.secure_token_url
        self._headers = {API_KEY_HEADER: settings.web_api_key}
        self._client = client

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

    async def _post(self, url: str, errors: Mapping[str, Callable[[], Problem]], **body: Any) -> dict[str, Any]:
        try:
            response = await self._client.post(url, headers=self._headers, **body)
            answer = response.json()
        except (httpx.TransportError, ValueError) as error:
            raise FirebaseUnavailable from error
        if not isinstance(answer, dict):
            raise FirebaseUnavailable
        if response.is_success:
            return answer
        raise errors.get(_error_code(answer), FirebaseUnavailable)()


class AdminSessions(Sessions):
    """The sessions at Firebase, through firebase-admin. It blocks, so each call runs in a thread."""

    def __init__(self, settings: Settings) -> None:
        self._app = AdminApp(settings)

    @override
    async def status(self, uid: str) -> AccountStatus:
        user = await self._ask(auth.get_user, uid)
        return AccountStatus(user.disabled, int(user.tokens_valid_after_timestamp or 0) // 1000)

    @override
    async def end(self, uid: str, valid_since: int) -> None:
        await self._ask(auth.update_user, uid, valid_since=valid_since)

    async def _ask(self, call: Any, uid: str, **values: Any) -> Any:
        try:
            return await call_blocking(lambda: call(uid, app=self._app.get(), **values))
        except auth.UserNotFoundError as error:
            raise UserNotFound from error
        except (exceptions.FirebaseError, google.auth.exceptions.GoogleAuthError, TimeoutError) as error:
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
