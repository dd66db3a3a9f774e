"""The command line as a test runs it: in an empty folder, with nothing in the environment but what the test says."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import httpx
import pytest
from typer.testing import CliRunner, Result

from mstoken.cli.app import app

READ = ("MSTOKEN_", "GOOGLE_", "GCLOUD_", "GCE_METADATA_", "FIREBASE_", "FUNCTIONS_EMULATOR", "K_SERVICE")
"""Beginnings of the variables that the command line reads, or libraries do for it."""
BILLING = "billing@demo-shop.iam.gserviceaccount.com"
SHOP = f"""\
# Who may call whom.

[services.product]
calls = []

# Billing asks for prices.
[services.billing]
service_accounts = ["{BILLING}"]  # on Cloud Run
calls = ["product"]

# The warehouse has a computer of its own.
[services.warehouse]
"""


class Run(Protocol):
    """Runs `mstoken` with these arguments, in an environment that has only these variables."""

    def __call__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        transport: httpx.BaseTransport | None = None,
    ) -> Result: ...


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, in an empty folder; `transport` is the network to `doctor`."""
    monkeypatch.chdir(tmp_path)

    def invoke(
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        transport: httpx.BaseTransport | None = None,
    ) -> Result:
        nothing = dict.fromkeys((name for name in os.environ if name.startswith(READ)), None)
        result = CliRunner(env={**nothing, **(env or {})}).invoke(
            app, arguments, input=stdin, obj=transport, catch_exceptions=False, prog_name="mstoken"
        )
        assert "Traceback" not in result.output
        return result

    return invoke


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The policy file of a shop, where it is found without being named."""
    path = tmp_path / "policy.toml"
    path.write_text(SHOP)
    return path
