"""Arguments and options that several commands share."""

from pathlib import Path

import pytest
import typer

from mstoken.cli.errors import CommandError
from mstoken.cli.options import policy_path, valid_service_name


def test_a_valid_service_name_is_returned() -> None:
    """The name is not changed."""
    assert valid_service_name("billing") == "billing"


def test_an_invalid_service_name_is_a_usage_error() -> None:
    """Typer reports it, with the name and the rule."""
    with pytest.raises(typer.BadParameter, match="'Billing!'"):
        valid_service_name("Billing!")


def test_the_usual_policy_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is given wins, then that of the functions, then the one in this folder. With none it is an error."""
    monkeypatch.chdir(tmp_path)
    assert policy_path(Path("given.toml")) == Path("given.toml")
    with pytest.raises(CommandError, match="Name the policy file with --policy"):
        policy_path(None)
    (tmp_path / "policy.toml").touch()
    assert policy_path(None) == Path("policy.toml")
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions/policy.toml").touch()
    assert policy_path(None) == Path("functions/policy.toml")
