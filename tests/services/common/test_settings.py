"""services/common/settings.py"""

from typing import Any

import pytest

from mstoken.errors import SettingsError
from services.billing.settings import BillingSettings
from services.common.settings import ServiceSettings


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service reads DATABASE_URL when its settings are made."""
    monkeypatch.setenv("DATABASE_URL", "sqlite:///elsewhere.db")
    assert ServiceSettings().database_url == "sqlite:///elsewhere.db"


def test_an_invalid_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error about an invalid environment variable names the variable, and does not contain its value."""
    monkeypatch.setenv("USER_URL", "hunter2@somewhere")
    with pytest.raises(SettingsError, match="USER_URL") as caught:
        BillingSettings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("database_url", "nowhere", "it must be a URL such as sqlite"),
        ("database_url", "mysql+aiomysql://root:hunter2@db/shop", "it must be a URL such as sqlite"),
        ("product_url", "127.0.0.1:8002", "it must be an http or https URL, such as https://product.example.com"),
        ("delivery_queue", "de/liver", "it must be the name of a function, or locations/"),
        ("delivery_patience_seconds", "0", "greater than or equal to 1"),
    ],
)
def test_the_error_says_what_was_expected(field: str, value: str, expected: str) -> None:
    """The error about a setting names it, says what was expected, and leaves out the value, which may be a secret."""
    values: dict[str, Any] = {field: value}
    with pytest.raises(SettingsError, match=field.upper()) as caught:
        BillingSettings(**values)
    assert f"{field.upper()} is not valid: " in str(caught.value)
    assert expected in str(caught.value)
    assert value not in str(caught.value)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compose file sets an empty variable for `${DATABASE_URL:-}`. White space around a value does not count."""
    monkeypatch.setenv("DATABASE_URL", " ")
    with pytest.raises(SettingsError, match="DATABASE_URL is not set"):
        ServiceSettings()
    monkeypatch.setenv("DATABASE_URL", "sqlite:///elsewhere.db\n")
    assert ServiceSettings().database_url == "sqlite:///elsewhere.db"


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that is required and not set is named."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(SettingsError, match="DATABASE_URL is not set, and it is required"):
        ServiceSettings()
