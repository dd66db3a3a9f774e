"""The services answer as their OpenAPI documents say. Schemathesis makes the requests."""

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
from mstoken.testing.forge import Forge
from tests.waiting import WAIT_SECONDS

EXAMPLES = 25
RUN_SECONDS = 240
FOR_SERVICES = {
    ("user", "/users/{uid}"): "billing",
    ("product", "/reservations"): "billing",
    ("product", "/reservations/{bill_id}"): "billing",
    ("product", "/reservations/{bill_id}/commit"): "billing",
    ("billing", "/deliveries/{delivery_id}/events"): "delivery",
}
"""The paths that only a service may call, and that service."""


@pytest.fixture
def administrator(forge: Forge, auth_emulator: Settings) -> str:
    """The ID token of an administrator with an account."""
    sign_up = f"{auth_emulator.identity_toolkit_url}/accounts:signUp?key=any"
    answer = httpx.post(sign_up, json={"returnSecureToken": True}, timeout=WAIT_SECONDS).raise_for_status()
    return forge.signed(forge.user_claims(answer.json()["localId"]) | {"role": "admin"})


@pytest.mark.parametrize("service", ["user", "product", "billing"])
def test_the_answers_are_as_documented(target: Stack, administrator: str, service: str, tmp_path: Path) -> None:
    """Valid and invalid requests are answered as the document says, and never with 5xx."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{target.url(service)}/openapi.json"),
            # A log-out would end the session that the run needs. Other tests cover it.
            *("--exclude-path", "/logout"),
            # A valid request can name a product or a cursor that does not exist, and is answered with 422.
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
def test_the_answers_to_services_are_as_documented(
    target: Stack, forge: Forge, auth_emulator: Settings, service: str, path: str
) -> None:
    """Requests to the paths for services have a new token each."""
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
