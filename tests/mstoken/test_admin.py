"""The apps of firebase-admin: one for each object that uses it, in each process."""

import gc
import subprocess
import sys
import threading
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent

import firebase_admin
import pytest
from firebase_admin import auth

from mstoken.admin import AdminApp
from mstoken.errors import SettingsError
from mstoken.settings import Settings
from tests.mstoken.test_settings import environment

PROJECT = "demo-admin"


def an_app() -> AdminApp:
    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"):
        return AdminApp(Settings(project_id=PROJECT))


def apps_of_this_project() -> list[firebase_admin.App]:
    """Return the apps that firebase-admin knows."""
    return [app for app in firebase_admin._apps.values() if app.options.get("projectId") == PROJECT]


def test_each_owner_has_an_app_of_its_own() -> None:
    """The app is made at its first use and stays the same. Its requests time out after 5 s."""
    one, other = an_app(), an_app()
    before = one.peek()
    assert before is None
    app = one.get()
    assert [one.get(), one.peek()] == [app, app]
    assert other.get() != app
    assert app.project_id == PROJECT
    assert app.options.get("httpTimeout") == 5


def test_the_default_app_belongs_to_the_application() -> None:
    """The library neither makes the default app of firebase-admin nor uses or closes one that is there."""
    admin = an_app()
    admin.get()
    with pytest.raises(ValueError, match="The default Firebase app does not exist"):
        firebase_admin.get_app()
    default = firebase_admin.initialize_app(options={"projectId": PROJECT})
    assert an_app().get() is not default
    admin.close()
    assert firebase_admin.get_app() is default
    firebase_admin.delete_app(default)


def test_a_closed_app_is_deleted_and_made_again_when_needed() -> None:
    """Its owner may be opened again. Closing an app that was never made, or deleted elsewhere, is no error."""
    admin = an_app()
    admin.close()
    first = admin.get()
    admin.close()
    assert first not in apps_of_this_project()
    second = admin.get()
    assert second in apps_of_this_project()
    firebase_admin.delete_app(second)
    admin.close()


def test_an_app_ends_with_its_owner() -> None:
    """An owner that is dropped without being closed leaves no app behind."""
    admin = an_app()
    gone, app = weakref.ref(admin), admin.get()
    del admin
    gc.collect()
    assert gone() is None
    assert app not in apps_of_this_project()


def test_an_app_that_cannot_be_prepared_is_deleted() -> None:
    """The error reaches the owner, and the next use tries again."""
    attempts: list[firebase_admin.App] = []

    def prepare(app: firebase_admin.App) -> None:
        attempts.append(app)
        if len(attempts) == 1:
            raise SettingsError("no credentials")

    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"):
        admin = AdminApp(Settings(project_id=PROJECT), prepare)
    with pytest.raises(SettingsError, match="no credentials"):
        admin.get()
    assert attempts[0] not in apps_of_this_project()
    assert admin.get() is attempts[1]


class EmptyEmulator(BaseHTTPRequestHandler):
    """An Auth emulator without any user."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


def test_the_emulator_is_asked_without_a_proxy() -> None:
    """A proxy does not reach this machine. Its variables are often set, and NO_PROXY is not."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyEmulator) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        nowhere = dict.fromkeys(["http_proxy", "HTTP_PROXY", "ALL_PROXY"], "http://127.0.0.1:9")
        with environment(FIREBASE_AUTH_EMULATOR_HOST=host, NO_PROXY="", no_proxy="", **nowhere):
            admin = AdminApp(Settings(project_id=PROJECT))
            assert auth.get_users([auth.UidIdentifier("svc:billing")], admin.get()).users == []
            admin.close()
        server.shutdown()


def test_another_emulator_in_the_environment_is_an_error() -> None:
    """firebase-admin reads the environment: with the emulator's variable set, it would not verify signatures."""
    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"), pytest.raises(SettingsError):
        AdminApp(Settings(project_id="real-shop", emulator_host=None))


def in_a_process(script: str) -> str:
    """Return what `script` prints in an interpreter of its own, with the settings of an emulator."""
    root = Path(__file__).parents[2]
    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"):
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", dedent(script)]
        ended = subprocess.run(command, cwd=root, timeout=60, capture_output=True, text=True)
    assert ended.stderr == ""
    return ended.stdout


@pytest.mark.process
def test_a_forked_child_makes_an_app_of_its_own() -> None:
    """Parent and child share no connection. The child does not delete the app of its parent when it ends."""
    script = """
        import os
        from mstoken import Settings
        from mstoken.admin import AdminApp

        admin = AdminApp(Settings(project_id="demo-admin"))
        app = admin.get()
        if not (child := os.fork()):
            own = admin.get()
            shares_a_client = own._services["_auth"] is app._services["_auth"]
            admin.close()
            print(own is not app, own.name != app.name, not shares_a_client, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(admin.get() is app)
        """
    assert in_a_process(script) == "True True True\nTrue\n"


@pytest.mark.process
def test_a_fork_while_another_thread_holds_a_lock_of_firebase_admin() -> None:
    """The child does not wait for a thread that only its parent has."""
    script = """
        import os, signal, threading
        import firebase_admin
        from mstoken import Settings
        from mstoken.admin import AdminApp

        admin = AdminApp(Settings(project_id="demo-admin"))
        held, done = threading.Event(), threading.Event()

        def hold():
            with firebase_admin._apps_lock:
                held.set()
                done.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        if not (child := os.fork()):
            signal.alarm(20)
            admin.get()
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        done.set()
        thread.join()
        """
    assert in_a_process(script) == "0\n"
