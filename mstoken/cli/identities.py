"""The Firebase identities of services: their state, and disabling and enabling them."""

import time
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from firebase_admin import auth

from mstoken.admin import AdminApp
from mstoken.callee.status import LARGEST_LOOK_UP
from mstoken.claims import service_uid
from mstoken.settings import Settings
from mstoken.wire import CLOCK_SKEW_SECONDS

IdentityState: TypeAlias = Literal["enabled", "disabled", "absent", "unknown"]
"""`absent`: Firebase has no such user, because the service has never signed in and was never disabled.
`unknown`: Firebase did not answer.
"""


class Identities:
    """The service identities of a Firebase project. Every method may raise errors of firebase-admin and google-auth."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        """`clock` returns seconds since the epoch.

        Raise `SettingsError` if the environment and `settings` name different emulators.
        """
        self._app = AdminApp(settings)
        self._clock = clock
        self.project_id = settings.project_id

    def states(self, services: Sequence[str]) -> dict[str, IdentityState]:
        """Return the state of each service's identity."""
        states: dict[str, IdentityState] = dict.fromkeys(services, "absent")
        uids = {service_uid(service): service for service in services}
        identifiers = [auth.UidIdentifier(uid) for uid in uids]
        for start in range(0, len(identifiers), LARGEST_LOOK_UP):
            answer = auth.get_users(identifiers[start : start + LARGEST_LOOK_UP], self._app.get())
            for user in answer.users:
                states[uids[user.uid]] = "disabled" if user.disabled else "enabled"
        return states

    def disable(self, service: str) -> bool:
        """Disable an identity and revoke its tokens. Return False if Firebase has no such user."""
        return self._update(service, disabled=True, valid_since=int(self._clock()))

    def enable(self, service: str) -> bool:
        """Enable an identity, and revoke everything that was minted before. Return False if Firebase has no such user.

        A thief may have collected custom tokens while the identity was disabled. The clock of their signer may be ahead
        of this one, so tokens of the next 5 s are revoked too. The token service issues none until they are over.
        """
        return self._update(service, disabled=False, valid_since=int(self._clock()) + CLOCK_SKEW_SECONDS)

    def create_disabled(self, service: str) -> None:
        """Create a disabled identity for a service that has never signed in, so that it cannot."""
        try:
            auth.create_user(uid=service_uid(service), disabled=True, app=self._app.get())
        except auth.UidAlreadyExistsError:  # The service has just signed in for the first time.
            self.disable(service)

    def _update(self, service: str, *, disabled: bool, valid_since: int) -> bool:
        """Change both in one request, so that the identity is never enabled with its old tokens."""
        try:
            auth.update_user(service_uid(service), disabled=disabled, valid_since=valid_since, app=self._app.get())
        except auth.UserNotFoundError:
            return False
        return True
