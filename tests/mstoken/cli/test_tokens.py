"""`mstoken token`."""

import json
import os
import secrets
import subprocess
import sys

import pytest

from emulator.run.ports import HOST
from emulator.run.stack import SHOP_VARIABLES, Stack
from mstoken import ServiceCaller, Settings, TokenVerifier
from mstoken.callee.callers import Admission
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests.mstoken.cli.conftest import Run
from tests.mstoken.testing.test_fake_firebase import call_with


@pytest.fixture
def service() -> str:
    """Return the name of a service that no other test uses."""
    return f"cli-{secrets.token_hex(6)}"


@pytest.fixture
def env(auth_emulator: Settings) -> dict[str, str]:
    """Return the environment of a service on the emulator."""
    return {"GOOGLE_CLOUD_PROJECT": auth_emulator.project_id, AUTH_EMULATOR_VARIABLE: str(auth_emulator.emulator_host)}


async def caller_with(token: str, settings: Settings) -> ServiceCaller:
    """Return the caller that Product sees in this token."""
    async with TokenVerifier("product", settings, replay=MemoryReplayStore()) as product:
        caller = await product.authorize(Admission.of(False, {"billing"}), call_with(token))
    assert isinstance(caller, ServiceCaller)
    return caller


async def test_a_token_for_curl(run: Run, auth_emulator: Settings, env: dict[str, str]) -> None:
    """The token is alone on stdout, and Product accepts it. It is a fresh one, also if MSTOKEN_MODE is "proof"."""
    result = run("token", "--to", "product", "--as", "billing", env={**env, "MSTOKEN_MODE": "proof"})
    assert (result.exit_code, result.stderr) == (0, "")
    token = result.stdout.removesuffix("\n")
    assert len(token.split()) == 1
    caller = await caller_with(token, auth_emulator)
    assert (caller.service, caller.audience, caller.mode) == ("billing", "product", "fresh")


async def test_a_token_as_json(run: Run, auth_emulator: Settings, env: dict[str, str]) -> None:
    """A script also gets the lifetime. The caller can be named by MSTOKEN_SERVICE."""
    result = run("token", "--to", "product", "--json", env={**env, "MSTOKEN_SERVICE": "billing"})
    answer = json.loads(result.stdout)
    assert (await caller_with(answer.pop("token"), auth_emulator)).service == "billing"
    assert answer == {"audience": "product", "service": "billing", "expires_in": 3600, "fresh_seconds": 60}


def test_a_token_from_the_token_service(emulators: Stack) -> None:
    """With the settings of a service, the command gets its token in the same way as the service."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(SHOP_VARIABLES)}
    own = {"GOOGLE_CLOUD_PROJECT": emulators.project, AUTH_EMULATOR_VARIABLE: emulators.auth_host}
    command = [sys.executable, "-m", "mstoken", "token", "--to", "product", "--as", "billing"]
    result = subprocess.run(
        command,
        env={**inherited, **own, **emulators.identity_environment("billing")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count(".") == 2
    assert result.stdout.count("\n") == 1


def test_a_disabled_service_gets_no_token(run: Run, env: dict[str, str], service: str) -> None:
    """The exit status is 1, and stdout is empty."""
    assert run("token", "--to", "product", "--as", service, env=env).exit_code == 0
    assert run("services", "disable", service, env=env).exit_code == 0
    result = run("token", "--to", "product", "--as", service, env=env)
    assert (result.exit_code, result.stdout) == (1, "")
    assert (
        result.stderr == f"mstoken: svc:{service} could not sign in to Firebase: Firebase answered 400 USER_DISABLED\n"
    )


def test_an_outage_has_exit_status_3(run: Run) -> None:
    """Firebase cannot be reached. The same command may work later."""
    env = {"GOOGLE_CLOUD_PROJECT": "demo-nobody", AUTH_EMULATOR_VARIABLE: f"{HOST}:1"}
    result = run("token", "--to", "product", "--as", "billing", env=env)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (
        "mstoken: svc:billing could not sign in to Firebase: "
        f"Firebase could not be reached at {HOST}:1 (ConnectError). "
        "Run `mstoken emulator`, and set FIREBASE_AUTH_EMULATOR_HOST to its address\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--to", "product"],
        ["--as", "billing"],
        ["--to", "Product", "--as", "billing"],
        ["--to", "product", "--as", "svc:billing"],
    ],
)
def test_both_services_are_required(run: Run, arguments: list[str]) -> None:
    """Both must be valid names of services."""
    result = run("token", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


def test_a_missing_setting_is_named(run: Run) -> None:
    """The exit status is 1, and the sentence says which setting is missing."""
    result = run("token", "--to", "product", "--as", "billing")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "mstoken: GOOGLE_CLOUD_PROJECT is not set, and it is required. Set it to the id of the Firebase project, such "
        "as demo-shop with the emulator.\n"
    )
    production = run("token", "--to", "product", "--as", "billing", env={"GOOGLE_CLOUD_PROJECT": "real-shop"})
    assert "MSTOKEN_API_KEY is not set" in production.stderr


def test_the_help_says_why_it_is_fresh(run: Run) -> None:
    """The help explains that a bound token would be useless without a proof for each call."""
    assert "bound token is useless without a proof" in " ".join(run("token", "--help").stdout.split())


def test_the_help_has_an_example_on_lines_of_its_own(run: Run) -> None:
    """The lines can be copied into a shell, because they are not wrapped."""
    assert '  curl -H "X-MS-TOKEN: $token" http://127.0.0.1:8002/products\n' in run("token", "--help").stdout
