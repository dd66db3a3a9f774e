"""The Firebase identities of services: whether they are enabled, and switching them."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from firebase_admin import auth

from mstoken.admin import admin_app
from mstoken.callee.status import LARGEST_LOOK_UP
from mstoken.claims import service_uid
from mstoken.settings import Settings

State: TypeAlias = Literal["enabled", "disabled", "absent", "unknown"]
"""An identity is absent that has never signed in, nor been disabled."""
WORDS: Mapping[State, str] = {"absent": "not yet signed in"}


class Identities:
    """The service identities of a Firebase project. Every method raises errors of firebase-admin and google-auth."""

    def __init__(self, settings: Settings) -> None:
        """Raises `SettingsError` where the environment and the settings name different emulators."""
        self._app = admin_app(settings)
        self.project_id = settings.project_id

    def states(self, services: Sequence[str]) -> dict[str, State]:
        """The state of each service's identity."""
        found: dict[str, State] = dict.fromkeys(services, "absent")
        uids = {service_uid(service): service for service in services}
        identifiers = [auth.UidIdentifier(uid) for uid in uids]
        for start in range(0, len(identifiers), LARGEST_LOOK_UP):
            answer = auth.get_users(identifiers[start : start + LARGEST_LOOK_UP], self._app)
            for user in answer.users:
                found[uids[user.uid]] = "disabled" if user.disabled else "enabled"
        return found

    def switch(self, service: str, *, disabled: bool) -> bool:
        """Disables or enables an identity, as often as one likes; False where there is none.

        What it signed in for before it was disabled stays worthless when it is enabled again: it may have been stolen.
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
        """Makes an identity that has never signed in, and cannot."""
        try:
            auth.create_user(uid=service_uid(service), disabled=True, app=self._app)
        except auth.UidAlreadyExistsError:  # It has signed in at this very moment.
            self.switch(service, disabled=True)
