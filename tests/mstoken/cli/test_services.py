"""`mstoken services`."""

import json
import secrets
from collections.abc import Mapping
from pathlib import Path

import pytest

from mstoken import ServiceIdentity, Settings
from mstoken.errors import SignInRefused
from mstoken.issuer.policy import Policy
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests.mstoken.cli.conftest import BILLING, SHOP, Run

NOBODY = "127.0.0.1:1"
"""Where nothing listens."""


@pytest.fixture
def emulator(auth_emulator: Settings) -> dict[str, str]:
    """The environment of a service on the emulator."""
    return {"GOOGLE_CLOUD_PROJECT": auth_emulator.project_id, AUTH_EMULATOR_VARIABLE: str(auth_emulator.emulator_host)}


@pytest.fixture
def service() -> str:
    """A service that no other test has."""
    return f"cli-{secrets.token_hex(6)}"


def signs_in(service: str, settings: Settings) -> bool:
    with ServiceIdentity(service, settings) as identity:
        try:
            identity.token_sync("product")
        except SignInRefused:
            return False
    return True


def state(run: Run, service: str, env: Mapping[str, str]) -> str:
    """What the list says of the identity of a service."""
    listed = json.loads(run("services", "list", "--json", env=env).stdout)["services"]
    return str(next(one["identity"]["state"] for one in listed if one["name"] == service))


def test_the_list_comes_without_firebase(run: Run, shop: Path) -> None:
    """Without settings the policy is listed all the same, the states unknown, and a line on stderr says why."""
    result = run("services", "list")
    assert result.exit_code == 0
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["SERVICE", "IDENTITY", "CALLS", "KEYS", "SERVICE", "ACCOUNTS"],
        ["product", "unknown", "-", "0", "-"],
        ["billing", "unknown", "product", "0", BILLING],
        ["warehouse", "unknown", "-", "0", "-"],
    ]
    assert (
        result.stderr
        == "The state of the identities is not known. GOOGLE_CLOUD_PROJECT is not set, and it is required.\n"
    )


@pytest.mark.parametrize(
    "env",
    [
        {"GOOGLE_CLOUD_PROJECT": "demo-nobody", AUTH_EMULATOR_VARIABLE: NOBODY},
        {"GOOGLE_CLOUD_PROJECT": "real-shop", "GOOGLE_APPLICATION_CREDENTIALS": "nowhere.json"},
        {"GOOGLE_CLOUD_PROJECT": "real-shop", AUTH_EMULATOR_VARIABLE: NOBODY},
    ],
    ids=["nobody answers", "no credentials", "not allowed"],
)
def test_the_list_comes_where_firebase_does_not_answer(run: Run, shop: Path, env: dict[str, str]) -> None:
    """Nor does it take credentials, or an answer."""
    result = run("services", "list", "--json", env=env)
    assert result.exit_code == 0
    assert {one["identity"]["state"] for one in json.loads(result.stdout)["services"]} == {"unknown"}
    assert result.stderr.startswith("The state of the identities is not known. ")
    assert result.stderr.count("\n") == 1


def test_no_list_without_a_policy(run: Run) -> None:
    """Where there is no policy, or a wrong one, there is nothing to list."""
    result = run("services", "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "mstoken: policy.toml: it cannot be read: No such file or directory\n"


def test_the_list_has_it_all(run: Run, shop: Path) -> None:
    """As JSON each service has its accounts, the ids of its keys, its calls and its identity."""
    key_id = json.loads(run("keys", "add", "warehouse", "--json").stdout)["key_id"]
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
            "keys": [key_id],
            "calls": [],
            "identity": {"uid": "svc:warehouse", "state": "unknown"},
        },
    ]


def test_a_new_service(run: Run, shop: Path) -> None:
    """It stands in the policy with its accounts and calls, below what was there."""
    account = BILLING.replace("billing", "delivery")
    options = ("--service-account", account, "--calls", "billing", "--calls", "product")
    result = run("services", "add", "delivery", *options)
    assert result.exit_code == 0
    assert "firebase deploy" in result.stdout
    delivery = Policy.load(shop).services["delivery"]
    assert (delivery.service_accounts, delivery.calls) == ((account,), ("billing", "product"))
    assert shop.read_text().startswith(SHOP)


