"""The firebase-admin app that a process shares."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from mstoken.admin import admin_app
from mstoken.errors import SettingsError
from mstoken.settings import Settings
from tests.mstoken.test_settings import environment


def test_a_project_has_one_app() -> None:
    """Callers and callees get the same app, whose requests time out after 5 s."""
    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"):
        settings = Settings(project_id="demo-admin")
        app = admin_app(settings)
        assert app is admin_app(settings)
        assert app is not admin_app(Settings(project_id="demo-other"))
    assert app.project_id == "demo-admin"
    assert app.options.get("httpTimeout") == 5


def test_another_emulator_in_the_environment_is_an_error() -> None:
    """firebase-admin reads the environment: with the emulator's variable set, it would not verify signatures."""
    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"), pytest.raises(SettingsError):
        admin_app(Settings(project_id="real-shop", emulator_host=None))


@pytest.mark.process
def test_a_fork_while_another_thread_makes_an_app() -> None:
    """The child does not wait for a lock that a thread of its parent held during the fork."""
    script = """
        import os, signal
        from mstoken import Settings, admin

        with admin._creating.get():
            child = os.fork()
            if not child:
                signal.alarm(20)
                admin.admin_app(Settings(project_id="demo-admin"))
                os._exit(0)
            print(os.waitpid(child, 0)[1])
        """
    root = Path(__file__).parents[2]
    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"):
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", dedent(script)]
        ended = subprocess.run(command, cwd=root, timeout=60, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("0\n", "")
