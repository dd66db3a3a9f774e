"""`mstoken policy check`."""

import datetime
import json
from pathlib import Path

import pytest

from tests.mstoken.cli.conftest import SHOP, Run

ROOT = Path(__file__).parents[3]
WRONG = """\
[services.billing]
calls = ["produkt"]

[services.product]
cals = []
"""
PLACES = {"services.billing", "services.billing.calls[0]", "services.product.cals"}


def test_the_policy_of_the_shop_is_valid(run: Run) -> None:
    """The policy in this repository has no error. The output counts what is in it."""
    result = run("policy", "check", str(ROOT / "functions/policy.toml"))
    assert result.exit_code == 0
    assert "is valid (services: 4, service accounts: 4, keys: 0, calls: 4)." in result.stdout


def test_every_error_is_a_line_with_its_place(run: Run, tmp_path: Path) -> None:
    """All errors are reported at once, and the exit status is 1."""
    (tmp_path / "policy.toml").write_text(WRONG)
    result = run("policy", "check")
    assert (result.exit_code, result.stderr) == (1, "")
    lines = [line.split(": ", 2) for line in result.stdout.splitlines()]
    assert {file for file, _, _ in lines} == {"policy.toml"}
    assert {place for _, place, _ in lines} == PLACES
    assert "did you mean 'product'?" in result.stdout


def test_errors_as_json(run: Run, tmp_path: Path) -> None:
    """A script gets each error with its place, and null for an error of the file as a whole."""
    (tmp_path / "policy.toml").write_text(WRONG)
    checked = json.loads(run("policy", "check", "--json").stdout)
    assert (checked["file"], checked["ok"]) == ("policy.toml", False)
    assert {error["place"] for error in checked["errors"]} == PLACES
    missing = json.loads(run("policy", "check", "none.toml", "--json").stdout)
    assert missing["errors"] == [{"place": None, "text": "cannot read the file: No such file or directory"}]


def test_which_file_is_checked(run: Run, tmp_path: Path) -> None:
    """An argument wins over the option, the option over the variable, and the variable over the usual paths."""

    def checked(*arguments: str, **env: str) -> str:
        result = run("policy", "check", "--json", *arguments, env=env)
        return str(json.loads(result.stdout)["file"])

    (tmp_path / "policy.toml").write_text(SHOP)
    assert checked() == "policy.toml"
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions/policy.toml").write_text(SHOP)
    assert checked() == "functions/policy.toml"
    assert checked(MSTOKEN_POLICY="of-the-variable.toml") == "of-the-variable.toml"
    assert checked("--policy", "option.toml", MSTOKEN_POLICY="of-the-variable.toml") == "option.toml"
    assert checked("argument.toml", MSTOKEN_POLICY="of-the-variable.toml") == "argument.toml"


def test_a_valid_policy_as_json(run: Run, shop: Path) -> None:
    """A script gets the numbers."""
    counts = {"services": 3, "service_accounts": 1, "keys": 1, "calls": 1}
    expected = {"file": "policy.toml", "ok": True, "warnings": []} | counts
    assert json.loads(run("policy", "check", "--json").stdout) == expected


@pytest.mark.parametrize(
    ("days", "warning"),
    [
        (0, "this key expired on {date}, so it is not accepted. Delete its table."),
        (1, "this key expires on {date}. Replace it before: mstoken keys add warehouse"),
        (30, "this key expires on {date}. Replace it before: mstoken keys add warehouse"),
        (31, None),
    ],
)
def test_a_key_that_expires_soon_is_a_warning(run: Run, shop: Path, days: int, warning: str | None) -> None:
    """The policy is still valid: a token service that starts on that day must not refuse all services."""
    date = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(days)).date()
    shop.write_text(SHOP.replace("added = 2026-11-24\n", f"expires = {date}\n"))
    result = run("policy", "check")
    assert (result.exit_code, result.stderr) == (0, "")
    place, text = "services.warehouse.keys[0]", "" if warning is None else warning.format(date=date)
    assert result.stdout.splitlines()[1:] == ([f"policy.toml: {place}: warning: {text}"] if warning else [])
    answer = json.loads(run("policy", "check", "--json").stdout)
    assert answer["ok"] is True
    assert answer["warnings"] == ([{"place": place, "text": text}] if warning else [])
