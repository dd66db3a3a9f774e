"""The firebase-admin app that a process shares."""

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