def test_a_new_service_as_json(run: Run, shop: Path) -> None:
    """A script is told what was added."""
    told = json.loads(run("services", "add", "delivery", "--json").stdout)
    assert told == {"name": "delivery", "service_accounts": [], "calls": []}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["billing"], 1, "has a service 'billing' already"),
        (["delivery", "--service-account", BILLING], 1, "is that of 'billing' already"),
        (["delivery", "--service-account", "a@example.com"], 1, "is no service account"),
        (["delivery", "--calls", "product"], 1, "neither service_accounts nor keys"),
        (["delivery", "--service-account", BILLING.replace("b", "d"), "--calls", "produkt"], 1, "'produkt' is no"),
        (["Delivery!"], 2, "is not a service name"),
    ],
)
def test_no_service_that_makes_the_policy_wrong(
    run: Run, shop: Path, arguments: list[str], status: int, said: str
) -> None:
    """It is said what would be wrong, and nothing is written."""
    result = run("services", "add", *arguments)
    assert (result.exit_code, result.stdout) == (status, "")
    assert said in result.stderr
    assert shop.read_text() == SHOP


def test_switching_a_service(
    run: Run, tmp_path: Path, auth_emulator: Settings, emulator: dict[str, str], service: str
) -> None:
    """Disabled it cannot sign in, enabled it can; the list says which, and a second time changes nothing."""
    (tmp_path / "policy.toml").write_text(f"[services.{service}]\n")
    assert state(run, service, emulator) == "absent"
    assert "not yet signed in" in run("services", "list", env=emulator).stdout
    assert signs_in(service, auth_emulator)
    assert state(run, service, emulator) == "enabled"
    for _ in range(2):
        result = run("services", "disable", service, env=emulator)
        assert (result.exit_code, result.stderr) == (0, "")
        assert (
            f"svc:{service} of {auth_emulator.project_id} is disabled: callees refuse it within 10 s" in result.stdout
        )
        assert state(run, service, emulator) == "disabled"
    assert not signs_in(service, auth_emulator)
    for _ in range(2):
        told = json.loads(run("services", "enable", service, "--json", env=emulator).stdout)
        assert told == {
            "name": service,
            "project": auth_emulator.project_id,
            "uid": f"svc:{service}",
            "state": "enabled",
        }
    assert signs_in(service, auth_emulator)


def test_disabling_before_the_first_sign_in(
    run: Run, tmp_path: Path, auth_emulator: Settings, emulator: dict[str, str], service: str
) -> None:
    """A service of the policy that has never signed in cannot do so any more; enabling it makes no identity."""
    (tmp_path / "policy.toml").write_text(f"[services.{service}]\n")
    enabled = run("services", "enable", service, env=emulator)
    assert enabled.exit_code == 0
    assert "not yet signed in" in enabled.stdout
    assert state(run, service, emulator) == "absent"
    assert run("services", "disable", service, env=emulator).exit_code == 0
    assert not signs_in(service, auth_emulator)


def test_a_slip_makes_no_identity(run: Run, shop: Path, emulator: dict[str, str], service: str) -> None:
    """What is neither in the policy nor in Firebase cannot be switched."""
    for verb in ("disable", "enable"):
        result = run("services", verb, service, env=emulator)
        assert (result.exit_code, result.stdout) == (1, "")
        assert f"no svc:{service} in Firebase, and no '{service}' in policy.toml" in result.stderr
    shop.write_text(f"[services.{service}]\n")
    assert state(run, service, emulator) == "absent"


def test_an_emergency_needs_no_policy(
    run: Run, auth_emulator: Settings, emulator: dict[str, str], service: str
) -> None:
    """A service that has signed in is disabled from any folder, also where no policy is, or a wrong one."""
    assert signs_in(service, auth_emulator)
    assert run("services", "disable", service, env=emulator).exit_code == 0
    assert not signs_in(service, auth_emulator)


def test_firebase_out_of_reach(run: Run, shop: Path) -> None:
    """Where nobody answers nothing was switched, and the status says that it may work later."""
    env = {"GOOGLE_CLOUD_PROJECT": "demo-nobody", AUTH_EMULATOR_VARIABLE: NOBODY}
    result = run("services", "disable", "billing", env=env)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("mstoken: Firebase could not be asked: ")
    assert result.stderr.count("\n") == 1
