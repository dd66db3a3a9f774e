"""`mstoken policy check`."""

import json
from pathlib import Path

from tests.mstoken.cli.conftest import SHOP, Run

ROOT = Path(__file__).parents[3]
WRONG = """\
[services.billing]
calls = ["produkt"]

[services.product]
cals = []
"""


def test_the_shops_own_policy_is_fine(run: Run) -> None:
    """The policy of this checkout has no fault, and its contents are counted."""
    result = run("policy", "check", str(ROOT / "functions/policy.toml"))
    assert result.exit_code == 0
    assert "is fine (services: 4, service accounts: 4, keys: 0, calls: 4)." in result.stdout


def test_every_fault_has_its_line(run: Run, tmp_path: Path) -> None:
    """All faults are told at once, with their lines, and the status says that there are some."""
    (tmp_path / "policy.toml").write_text(WRONG)
    result = run("policy", "check")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"policy.toml, line {number}" for number in (1, 2, 5)]
    assert "did you mean 'product'?" in lines[1]


def test_faults_as_json(run: Run, tmp_path: Path) -> None:
    """A script gets each fault with its line, and None where it is in none."""
    (tmp_path / "policy.toml").write_text(WRONG)
    checked = json.loads(run("policy", "check", "--json").stdout)
    assert (checked["file"], checked["ok"]) == ("policy.toml", False)
    assert [fault["line"] for fault in checked["faults"]] == [1, 2, 5]
    missing = json.loads(run("policy", "check", "none.toml", "--json").stdout)
    assert missing["faults"] == [{"line": None, "fault": "it cannot be read: No such file or directory"}]


def test_which_file_is_meant(run: Run, tmp_path: Path) -> None:
    """The one that is named, by argument, option or variable; else that of the functions; else the one right here."""

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


def test_what_is_fine_as_json(run: Run, shop: Path) -> None:
    """A script gets the counts."""
    counts = {"services": 3, "service_accounts": 1, "keys": 0, "calls": 1}
    assert json.loads(run("policy", "check", "--json").stdout) == {"file": "policy.toml", "ok": True} | counts
