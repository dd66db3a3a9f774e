"""The Firebase identities of services: their state, and disabling and enabling them."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from firebase_admin import auth

from mstoken.admin import admin_app
from mstoken.callee.status import LARGEST_LOOK_UP
from mstoken.claims import service_uid
from mstoken.settings import Settings

IdentityState: TypeAlias = Literal["enabled", "disabled", "absent", "unknown"]
"""`absent`: Firebase has no such user, because the service has never signed in and was never disabled.
`unknown`: Firebase did not answer.
"""


class Identities:
    """The service identities of a Firebase project. Every method may raise errors of firebase-admin and google-auth."""

    def __init__(self, settings: Settings) -> None:
        """Raise `SettingsError` if the environment and `settings` name different emulators."""
        self._app = admin_app(settings)
        self.project_id = settings.project_id

    def states(self, services: Sequence[str]) -> dict[str, IdentityState]:
        """Return the state of each service's identity."""
        states: dict[str, IdentityState] = dict.fromkeys(services, "absent")
        uids = {service_uid(service): service for service in services}
        identifiers = [auth.UidIdentifier(uid) for uid in uids]
        for start in range(0, len(identifiers), LARGEST_LOOK_UP):
            answer = auth.get_users(identifiers[start : start + LARGEST_LOOK_UP], self._app)
            for user in answer.users:
                states[uids[user.uid]] = "disabled" if user.disabled else "enabled"
        return states

    def switch(self, service: str, *, disabled: bool) -> bool:
        """Disable or enable an identity. Return False if Firebase has no such user.

        Disabling also revokes its sessions. Therefore tokens from before stay invalid when it is enabled again: they
        may have been stolen.
        """
        uid = service_uid(service)
        try:
            auth.update_user(uid, disabled=disabled, app=self._app)
            if disabled:
                auth.revoke_refresh_tokens(uid, self._app)
        except auth.UserNotFoundError:
            return False
        return True

    def create_disabled(self, service: str) -> None:
        """Create a disabled identity for a service that has never signed in, so that it cannot."""
        try:
            auth.create_user(uid=service_uid(service), disabled=True, app=self._app)
        except auth.UidAlreadyExistsError:  # The service has just signed in for the first time.
            self.switch(service, disabled=True)
