"""The command `mstoken`, with all its commands."""

import json
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from mstoken.cli.app import app
from tests.mstoken.cli.conftest import Run

COMMANDS = {
    *("services list", "services disable", "services enable", "keys add", "keys list", "policy check"),
    *("users role", "token", "inspect", "doctor", "emulator"),
}


def commands(group: Any, prefix: str = "") -> dict[str, Any]:
    """Return all commands by what a user types, including those in groups."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        is_group = hasattr(command, "commands")
        found |= commands(command, f"{prefix}{name} ") if is_group else {f"{prefix}{name}": command}
    return found


def test_every_command_has_a_help_text_and_json() -> None:
    """These are all commands. Each can print JSON, except the one that runs until it is interrupted."""
    found = commands(typer.main.get_command(app))
    assert found.keys() == COMMANDS
    for name, command in found.items():
        assert any("--json" in parameter.opts for parameter in command.params) or name == "emulator", name
        assert command.help, name


def test_help_lists_all_commands_and_exit_statuses(run: Run) -> None:
    """`--help` shows each command and group, and what the exit statuses mean."""
    shown = run("--help").stdout
    for word in (
        "services",
        "keys",
        "users",
        "token",
        "inspect",
        "policy",
        "doctor",
        "emulator",
        "Exit status",
        "could not be reached",
    ):
        assert word in shown


@pytest.mark.parametrize("name", ["", "services", "keys", "policy", "users", *sorted(COMMANDS)])
def test_help_fits_a_terminal_of_80_columns(name: str) -> None:
    """No line is longer, no summary is cut off, and no markup of the help text is visible."""
    # Typer leaves two columns empty. It does not read the width of the terminal in a test.
    shown = CliRunner().invoke(app, [*name.split(), "--help"], terminal_width=78).stdout
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "..." not in shown.replace("[ARGS]...", "").replace("[-- COMMAND]...", "")
    assert "\\" not in shown
    assert "\b" not in shown


def test_the_version(run: Run) -> None:
    """`--version` prints the version of the package."""
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"mstoken {version('mstoken')}\n")


@pytest.mark.parametrize("arguments", [["nonsense"], ["services"], ["token"], ["services", "list", "--yaml"]])
def test_wrong_usage_has_exit_status_2(run: Run, arguments: list[str]) -> None:
    """This holds for an unknown command, a missing argument and an unknown option."""
    assert run(*arguments).exit_code == 2


@pytest.mark.process
@pytest.mark.parametrize("missing", ["typer", "rich", "firebase_admin"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    """The library can be installed without the dependencies of the command line."""
    program = f"import sys; sys.modules['{missing}'] = None; import mstoken.cli; mstoken.cli.main()"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "mstoken: the command line needs the extra cli. Install it: pip install 'mstoken[cli]'\n"


def test_errors_contain_no_secrets(run: Run) -> None:
    """The error for a wrong setting does not contain the values of secret settings."""
    env = {"GOOGLE_CLOUD_PROJECT": "Shop!", "MSTOKEN_API_KEY": "s3cret-key", "MSTOKEN_NONCE_SECRET": "s3cret-nonce"}
    for arguments in (("token", "--to", "product", "--as", "billing"), ("doctor", "--json")):
        result = run(*arguments, env=env)
        assert result.exit_code == 1
        assert "s3cret" not in result.output
        assert "GOOGLE_CLOUD_PROJECT is 'Shop!'" in result.output


def test_json_is_alone_on_stdout(run: Run, shop: object) -> None:
    """With --json, stdout is one JSON value. Notes go to stderr."""
    result = run("services", "list", "--json")
    assert json.loads(result.stdout)
    assert result.stderr
