"""`mstoken doctor`."""

import json
import time
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from emulator.run.stack import Stack
from mstoken.cli.doctor import Outside
from mstoken.cli.production_checks import fingerprint
from mstoken.emulator.keys import Key
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests.mstoken.cli.conftest import Run
from tests.mstoken.cli.test_production_checks import SECRET
from tests.mstoken.cli.test_role_checks import FakeAbilities
from tests.recording_proxy import recording_proxy

KEY = Key()
TOKEN_SERVICE = "https://token.example.com"
NAMES = [
    *("settings", "emulator", "certificates", "clock", "replay store"),
    *("API key", "token service", "credential", "Google credentials", "base URL"),
]


class Google(httpx.BaseTransport):
    """All servers that a production service calls. Their clocks are ahead of ours by `ahead_seconds`."""

    def __init__(self, *, ahead_seconds: float = 0) -> None:
        self.ahead_seconds = ahead_seconds
        self.hosts: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.hosts.append(str(request.url.host))
        match request.url.host:
            case "www.googleapis.com":
                date = formatdate(time.time() + self.ahead_seconds, usegmt=True)
                return httpx.Response(200, json={KEY.key_id: KEY.certificate}, headers={"Date": date})
            case "identitytoolkit.googleapis.com":
                return httpx.Response(400, json={"error": {"message": "INVALID_CUSTOM_TOKEN"}})
            case "metadata.google.internal" if request.url.path.endswith("/project-id"):
                return httpx.Response(200, text="real-shop")
            case "metadata.google.internal":
                return httpx.Response(200, json={"email": "product@x"}, headers={"Metadata-Flavor": "Google"})
        code = "audience_not_allowed" if "Authorization" in request.headers else "credential_missing"
        return httpx.Response(401, json={"code": code})


