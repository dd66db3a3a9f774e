"""The firebase-admin app of a process."""

import pytest

from mstoken.admin import admin_app
from mstoken.errors import SettingsError
from mstoken.settings import Settings
from tests.mstoken.test_settings import environment


def test_one_app_for_a_project() -> None:
    """Both wings get the same app, with a short deadline for its requests."""
    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"):
        settings = Settings(project_id="demo-admin")
        app = admin_app(settings)
        assert app is admin_app(settings)
        assert app is not admin_app(Settings(project_id="demo-other"))
    assert app.project_id == "demo-admin"
    assert app.options.get("httpTimeout") == 5


def test_no_app_where_environment_and_settings_differ() -> None:
    """firebase-admin goes by the environment: production settings with the variable set would verify nothing."""
    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"), pytest.raises(SettingsError):
        admin_app(Settings(project_id="real-shop", emulator_host=None))
