"""The documentation of the command line: the commands exist, and print what the page shows."""

import re
import shutil
import time
from pathlib import Path

import pytest

from mstoken.claims import ServiceClaims
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock
from tests.mstoken.cli.conftest import KEY_ID, Run
from tests.mstoken.cli.test_app import COMMANDS
from tests.mstoken.cli.test_doctor import NAMES, PRODUCTION_NAMES

ROOT = Path(__file__).parents[3]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "functions").glob("*.md")]
PAGE = (ROOT / "docs/command-line.md").read_text()

USE = re.compile(r"(?:^ *|\$ |\$\(|`)mstoken ([a-z]+)(?: ([a-z]+))?", re.MULTILINE)
"""A use of the command in a code block or between backticks."""
GROUPS = {command.split()[0] for command in COMMANDS if " " in command}
DRAFT = """\
[services.billing]
service_accounts = ["billing@demo-shop.iam.gserviceaccount.com"]
calls = ["produkt"]

[services.product]
cals = []
"""
VARIABLE_TEXTS = (
    (r"[A-Za-z0-9_-]{43}|…", "<base64url>"),
    (r"warehouse-[A-Za-z0-9_-]{8}\.pem", "<file>"),
    (r"\d{4}-\d{2}-\d{2}", "<date>"),
    (r"\d{2}:\d{2}:\d{2}", "<time>"),
)
"""What is different each time, and what stands for it."""


def samples() -> dict[str, str]:
    """Return what the page shows: the output of each command in a console block."""
    found: dict[str, str] = {}
    for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL):
        for sample in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = sample.partition("\n")
            found[command] = output
    return found


def constant(text: str) -> str:
    """Return a text without keys, dates and times."""
    for pattern, name in VARIABLE_TEXTS:
        text = re.sub(pattern, name, text)
    return text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_pages_name_existing_commands_only(page: Path) -> None:
    """A command that was removed or renamed is not mentioned any more."""
    for first, second in USE.findall(page.read_text()):
        assert (f"{first} {second}" if first in GROUPS else first) in COMMANDS


def test_every_command_is_on_the_page() -> None:
    """The page describes all of them."""
    used = {f"{first} {second}" if first in GROUPS else first for first, second in USE.findall(PAGE)}
    assert used == COMMANDS


def test_the_check_list_of_production() -> None:
    """The list names each check of `doctor --production`, and the page of the command explains production's own."""
    production = (ROOT / "docs/production.md").read_text().partition("## The check list")[2].partition("\n## ")[0]
    ticked = {
        name for row in re.findall(r"^\|.*\| (.*) \|$", production, re.MULTILINE) for name in re.findall("`(.*?)`", row)
    }
    checks = set(PRODUCTION_NAMES) - {"settings", "Google credentials"}
    assert ticked & set(PRODUCTION_NAMES) == checks
    explained = set(re.findall(r"^\| `(.*?)` \|", PAGE.partition("### Check a service in production")[2], re.MULTILINE))
    assert set(PRODUCTION_NAMES) - set(NAMES) <= explained


def test_the_samples_of_the_policy(run: Run, tmp_path: Path) -> None:
    """A valid and a wrong policy are reported as the page shows."""
    (tmp_path / "functions").mkdir()
    shutil.copy(ROOT / "functions/policy.toml", tmp_path / "functions")
    (tmp_path / "draft.toml").write_text(DRAFT)
    assert run("policy", "check").stdout == samples()["mstoken policy check"]
    assert run("policy", "check", "draft.toml").stdout == samples()["mstoken policy check draft.toml"]


def test_the_samples_of_keys(run: Run, shop: Path) -> None:
    """A new key and the list of keys are printed as the page shows."""
    added = run("keys", "add", "warehouse")
    assert constant(added.stderr + added.stdout) == constant(samples()["mstoken keys add warehouse"])
    listed = run("keys", "list").stdout
    assert KEY_ID in listed
    assert constant(listed) == constant(samples()["mstoken keys list"])


def test_the_sample_of_a_token(run: Run) -> None:
    """The lines around the header and the claims, which the page leaves out, are printed as it shows."""
    clock = FakeClock(time.time() - 300)
    firebase = FakeFirebase("demo-shop", clock=clock)
    claims = ServiceClaims.fresh("billing", "product", minted_at=clock()).as_developer_claims()
    printed = run("inspect", "-", stdin=firebase.issue("svc:billing", provider="custom", **claims)).stdout
    before, after = samples()["mstoken inspect - < token.txt"].split("…\n")
    assert printed.startswith(before)
    assert constant(printed).endswith(constant(after))
