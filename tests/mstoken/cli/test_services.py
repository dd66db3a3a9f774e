"""`mstoken services`."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path

import pytest

from mstoken import ServiceIdentity, Settings
from mstoken.errors import SignInRefused
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests.mstoken.cli.conftest import BILLING, KEY_ID, Run

NO_SERVER = "127.0.0.1:1"
"""An address at which no server listens."""


@pytest.fixture
def emulator(auth_emulator: Settings) -> dict[str, str]:
    """Return the environment of a service on the emulator."""
    return {"GOOGLE_CLOUD_PROJECT": auth_emulator.project_id, AUTH_EMULATOR_VARIABLE: str(auth_emulator.emulator_host)}


@pytest.fixture
def service() -> str:
    """Return the name of a service that no other test uses."""
    return f"cli-{secrets.token_hex(6)}"


def signs_in(service: str, settings: Settings) -> bool:
    with ServiceIdentity(service, settings) as identity:
        try:
            identity.token_sync("product")
        except SignInRefused:
            return False
    return True


def state(run: Run, service: str, env: Mapping[str, str]) -> str:
    """Return the state that the list shows for the identity of a service."""
    listed = json.loads(run("services", "list", "--json", env=env).stdout)["services"]
    return str(next(one["identity"]["state"] for one in listed if one["name"] == service))


def test_the_list_without_settings(run: Run, shop: Path) -> None:
    """The services of the policy are listed with the state "unknown", and a line on stderr says why."""
    result = run("services", "list")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["SERVICE", "IDENTITY", "CALLS", "KEYS", "SERVICE", "ACCOUNTS"],
        ["product", "unknown", "-", "0", "-"],
        ["billing", "unknown", "product", "0", BILLING],
        ["warehouse", "unknown", "-", "1", "-"],
    ]
    assert result.stderr.startswith(
        "The state of the identities is unknown. GOOGLE_CLOUD_PROJECT is not set, and it is required. Set it to "
    )
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "env",
    [
        {"GOOGLE_CLOUD_PROJECT": "demo-nobody", AUTH_EMULATOR_VARIABLE: NO_SERVER},
        {"GOOGLE_CLOUD_PROJECT": "real-shop", "GOOGLE_APPLICATION_CREDENTIALS": "nowhere.json"},
        {"GOOGLE_CLOUD_PROJECT": "real-shop", AUTH_EMULATOR_VARIABLE: NO_SERVER},
    ],
    ids=["no answer", "no credentials", "not allowed"],
)
def test_the_list_during_an_outage_of_firebase(run: Run, shop: Path, env: dict[str, str]) -> None:
    """The same holds if Firebase does not answer or refuses the credentials."""
    result = run("services", "list", "--json", env=env)
    assert result.exit_code == 0
    assert {one["identity"]["state"] for one in json.loads(result.stdout)["services"]} == {"unknown"}
    assert result.stderr.startswith("The state of the identities is unknown. ")
    assert result.stderr.count("\n") == 1


def test_the_list_needs_a_policy(run: Run) -> None:
    """Without a policy, there is nothing to list. The error says where it was looked for, and how to name another."""
    result = run("services", "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "mstoken: There is neither functions/policy.toml nor policy.toml in this folder. Name the policy file with "
        "--policy.\n"
    )
    named = run("services", "list", "--policy", "none.toml")
    assert named.stderr == "mstoken: none.toml: cannot read the file: No such file or directory\n"


def test_the_list_as_json(run: Run, shop: Path) -> None:
    """Each service has its accounts, the ids of its keys, its calls and its identity."""
    services = json.loads(run("services", "list", "--json").stdout)["services"]
    assert services[1:] == [
        {
            "name": "billing",
            "service_accounts": [BILLING],
            "keys": [],
            "calls": ["product"],
            "identity": {"uid": "svc:billing", "state": "unknown"},
        },
        {
            "name": "warehouse",
            "service_accounts": [],
            "keys": [KEY_ID],
            "calls": [],
            "identity": {"uid": "svc:warehouse", "state": "unknown"},
        },
    ]


def test_a_service_is_disabled_and_enabled(
    run: Run, tmp_path: Path, auth_emulator: Settings, emulator: dict[str, str], service: str
) -> None:
    """A disabled service cannot sign in, an enabled one can, and the list shows the state. Both can be repeated."""
    (tmp_path / "policy.toml").write_text(f"[services.{service}]\n")
    assert state(run, service, emulator) == "absent"
    assert "never signed in" in run("services", "list", env=emulator).stdout
    assert signs_in(service, auth_emulator)
    assert state(run, service, emulator) == "enabled"
    for _ in range(2):
        result = run("services", "disable", service, env=emulator)
        assert (result.exit_code, result.stderr) == (0, "")
        identity = f"svc:{service} in the project {auth_emulator.project_id}"
        assert result.stdout == f"{identity} is disabled. Callees refuse its calls within 10 s.\n"
        assert state(run, service, emulator) == "disabled"
    assert not signs_in(service, auth_emulator)
    for _ in range(2):
        answer = json.loads(run("services", "enable", service, "--json", env=emulator).stdout)
        assert answer == {
            "name": service,
            "project": auth_emulator.project_id,
            "uid": f"svc:{service}",
            "state": "enabled",
        }
    assert signs_in(service, auth_emulator)


def test_a_service_can_be_disabled_before_its_first_sign_in(
    run: Run, tmp_path: Path, auth_emulator: Settings, emulator: dict[str, str], service: str
) -> None:
    """A service of the policy then cannot sign in. Enabling a service does not create an identity."""
    (tmp_path / "policy.toml").write_text(f"[services.{service}]\n")
    enabled = run("services", "enable", service, env=emulator)
    assert enabled.exit_code == 0
    assert "has never signed in, so it was not disabled." in enabled.stdout
    assert state(run, service, emulator) == "absent"
    assert run("services", "disable", service, env=emulator).exit_code == 0
    assert not signs_in(service, auth_emulator)


def test_a_typing_error_creates_no_identity(run: Run, shop: Path, emulator: dict[str, str], service: str) -> None:
    """A service that is neither in the policy nor in Firebase cannot be disabled or enabled."""
    for verb in ("disable", "enable"):
        result = run("services", verb, service, env=emulator)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"Firebase has no user svc:{service}, and policy.toml has no service '{service}'." in result.stderr
    shop.write_text(f"[services.{service}]\n")
    assert state(run, service, emulator) == "absent"


def test_a_service_can_be_disabled_without_a_policy(
    run: Run, auth_emulator: Settings, emulator: dict[str, str], service: str
) -> None:
    """A service that has signed in can be disabled from any folder, so that no time is lost."""
    assert signs_in(service, auth_emulator)
    assert run("services", "disable", service, env=emulator).exit_code == 0
    assert not signs_in(service, auth_emulator)


def test_an_outage_of_firebase_has_exit_status_3(run: Run, shop: Path) -> None:
    """Nothing was changed, and the same command may work later."""
    env = {"GOOGLE_CLOUD_PROJECT": "demo-nobody", AUTH_EMULATOR_VARIABLE: NO_SERVER}
    result = run("services", "disable", "billing", env=env)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"mstoken: Firebase could not be reached at {NO_SERVER} (")
    assert result.stderr.count("\n") == 1
