"""The README's samples do what the README says."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from emulator.run.ports import HOST, Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import ROOT, Stack
from mstoken.settings import AUTH_EMULATOR_VARIABLE, Settings

README = (ROOT / "README.md").read_text()


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A folder with the README's Python samples under the names that the README gives them."""
    named = re.findall(r"\(`(\w+\.py)`\)[^`]*(?:`[^`]*`[^`]*)*?```python\n(.*?)```", README, re.DOTALL)
    for name, text in named:
        (tmp_path / name).write_text(text)
    assert {path.name for path in tmp_path.iterdir()} == {"product.py", "billing.py", "test_product.py"}
    return tmp_path


@pytest.fixture
def environment(emulators: Stack) -> dict[str, str]:
    """The variables that the README says to export."""
    return os.environ | {"GOOGLE_CLOUD_PROJECT": emulators.project, AUTH_EMULATOR_VARIABLE: emulators.auth_host}


@pytest.fixture
def product_url(samples: Path, environment: dict[str, str]) -> Iterator[str]:
    """The callee of the README, served as the README says."""
    port = Ports.shifted(free_offset()).product
    url = f"http://{HOST}:{port}"
    supervisor = Supervisor()
    command = [sys.executable, "-m", "uvicorn", "product:app", "--port", str(port), "--http", "h11"]
    try:
        supervisor.start("product", command, env=environment, cwd=samples, log=samples / "product.log")
        supervisor.wait_until(lambda: _answers(url), "product", 30)
        # A new store of spent ids refuses what may have been issued before its memory began, for about a second.
        supervisor.wait_until(
            lambda: "verifier_unavailable" not in _run_billing(samples, environment, url).stdout, "the store", 30
        )
        yield url
    finally:
        supervisor.stop()


def _run_billing(samples: Path, environment: dict[str, str], product_url: str) -> subprocess.CompletedProcess[str]:
    """Run the caller of the README as the README says."""
    return subprocess.run(
        [sys.executable, "billing.py"],
        cwd=samples,
        env=environment | {"PRODUCT_URL": product_url},
        capture_output=True,
        text=True,
        timeout=60,
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/openapi.json").is_success
    except httpx.TransportError:
        return False


def test_the_caller_reaches_the_callee(samples: Path, environment: dict[str, str], product_url: str) -> None:
    """The ten lines of each side, run as they stand: Billing is let in, and a stranger is not."""
    done = _run_billing(samples, environment, product_url)
    assert done.stdout == "['a teapot, for svc:billing']\n", done.stderr
    assert httpx.get(f"{product_url}/products").json()["code"] == "token_missing"


@pytest.mark.process
def test_the_callee_is_tested_without_any_settings(samples: Path) -> None:
    """Importing the app reads no environment, and the test's own verifier takes the place of the app's."""
    settings = {str(field.validation_alias) for field in Settings.model_fields.values()}
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_product.py"]
    done = subprocess.run(run, cwd=samples, env=environment, capture_output=True, text=True, timeout=60)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_links_lead_somewhere() -> None:
    """Every file that the README links to is there."""
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
