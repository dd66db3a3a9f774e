"""`mstoken token`."""

import json
import os
import secrets
import subprocess
import sys

import pytest

from emulator.run.ports import HOST
from emulator.run.stack import OURS, Stack
from mstoken import ServiceCaller, Settings, TokenVerifier
from mstoken.callee.callers import Admission
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests.mstoken.cli.conftest import Run
from tests.mstoken.test_testing import call_with


@pytest.fixture
def service() -> str:
    """A service that no other test has."""
    return f"cli-{secrets.token_hex(6)}"


@pytest.fixture
def env(auth_emulator: Settings) -> dict[str, str]:
    """The environment of a service on the emulator."""
    return {"GOOGLE_CLOUD_PROJECT": auth_emulator.project_id, AUTH_EMULATOR_VARIABLE: str(auth_emulator.emulator_host)}


async def caller_with(token: str, settings: Settings) -> ServiceCaller:
    """Whom the service product takes this token for."""
    async with TokenVerifier("product", settings, replay=MemoryReplayStore()) as product:
        caller = await product.authorize(Admission.of(False, {"billing"}), call_with(token))
    assert isinstance(caller, ServiceCaller)
    return caller


async def test_a_token_for_curl(run: Run, auth_emulator: Settings, env: dict[str, str]) -> None:
    """It stands alone on stdout, and lets its service in; it is a fresh one whatever the mode of the service."""
    result = run("token", "--to", "product", "--as", "billing", env={**env, "MSTOKEN_MODE": "proof"})
    assert (result.exit_code, result.stderr) == (0, "")
    token = result.stdout.removesuffix("\n")
    assert len(token.split()) == 1
    caller = await caller_with(token, auth_emulator)
    assert (caller.service, caller.audience, caller.mode) == ("billing", "product", "fresh")


async def test_a_token_as_json(run: Run, auth_emulator: Settings, env: dict[str, str]) -> None:
    """A script also learns how long it is good for; who calls may stand in the environment."""
    result = run("token", "--to", "product", "--json", env={**env, "MSTOKEN_SERVICE": "billing"})
    told = json.loads(result.stdout)
    assert (await caller_with(told.pop("token"), auth_emulator)).service == "billing"
    assert told == {"audience": "product", "service": "billing", "expires_in": 3600, "fresh_seconds": 60}


def test_a_token_by_way_of_the_token_service(emulators: Stack) -> None:
    """A process with the settings of a service gets its token as the service does."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    own = {"GOOGLE_CLOUD_PROJECT": emulators.project, AUTH_EMULATOR_VARIABLE: emulators.auth_host}
    command = [sys.executable, "-m", "mstoken.cli", "token", "--to", "product", "--as", "billing"]
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


def test_a_disabled_service(run: Run, env: dict[str, str], service: str) -> None:
    """It gets no token: the answer is no, and nothing stands on stdout."""
    assert run("token", "--to", "product", "--as", service, env=env).exit_code == 0
    assert run("services", "disable", service, env=env).exit_code == 0
    result = run("token", "--to", "product", "--as", service, env=env)
    assert (result.exit_code, result.stdout) == (1, "")
    assert (
        result.stderr == f"mstoken: svc:{service} could not sign in to Firebase: Firebase answered 400 USER_DISABLED\n"
    )


def test_nobody_answers(run: Run) -> None:
    """Where Firebase is out of reach the status says that it may work later."""
    env = {"GOOGLE_CLOUD_PROJECT": "demo-nobody", AUTH_EMULATOR_VARIABLE: f"{HOST}:1"}
    result = run("token", "--to", "product", "--as", "billing", env=env)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (
        "mstoken: svc:billing could not sign in to Firebase: Firebase could not be reached (ConnectError)\n"
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
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    """Both services must be named, and be names of services."""
    result = run("token", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


def test_settings_are_needed(run: Run) -> None:
    """Without them the answer is no, and a sentence says which."""
    result = run("token", "--to", "product", "--as", "billing")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "mstoken: GOOGLE_CLOUD_PROJECT is not set, and it is required.\n"
    production = run("token", "--to", "product", "--as", "billing", env={"GOOGLE_CLOUD_PROJECT": "real-shop"})
    assert "MSTOKEN_API_KEY is not set" in production.stderr


def test_the_help_says_why_it_is_fresh(run: Run) -> None:
    """A bound token would be worth nothing to whoever copies it, and the help says so."""
    assert "bound token is worth nothing without a proof" in " ".join(run("token", "--help").stdout.split())
