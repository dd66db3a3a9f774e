"""The firebase-admin app that callers, callees and the token service share."""

import threading

import firebase_admin

from mstoken.per_process import PerProcess
from mstoken.settings import Settings

HTTP_TIMEOUT_SECONDS = 5

_creating = PerProcess(threading.Lock)


def admin_app(settings: Settings) -> firebase_admin.App:
    """Return the firebase-admin app of this process for the project of `settings`. It is made at the first call.

    It uses Application Default Credentials; the emulator needs no credentials. Its requests time out after 5 s,
    because the default of 120 s lets calls hang (firebase-admin#711).

    Raises `SettingsError` if the environment and the settings name different emulators.
    """
    settings.check_process_environment()
    name = f"mstoken:{settings.project_id}:{settings.emulator_host or 'production'}"
    with _creating.get():
        try:
            return firebase_admin.get_app(name)
        except ValueError:
            options = {"projectId": settings.project_id, "httpTimeout": HTTP_TIMEOUT_SECONDS}
            return firebase_admin.initialize_app(options=options, name=name)
