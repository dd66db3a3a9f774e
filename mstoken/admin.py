"""The firebase-admin app that both wings use."""

import threading

import firebase_admin

from mstoken.settings import Settings

HTTP_TIMEOUT_SECONDS = 5

_creating = threading.Lock()


def admin_app(settings: Settings) -> firebase_admin.App:
    """The process's firebase-admin app for the project of these settings, made at the first call.

    Credentials are Application Default Credentials; the emulator needs none. Every request that firebase-admin makes
    has a deadline of 5 s (its own default is 120 s, and firebase-admin#711 tells what that is like).

    Raises `SettingsError` where the environment and the settings name different emulators.
    """
    settings.check_process_environment()
    name = f"mstoken:{settings.project_id}:{settings.emulator_host or 'production'}"
    with _creating:
        try:
            return firebase_admin.get_app(name)
        except ValueError:
            options = {"projectId": settings.project_id, "httpTimeout": HTTP_TIMEOUT_SECONDS}
            return firebase_admin.initialize_app(options=options, name=name)
