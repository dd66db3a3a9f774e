"""The core of the library is light: a process that only calls needs no firebase-admin and no web framework."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import requires

import pytest

from mstoken.extras import MODULES

MAX_PACKAGES = 22
CALL = """
import json, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import mstoken
after_import = sorted(sys.modules)
settings = mstoken.Settings(project_id="shop-7f3a2", api_key="key", token_service_url="https://tokens.example")
identity = mstoken.ServiceIdentity("billing", settings).prepare()
try:
    identity.token_sync("product")
except Exception as error:
    outcome = str(error)
errors = []
for use in (
    lambda: mstoken.TokenVerifier,
    lambda: mstoken.ServiceIdentity("billing", mstoken.Settings(project_id="shop-7f3a2", api_key="key")).prepare(),
    lambda: __import__("mstoken.testing").testing.FakeFirebase,
):
    try:
        use()
    except ImportError as error:
        errors.append(f"{{type(error).__name__}}: {{error}}")
print(json.dumps([after_import, outcome, errors]))
"""
"""A process in which only the core is installed."""


def packages(name: str = "mstoken") -> set[str]:
    """Return the packages that an installation of the core brings, with itself: without extras, for this Python."""
    found: set[str] = set()
    waiting = [(name, "")]
    while waiting:
        package, _ = waiting.pop()
        if package in found:
            continue
        found.add(package)
        for requirement in requires(package) or []:
            specifier, _, marker = requirement.partition(";")
            if "extra ==" in marker or "sys_platform == 'win32'" in marker or "python_version <" in marker:
                continue
            match = re.match(r"[A-Za-z0-9._-]+", specifier)
            assert match is not None
            waiting.append((re.sub(r"[-_.]+", "-", match[0]).lower(), ""))
    return found


def test_the_core_brings_few_packages() -> None:
    """There are at most 22, and firebase-admin is not among them."""
    brought = packages()
    assert len(brought) <= MAX_PACKAGES, sorted(brought)
    assert brought & {"firebase-admin", "requests", "fastapi", "grpcio"} == set()
    assert {"httpx", "cryptography", "pydantic-settings"} <= brought


@pytest.mark.process
def test_a_process_that_only_calls() -> None:
    """It works with the core alone. What needs an extra says which, in one sentence."""
    missing = sorted({module for modules in MODULES.values() for module in modules} | {"requests"})
    script = CALL.format(missing=missing)
    # The metadata server is asked with the core alone too. Nothing listens on this port.
    env = os.environ | {"GCE_METADATA_HOST": "127.0.0.1:9"}
    env.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60)
    after_import, outcome, errors = json.loads(done.stdout)
    assert "no metadata server answers at 127.0.0.1:9" in outcome
    assert {"httpx", "pydantic", "google.auth", "asyncio"} & set(after_import) == set()
    assert len(errors) == 3
    for error, extra in zip(errors, ["admin", "admin", "testing"], strict=True):
        assert error.startswith("MissingExtra: ")
        assert error.endswith(f"needs the extra {extra}. Install it: pip install 'mstoken[{extra}]'")