@pytest.fixture
def production(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a service in production that is set up correctly."""
    return {
        "GOOGLE_CLOUD_PROJECT": "real-shop",
        "K_SERVICE": "product",
        "MSTOKEN_API_KEY": "s3cret-key",
        "MSTOKEN_TOKEN_SERVICE_URL": TOKEN_SERVICE,
        "MSTOKEN_BASE_URL": "https://product.example.com",
        "MSTOKEN_REPLAY_URL": f"sqlite:///{tmp_path}/spent.db",
        "MSTOKEN_SINGLE_INSTANCE": "true",
    }


def test_a_correct_setup(run: Run, production: dict[str, str]) -> None:
    """Every check is in the table with its state. The exit status is 0, also if there is a warning."""
    google = Google()
    result = run("doctor", env=production, transport=google)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line for line in result.stdout.splitlines()[1:] if not line.startswith(" ")]
    assert [name for name, line in zip(NAMES, lines, strict=True) if line.startswith(name)] == NAMES
    states = [line.removeprefix(name).split()[0] for name, line in zip(NAMES, lines, strict=True)]
    assert states == ["ok"] * 4 + ["warning"] + ["ok"] * 5
    assert "-> Use redis://host if there can be a second instance" in result.stdout
    assert google.hosts == [
        "www.googleapis.com",
        "identitytoolkit.googleapis.com",
        "token.example.com",
        "metadata.google.internal",
    ]
    assert "s3cret" not in result.output


def test_as_json(run: Run, production: dict[str, str]) -> None:
    """A script gets each check with its state, what was found, and advice."""
    answer = json.loads(run("doctor", "--json", env=production, transport=Google()).stdout)
    assert answer["ok"] is True
    assert [check["name"] for check in answer["checks"]] == NAMES
    assert all(check.keys() == {"name", "state", "text", "advice"} for check in answer["checks"])


def test_an_error(run: Run, production: dict[str, str]) -> None:
    """One error makes the exit status 1. The other checks run nonetheless."""
    result = run("doctor", "--json", env=production, transport=Google(ahead_seconds=60))
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["ok"]) == (1, False)
    assert [check["name"] for check in answer["checks"] if check["state"] == "error"] == ["clock"]
    assert [check["name"] for check in answer["checks"]] == NAMES


def test_without_a_network(run: Run, production: dict[str, str]) -> None:
    """Every check that needs the network reports an error, without a traceback."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    result = run("doctor", "--json", env=production, transport=httpx.MockTransport(refuse))
    errors = [check["name"] for check in json.loads(result.stdout)["checks"] if check["state"] == "error"]
    assert (result.exit_code, errors) == (
        1,
        ["certificates", "API key", "token service", "credential", "Google credentials"],
    )


def test_the_emulators_variable_in_production(run: Run, production: dict[str, str]) -> None:
    """It is an error beside that of the settings. The checks that need valid settings are skipped."""
    google = Google()
    env = {**production, AUTH_EMULATOR_VARIABLE: "127.0.0.1:9100"}
    result = run("doctor", "--json", env=env, transport=google)
    answer = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [(check["name"], check["state"]) for check in answer["checks"]] == [
        ("settings", "error"),
        ("emulator", "error"),
    ]
    assert result.stderr == "The other checks need valid settings, so they were skipped.\n"
    assert google.hosts == []


def test_the_service_to_check(run: Run, production: dict[str, str]) -> None:
    """`--service` must be the name of a service."""
    env = {**production, "MSTOKEN_REPLAY_URL": "memory:"}
    assert run("doctor", "--service", "product", env=env, transport=Google()).exit_code == 0
    assert run("doctor", "--service", "Product!", env=env, transport=Google()).exit_code == 2


@pytest.fixture
def laptop(emulators: Stack, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a service on a laptop on which the emulators run."""
    return {
        "GOOGLE_CLOUD_PROJECT": emulators.project,
        AUTH_EMULATOR_VARIABLE: emulators.auth_host,
        "MSTOKEN_REPLAY_URL": f"sqlite:///{tmp_path}/spent.db",
        "MSTOKEN_BASE_URL": "http://127.0.0.1:8003",
        **emulators.identity_environment("billing"),
    }


def test_on_a_laptop_with_a_proxy(run: Run, laptop: dict[str, str]) -> None:
    """The library asks the emulators without a proxy, and so does this command: it finds no error."""
    with recording_proxy() as proxy:
        env = laptop | proxy.variables("HTTP_PROXY", "http_proxy", "ALL_PROXY") | {"NO_PROXY": "", "no_proxy": ""}
        answer = json.loads(run("doctor", "--service", "billing", "--json", env=env).stdout)
        assert proxy.requests == []
    assert {check["name"]: check["state"] for check in answer["checks"]} == dict.fromkeys(NAMES, "ok")


def test_on_a_laptop(run: Run, laptop: dict[str, str]) -> None:
    """While the emulators run, there is no error."""
    result = run("doctor", "--service", "billing", "--json", env=laptop)
    states = {check["name"]: check["state"] for check in json.loads(result.stdout)["checks"]}
    assert (result.exit_code, states) == (0, dict.fromkeys(NAMES, "ok"))


PRODUCTION_NAMES = [
    *NAMES,
    *("emulator variables", "HTTP parser", "project", "account", "role: look up", "role: sign", "policy"),
    *("shared store", "nonce secret", "service", "forwarded addresses"),
]


def in_production(abilities: FakeAbilities) -> Outside:
    return Outside(Google(), lambda settings, service: abilities)


@pytest.fixture
def complete(production: dict[str, str]) -> dict[str, str]:
    """Return the environment of a service in production in which the checks of production find no error."""
    return production | {"UVICORN_HTTP": "h11", "MSTOKEN_NONCE_SECRET": SECRET, "TRUSTED_PROXIES": "1"}


def test_production(run: Run, complete: dict[str, str]) -> None:
    """`--production` makes all checks, then those of production. A store of one machine is an error there."""
    abilities = FakeAbilities()
    result = run("doctor", "--production", "--service", "product", "--json", env=complete, obj=in_production(abilities))
    states = {check["name"]: check["state"] for check in json.loads(result.stdout)["checks"]}
    assert list(states) == PRODUCTION_NAMES
    assert {name for name, state in states.items() if state != "ok"} == {"replay store"}
    assert (result.exit_code, states["replay store"]) == (1, "error")
    assert abilities.tried[0] == "svc:product"
    assert SECRET not in result.output


def test_another_process_has_another_secret(run: Run, complete: dict[str, str]) -> None:
    """`--same-as` implies `--production`, and compares fingerprints."""
    outside = in_production(FakeAbilities())
    for same_as, state in (("00000000", "error"), (fingerprint(SECRET), "ok")):
        result = run("doctor", "--same-as", same_as, "--json", env=complete, obj=outside)
        states = {check["name"]: check["state"] for check in json.loads(result.stdout)["checks"]}
        assert states["nonce secret"] == state


def test_production_without_valid_settings(run: Run, complete: dict[str, str]) -> None:
    """What needs no settings is checked in any case, so that one run shows as much as it can."""
    env = complete | {"MSTOKEN_MODE": "both", "PUBSUB_EMULATOR_HOST": "127.0.0.1:8085"}
    result = run("doctor", "--production", "--json", env=env, obj=in_production(FakeAbilities()))
    errors = [check["name"] for check in json.loads(result.stdout)["checks"] if check["state"] == "error"]
    assert errors == ["settings", "emulator variables"]
