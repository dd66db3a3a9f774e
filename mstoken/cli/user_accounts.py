"""The accounts of users at Firebase: their custom claims, and the end of their sessions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from firebase_admin import auth
from typing_extensions import override

from mstoken.admin import AdminApp
from mstoken.settings import Settings


@dataclass(frozen=True, slots=True)
class UserAccount:
    """An account. `claims` are its custom claims; `last_sign_in` is in seconds since the epoch, 0 if it has none."""

    uid: str
    email: str | None
    claims: Mapping[str, Any]
    last_sign_in: int


class UserAccounts(Protocol):
    """The accounts of a Firebase project. Every method may raise errors of firebase-admin and google-auth."""

    def get(self, uid: str) -> UserAccount | None:
        """Return the account with this uid, or None."""
        ...

    def get_by_email(self, email: str) -> UserAccount | None:
        """Return the account with this e-mail address, or None."""
        ...

    def set_claims(self, uid: str, claims: Mapping[str, Any]) -> None:
        """Replace the custom claims. They are in every ID token that is issued from now on."""
        ...

    def end_sessions(self, uid: str, valid_since: int) -> None:
        """Revoke all sessions that began before `valid_since`, in seconds since the epoch."""
        ...


class AdminUserAccounts(UserAccounts):
    """The accounts, through firebase-admin.

    Sources: Firebase, "Control Access with Custom Claims and Security Rules"; "Manage User Sessions".
    """

    def __init__(self, settings: Settings) -> None:
        """Raise `SettingsError` if the environment and `settings` name different emulators."""
        self._app = AdminApp(settings)

    @override
    def get(self, uid: str) -> UserAccount | None:
        return self._get(auth.get_user, uid)

    @override
    def get_by_email(self, email: str) -> UserAccount | None:
        return self._get(auth.get_user_by_email, email)

    def _get(self, look_up: Callable[..., Any], user: str) -> UserAccount | None:
        try:
            found = look_up(user, self._app.get())
        except auth.UserNotFoundError:
            return None
        last_sign_in = int(found.user_metadata.last_sign_in_timestamp or 0) // 1000
        return UserAccount(found.uid, found.email, found.custom_claims or {}, last_sign_in)

    @override
    def set_claims(self, uid: str, claims: Mapping[str, Any]) -> None:
        auth.set_custom_user_claims(uid, dict(claims) or None, self._app.get())

    @override
    def end_sessions(self, uid: str, valid_since: int) -> None:
        auth.update_user(uid, valid_since=valid_since, app=self._app.get())
