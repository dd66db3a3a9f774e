"""services/common/settings.py"""

from typing import Any

import pytest

from mstoken.errors import SettingsError
from services.billing.settings import BillingSettings
from services.common.settings import ServiceSettings


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service reads DATABASE_URL when its settings are made."""
    monkeypatch.setenv("DATABASE_URL", "sqlite+aiosqlite:///elsewhere.db")
    assert ServiceSettings().database_url == "sqlite+aiosqlite:///elsewhere.db"


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment has wrong is told by the variable's name, without what was read."""
    monkeypatch.setenv("USER_URL", "hunter2@somewhere")
    with pytest.raises(SettingsError, match="USER_URL") as caught:
        BillingSettings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("database_url", "nowhere"),
        ("database_url", "mysql+aiomysql://root:hunter2@db/shop"),
        ("product_url", "127.0.0.1:8002"),
        ("delivery_queue", "de/liver"),
    ],
)
def test_a_wrong_setting_is_named(field: str, value: str) -> None:
    """A setting that cannot work stops the start with a sentence that names it and repeats no password in it."""
    values: dict[str, Any] = {field: value}
    with pytest.raises(SettingsError, match=field.upper()) as caught:
        BillingSettings(**values)
    assert value not in str(caught.value)
