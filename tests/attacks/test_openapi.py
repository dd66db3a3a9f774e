"""All three OpenAPI documents, run through Schemathesis: what is announced is what happens."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from emulator.run.stack import Stack
from mstoken import ServiceIdentity, Settings
from tests.attacks.forge import Forge

EXAMPLES = 25
RUN_SECONDS = 240
FOR_SERVICES = {
    ("user", "/users/{uid}"): "billing",
    ("product", "/reservations"): "billing",
    ("product", "/reservations/{bill_id}"): "billing",
    ("product", "/reservations/{bill_id}/commit"): "billing",
    ("billing", "/deliveries/{delivery_id}/events"): "delivery",
}
"""Paths that are for a service only, and for which."""


@pytest.fixture
def administrator(forge: Forge, auth_emulator: Settings) -> str:
    """The ID token of an administrator whose account exists."""
    sign_up = f"{auth_emulator.identity_toolkit_url}/accounts:signUp?key=any"
    answer = httpx.post(sign_up, json={"returnSecureToken": True}).raise_for_status()
    return forge.signed(forge.user_claims(answer.json()["localId"]) | {"role": "admin"})


@pytest.mark.parametrize("service", ["user", "product", "billing"])
def test_what_is_announced_is_what_happens(target: Stack, administrator: str, service: str, tmp_path: Path) -> None:
    """Requests that fit the document and requests that do not are answered as it announces, never with 5xx."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{target.url(service)}/openapi.json"),
            # A log-out ends the session that the run needs; it has tests of its own.
            *("--exclude-path", "/logout"),
            # A request of the right form may still name a product or a cursor that does not exist: 422.
            *("--exclude-checks", "positive_data_acceptance"),
            *("--header", f"Authorization: Bearer {administrator}"),
            *("--max-examples", str(EXAMPLES), "--seed", "1", "--no-color"),
        ],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "150"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("service", "path"), FOR_SERVICES)
def test_what_is_for_services_is_as_announced(
    target: Stack, forge: Forge, auth_emulator: Settings, service: str, path: str
) -> None:
    """The same for what only a service may call, with a new token for each call."""
    caller = FOR_SERVICES[service, path]
    with ServiceIdentity(caller, auth_emulator) as identity:
        identity.token_sync(service)
    document = schemathesis.openapi.from_url(f"{target.url(service)}/openapi.json")
    (result,) = document.include(path=path).get_all_operations()
    assert isinstance(result, Ok)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=result.ok().as_strategy())
    def call(case: schemathesis.Case[Any]) -> None:
        token = forge.signed(forge.service_claims(caller, service))
        case.call_and_validate(headers={"X-MS-TOKEN": token}, excluded_checks=[positive_data_acceptance])

    call()
