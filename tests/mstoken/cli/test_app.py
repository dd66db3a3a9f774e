"""The commands together."""

import json
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest
import typer.main

from mstoken.cli.app import app
from tests.mstoken.cli.conftest import Run

COMMANDS = {
    *("services list", "services add", "services disable", "services enable"),
    *("keys add", "keys list", "keys revoke", "policy check"),
    *("token", "inspect", "doctor"),
}


def commands(group: Any, prefix: str = "") -> dict[str, Any]:
    """All commands by what one types, those in groups among them."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        inner = hasattr(command, "commands")
        found |= commands(command, f"{prefix}{name} ") if inner else {f"{prefix}{name}": command}
    return found


def test_these_are_the_commands() -> None:
    """Each of them can print JSON, and says what it is for."""
    found = commands(typer.main.get_command(app))
    assert found.keys() == COMMANDS
    for name, command in found.items():
        assert any("--json" in parameter.opts for parameter in command.params), name
        assert command.help, name


def test_help_shows_it_all(run: Run) -> None:
    """`--help` has every command and group, and what the exit statuses mean."""
    shown = run("--help").stdout
    for word in ("services", "keys", "token", "inspect", "policy", "doctor", "Exit status", "could not be reached"):
        assert word in shown


def test_help_is_short(run: Run) -> None:
    """No command's line in it is cut off."""
    for group in ((), ("services",), ("keys",), ("policy",)):
        assert "..." not in run(*group, "--help").stdout.replace("[ARGS]...", "")


def test_the_version(run: Run) -> None:
    """`--version` is that of the package."""
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"mstoken {version('mstoken')}\n")


@pytest.mark.parametrize("arguments", [["nonsense"], ["services"], ["token"], ["services", "list", "--yaml"]])
def test_wrong_usage_has_a_status_of_its_own(run: Run, arguments: list[str]) -> None:
    """What is no command, or not with these arguments, ends with 2."""
    assert run(*arguments).exit_code == 2


@pytest.mark.process
def test_without_the_extra_it_says_what_to_install() -> None:
    """Where the library was installed without the command line's own needs, a sentence says so."""
    program = "import sys; sys.modules['typer'] = None; import mstoken.cli; mstoken.cli.main()"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "mstoken: typer is not installed here: install mstoken[cli] for the command line.\n"


def test_faults_tell_no_secrets(run: Run) -> None:
    """A wrong setting is told without the values of those that are secret."""
    env = {"GOOGLE_CLOUD_PROJECT": "Shop!", "MSTOKEN_API_KEY": "s3cret-key", "MSTOKEN_NONCE_SECRET": "s3cret-nonce"}
    for arguments in (("token", "--to", "product", "--as", "billing"), ("doctor", "--json")):
        result = run(*arguments, env=env)
        assert result.exit_code == 1
        assert "s3cret" not in result.output
        assert "GOOGLE_CLOUD_PROJECT is 'Shop!'" in result.output


def test_json_goes_alone(run: Run, shop: object) -> None:
    """What stands on stdout with --json is one JSON value, whatever there is to be said beside it."""
    result = run("services", "list", "--json")
    assert json.loads(result.stdout)
    assert result.stderr
