"""The lab of a shop that does not run."""

from pathlib import Path

import pytest

from tests.emulator.lab.logged_shop import LoggedShop


@pytest.fixture
def shop(tmp_path: Path) -> LoggedShop:
    """A shop whose logs the test writes."""
    return LoggedShop(tmp_path)
