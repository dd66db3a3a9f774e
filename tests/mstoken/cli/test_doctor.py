"""`mstoken doctor`."""

import json
import time
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from emulator.local.keys import Key
from emulator.run.stack import Stack
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests.mstoken.cli.conftest import Run

KEY = Key()
TOKEN_SERVICE = "https://token.example.com"
NAMES = [
    *("settings", "emulator", "certificates", "clock", "replay store"),
    *("API key", "token service", "credential", "base URL"),
]


class Google(httpx.BaseTransport):
    """All that a production service talks to, `ahead_seconds` of our clock."""

    def __init__(self, *, ahead_seconds: float = 0) -> None:
        self.ahead_seconds = ahead_seconds
        self.asked: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(str(request.url.host))
        match request.url.host:
            case "www.googleapis.com":
                date = formatdate(time.time() + self.ahead_seconds, usegmt=True)
                return httpx.Response(200, json={KEY.key_id: KEY.certificate}, headers={"Date": date})
            case "identitytoolkit.googleapis.com":
                return httpx.Response(400, json={"error": {"message": "INVALID_CUSTOM_TOKEN"}})
        return httpx.Response(401, json={"code": "credential_missing"})


@pytest.fixture
def production(tmp_path: Path) -> dict[str, str]:
    """The environment of a service in production that has all it needs."""
    return {
        "GOOGLE_CLOUD_PROJECT": "real-shop",
        "K_SERVICE": "product",
        "MSTOKEN_API_KEY": "s3cret-key",
        "MSTOKEN_TOKEN_SERVICE_URL": TOKEN_SERVICE,
        "MSTOKEN_BASE_URL": "https://product.example.com",
        "MSTOKEN_REPLAY_URL": f"sqlite:///{tmp_path}/spent.db",
    }


def test_nothing_wrong(run: Run, production: dict[str, str]) -> None:
    """Every check is in the table with its state, and a warning is no fault."""
    google = Google()
    result = run("doctor", env=production, transport=google)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = [line for line in result.stdout.splitlines()[1:] if not line.startswith(" ")]
    assert [name for name, line in zip(NAMES, lines, strict=True) if line.startswith(name)] == NAMES
    states = [line.removeprefix(name).split()[0] for name, line in zip(NAMES, lines, strict=True)]
    assert states == ["ok"] * 4 + ["warning"] + ["ok"] * 4
    assert "-> Take redis://host: every instance" in result.stdout
    assert google.asked == ["www.googleapis.com", "identitytoolkit.googleapis.com", "token.example.com"]
    assert "s3cret" not in result.output


def test_as_json(run: Run, production: dict[str, str]) -> None:
    """A script gets each check with its state, what is so, and what to do."""
    told = json.loads(run("doctor", "--json", env=production, transport=Google()).stdout)
    assert told["ok"] is True
    assert [check["name"] for check in told["checks"]] == NAMES
    assert all(check.keys() == {"name", "state", "says", "do"} for check in told["checks"])


def test_a_fault(run: Run, production: dict[str, str]) -> None:
    """One fault ends it with 1, and the other checks are made all the same."""
    result = run("doctor", "--json", env=production, transport=Google(ahead_seconds=60))
    told = json.loads(result.stdout)
    assert (result.exit_code, told["ok"]) == (1, False)
    assert [check["name"] for check in told["checks"] if check["state"] == "fault"] == ["clock"]
    assert [check["name"] for check in told["checks"]] == NAMES


def test_nothing_answers(run: Run, production: dict[str, str]) -> None:
    """Without a network there are faults, and no traceback."""

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    result = run("doctor", "--json", env=production, transport=httpx.MockTransport(refuse))
    faults = [check["name"] for check in json.loads(result.stdout)["checks"] if check["state"] == "fault"]
    assert (result.exit_code, faults) == (1, ["certificates", "API key", "token service"])


def test_the_emulators_variable_in_production(run: Run, production: dict[str, str]) -> None:
    """It is a fault of its own beside that of the settings; the checks that need settings are not made."""
    google = Google()
    env = {**production, AUTH_EMULATOR_VARIABLE: "127.0.0.1:9100"}
    result = run("doctor", "--json", env=env, transport=google)
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert [(check["name"], check["state"]) for check in told["checks"]] == [
        ("settings", "fault"),
        ("emulator", "fault"),
    ]
    assert result.stderr == "The other checks need settings that can be read.\n"
    assert google.asked == []


def test_memory_of_a_service(run: Run, production: dict[str, str]) -> None:
    """`--service` says as which one to look, and must be a service's name."""
    env = {**production, "MSTOKEN_REPLAY_URL": "memory:"}
    assert run("doctor", "--service", "product", env=env, transport=Google()).exit_code == 0
    assert run("doctor", "--service", "Product!", env=env, transport=Google()).exit_code == 2


def test_on_a_laptop(run: Run, emulators: Stack, tmp_path: Path) -> None:
    """With the emulators up there is no fault."""
    env = {
        "GOOGLE_CLOUD_PROJECT": emulators.project,
        AUTH_EMULATOR_VARIABLE: emulators.auth_host,
        "MSTOKEN_REPLAY_URL": f"sqlite:///{tmp_path}/spent.db",
        "MSTOKEN_BASE_URL": "http://127.0.0.1:8003",
        **emulators.identity_environment("billing"),
    }
    result = run("doctor", "--service", "billing", "--json", env=env)
    states = {check["name"]: check["state"] for check in json.loads(result.stdout)["checks"]}
    assert (result.exit_code, states) == (0, dict.fromkeys(NAMES, "ok"))
