"""firebase-admin's apps: each object that uses firebase-admin has an app of its own, in each process."""

import contextlib
import itertools
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import NamedTuple

import firebase_admin
from firebase_admin import auth

from mstoken.admin_credentials import DefaultCredentials
from mstoken.per_process import PerProcess
from mstoken.settings import AUTH_EMULATOR_VARIABLE, Settings

HTTP_TIMEOUT_SECONDS = 5

_numbers = itertools.count(1)


class AdminApp:
    """The firebase-admin app of one owner, which is made at its first use, and again in a forked child.

    Nothing else in the process uses it: neither another verifier, whose certificates may be others, nor the
    application, whose default app stays as it is. It uses Application Default Credentials; the emulator needs no
    credentials. Its requests time out after 5 s, because the default of 120 s lets calls hang (firebase-admin#711).

    Keep this object for as long as its app is used: the app is deleted together with it.
    """

    def __init__(self, settings: Settings, prepare: Callable[[firebase_admin.App], object] | None = None) -> None:
        """`prepare` is called with each new app before its first use. What it raises, `get` raises.

        Raise `SettingsError` if the environment and the settings name different emulators.
        """
        settings.check_process_environment()
        self._options = {"projectId": settings.project_id, "httpTimeout": HTTP_TIMEOUT_SECONDS}
        self._prepare = prepare
        self._made = PerProcess(self._make)

    def get(self) -> firebase_admin.App:
        """Return the app of this process. Any number of threads may ask for it.

        The first call may read files, and ask the metadata server.
        """
        return self._made.get().app

    def peek(self) -> firebase_admin.App | None:
        """Return the app of this process, or None if it has not been made."""
        made = self._made.peek()
        return made.app if made is not None else None

    def close(self) -> None:
        """Close the app's connections to Google. The next `get` makes a new app."""
        made = self._made.pop()
        if made is not None:
            made.delete()

    def _make(self) -> "_OwnApp":
        # firebase-admin knows its apps by their names.
        name = f"mstoken:{self._options['projectId']}:{next(_numbers)}"
        app = firebase_admin.initialize_app(DefaultCredentials(), options=self._options, name=name)
        try:
            if os.environ.get(AUTH_EMULATOR_VARIABLE):
                _use_no_proxy(app)
            if self._prepare is not None:
                self._prepare(app)
        except BaseException:
            firebase_admin.delete_app(app)
            raise
        delete = weakref.finalize(self, _delete, app, os.getpid())
        delete.atexit = False
        return _OwnApp(app, delete)


class _OwnApp(NamedTuple):
    """An app, and what deletes it: `AdminApp.close`, or the end of the `AdminApp`."""

    app: firebase_admin.App
    delete: Callable[[], object]


def _delete(app: firebase_admin.App, process_id: int) -> None:
    """Delete an app that this process has made. The app of a parent process has the parent's connections."""
    if os.getpid() == process_id:
        with contextlib.suppress(ValueError):  # The application has deleted all apps.
            firebase_admin.delete_app(app)


def _use_no_proxy(app: firebase_admin.App) -> None:
    """Ask the emulator directly, whatever HTTP_PROXY says: a proxy does not reach this machine.

    firebase-admin keeps its session on a private attribute and offers no other way. A test fails if a release moves it.
    """
    with contextlib.suppress(AttributeError):
        auth._get_client(app)._user_manager.http_client.session.trust_env = False


def _begin_in_child() -> None:
    """Give firebase-admin a new lock: another thread of the parent may have held the old one during the fork."""
    firebase_admin._apps_lock = threading.RLock()


if sys.platform != "win32":  # Windows cannot fork.
    os.register_at_fork(after_in_child=_begin_in_child)
