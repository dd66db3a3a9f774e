"""Run the command line in a test: in an empty folder, with no other variables than those of the test."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import httpx
import pytest
from typer.testing import CliRunner, Result

from mstoken.cli.app import app
from mstoken.cli.doctor import Outside

VARIABLE_PREFIXES = (
    "MSTOKEN_",
    "TRUSTED_",
    "UVICORN_",
    "FORWARDED_",
    "GOOGLE_",
    "GCLOUD_",
    "GCE_METADATA_",
    "FIREBASE_",
    "FUNCTIONS_EMULATOR",
    "K_SERVICE",
)
"""Prefixes of the variables that the command line reads, or that libraries read for it."""
BILLING = "billing@demo-shop.iam.gserviceaccount.com"
KEY_ID = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
"""The thumbprint of the key in `SHOP`, which is that of RFC 9449, section 6.1."""
SHOP = f"""\
# Which service may call which.

[services.product]
calls = []

# Billing asks for prices.
[services.billing]
service_accounts = ["{BILLING}"]  # on Cloud Run
calls = ["product"]

# The warehouse has a computer of its own.
[[services.warehouse.keys]]
added = 2026-11-24
[services.warehouse.keys.jwk]
kty = "EC"
crv = "P-256"
x = "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs"
y = "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"
"""


class Run(Protocol):
    """Runs `mstoken` with these arguments, in an environment that has only these variables."""

    def __call__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        transport: httpx.BaseTransport | None = None,
        obj: Outside | None = None,
    ) -> Result: ...


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs the command line in an empty folder. `transport` is the network of `doctor`."""
    monkeypatch.chdir(tmp_path)

    def invoke(
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: str = "",
        transport: httpx.BaseTransport | None = None,
        obj: Outside | None = None,
    ) -> Result:
        unset = dict.fromkeys((name for name in os.environ if name.startswith(VARIABLE_PREFIXES)), None)
        no_gcloud = {"CLOUDSDK_CONFIG": str(tmp_path / "gcloud")}
        result = CliRunner(env={**unset, **no_gcloud, **(env or {})}).invoke(
            app, arguments, input=stdin, obj=obj or transport, catch_exceptions=False, prog_name="mstoken"
        )
        assert "Traceback" not in result.output
        return result

    return invoke


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Write the policy file of a shop to the place where commands look for it, and return its path."""
    path = tmp_path / "policy.toml"
    path.write_text(SHOP)
    return path
