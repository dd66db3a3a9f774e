"""Editing the policy file."""

import datetime
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mstoken.cli.failures import CommandError
from mstoken.cli.key_files import Kind, new_key
from mstoken.cli.policy_file import PolicyFile
from mstoken.errors import PolicyError
from mstoken.issuer.policy import Policy
from mstoken.jwk import public_jwk
from tests.mstoken.cli.conftest import BILLING, SHOP

TODAY = datetime.date(2026, 11, 24)
FIRST, SECOND, THIRD = (public_jwk(new_key(kind).public_key()) for kind in (Kind.ES256, Kind.EDDSA, Kind.ES256))


def inline(jwk: dict[str, str]) -> str:
    """A key as it is written into the file."""
    return "{ " + ", ".join(f'{name} = "{value}"' for name, value in jwk.items()) + " }"


def table(jwk: dict[str, str]) -> str:
    """A registered key as it is written into the file."""
    return f"[[services.warehouse.keys]]\nadded = 2026-11-24\njwk = {inline(jwk)}\n"


TWO_KEYS = f"""\
[services.product]

[services.warehouse] # in Reno
calls = ["product"]

# Ann's laptop
{table(FIRST)}
# Bob's laptop
{table(SECOND)}
# Billing asks for prices.
[services.billing]
service_accounts = ["{BILLING}"]
"""


def written(path: Path, text: str) -> PolicyFile:
    path.write_bytes(text.encode())
    return PolicyFile(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def test_a_service_is_added_at_the_end(path: Path) -> None:
    """All that stood there stays as it was, comments and spaces too."""
    written(path, SHOP).add_service("delivery", [BILLING.replace("billing", "delivery")], ["billing"])
    added = '[services.delivery]\nservice_accounts = ["delivery@demo-shop.iam.gserviceaccount.com"]\n'
    assert path.read_text() == f'{SHOP}\n{added}calls = ["billing"]\n'


def test_the_first_key_stands_below_its_service(path: Path) -> None:
    """The comment of the service that follows stays where it is."""
    text = "[services.warehouse]\ncalls = []\n\n# Of products.\n[services.product]\n"
    written(path, text).add_key("warehouse", FIRST, TODAY)
    assert path.read_text() == text.replace("\n# Of", f"\n{table(FIRST)}\n# Of")


def test_a_key_in_a_table_of_its_own(path: Path) -> None:
    """What follows it keeps its comment, whether another key comes or this one goes."""
    members = "".join(f'{name} = "{value}"\n' for name, value in FIRST.items())
    begin, end = "[services.warehouse]\n", "\n# Of products.\n[services.product]\n"
    text = f"{begin}\n[[services.warehouse.keys]]\n[services.warehouse.keys.jwk]\n{members}{end}"
    written(path, text).add_key("warehouse", SECOND, TODAY)
    assert path.read_text() == text.replace(end, f"\n{table(SECOND)}{end}")
    written(path, text).remove_key("warehouse", 0)
    assert path.read_text() == f"{begin}{end}"


def test_another_key_stands_below_the_last(path: Path) -> None:
    """In the order in which they came."""
    written(path, TWO_KEYS).add_key("warehouse", THIRD, TODAY)
    assert path.read_text() == TWO_KEYS.replace("# Billing", f"{table(THIRD)}\n# Billing")
    assert [key.key_id for key in Policy.load(path).keys_of("warehouse")][:2] == [
        key.key_id for key in Policy.parse(TWO_KEYS, "before").keys_of("warehouse")
    ]


def test_a_key_goes_with_the_comment_above_it(path: Path) -> None:
    """It would be taken for that of the next one; nothing else goes."""
    written(path, TWO_KEYS).remove_key("warehouse", 0)
    assert path.read_text() == TWO_KEYS.replace(f"# Ann's laptop\n{table(FIRST)}\n", "")
    written(path, TWO_KEYS).remove_key("warehouse", 1)
    assert path.read_text() == TWO_KEYS.replace(f"# Bob's laptop\n{table(SECOND)}\n", "")


def test_the_service_stays_when_its_last_key_goes(path: Path) -> None:
    """Even where its keys were all that there was of it."""
    text = f"[services.product]\n\n{table(FIRST)}\n# The end.\n"
    written(path, text).remove_key("warehouse", 0)
    assert path.read_text() == "[services.product]\n\n[services.warehouse]\n\n# The end.\n"


@pytest.mark.parametrize(
    "text",
    [
        f"services = {{ warehouse = {{ keys = [{{ jwk = {inline(FIRST)} }}] }} }}\n",
        f"[services]\nwarehouse = {{ keys = [{{ jwk = {inline(FIRST)} }}] }}\n",
        f"[services.warehouse]\nkeys = [\n  # one\n  {{ jwk = {inline(FIRST)} }},\n]\n",
        f"[services]\n  [services.warehouse]\n  [[services.warehouse.keys]]\n  jwk = {inline(FIRST)}\n",
        "[services.warehouse]\n[[services.warehouse.keys]]\n[services.warehouse.keys.jwk]\n"
        + "".join(f'{name} = "{value}"\n' for name, value in FIRST.items()),
    ],
    ids=["one line", "a line for each", "list", "indented", "table for the key"],
)
def test_other_ways_to_write_it(path: Path, text: str) -> None:
    """However TOML is written, keys and services come and go, and comments stay."""
    file = written(path, text)
    file.add_key("warehouse", SECOND, TODAY)
    assert path.read_text().count("# one") == text.count("# one")
    assert [key.added for key in Policy.load(path).keys_of("warehouse")] == [None, TODAY]
    file.remove_key("warehouse", 0)
    file.add_service("product", [], [])
    policy = Policy.load(path)
    assert [key.added for key in policy.keys_of("warehouse")] == [TODAY]
    assert set(policy.services) == {"warehouse", "product"}


@pytest.mark.parametrize(
    "text",
    [
        f"[services.warehouse]\n# P\n[services.product]\n\n{table(FIRST)}# Z\n[services.z]\n",
        f"[services]\nproduct.calls = []\nwarehouse.calls = []\nwarehouse.keys = [{{ jwk = {inline(FIRST)} }}]\n",
    ],
    ids=["in pieces", "dotted"],
)
def test_what_cannot_be_edited_is_left_alone(path: Path, text: str) -> None:
    """Where a service's table is in pieces nothing is written, rather than a comment lost."""
    file = written(path, text)
    with pytest.raises(CommandError, match="edit it by hand"):
        file.add_key("warehouse", SECOND, TODAY)
    with pytest.raises(CommandError, match="edit it by hand"):
        file.remove_key("warehouse", 0)
    assert path.read_text() == text


def test_line_ends_stay(path: Path) -> None:
    """A file with the line ends of Windows has no others afterwards."""
    written(path, SHOP.replace("\n", "\r\n")).add_key("warehouse", FIRST, TODAY)
    content = path.read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n") > SHOP.count("\n")


def test_what_would_be_wrong_is_not_written(path: Path) -> None:
    """The sentence says what would be wrong, and the file stays as it was."""
    file = written(path, SHOP)
    with pytest.raises(CommandError, match=r"left as it is.*'produkt' is no service.*'product'"):
        file.add_service("delivery", ["delivery@demo-shop.iam.gserviceaccount.com"], ["produkt"])
    with pytest.raises(CommandError, match="has a service 'billing' already"):
        file.add_service("billing", [], [])
    with pytest.raises(CommandError, match="no service 'wharehouse'; it has billing, product, warehouse"):
        file.add_key("wharehouse", FIRST, TODAY)
    file.add_key("warehouse", FIRST, TODAY)
    with pytest.raises(CommandError, match="this key stands here twice"):
        file.add_key("warehouse", FIRST, TODAY)
    assert path.read_text() == f"{SHOP}\n{table(FIRST)}"


def test_what_comes_out_otherwise_is_not_written(path: Path) -> None:
    """Should tomlkit write anything else than was meant, the file stays as it was."""

    def change(services: Any) -> None:
        if type(services) is not dict:  # tomlkit's document, and not what it should come to
            services["billing"]["calls"].append("warehouse")

    with pytest.raises(CommandError, match="edit it by hand"):
        written(path, SHOP)._edit(change)
    assert path.read_text() == SHOP


def test_a_file_with_faults_is_not_edited(path: Path) -> None:
    """What is wrong already is to be mended first."""
    with pytest.raises(PolicyError):
        written(path, "[services.billing]\ncals = []\n")


def test_one_edit_after_the_other(path: Path) -> None:
    """A second edit builds on the first."""
    file = written(path, SHOP)
    file.add_key("warehouse", FIRST, TODAY)
    file.add_key("warehouse", SECOND, TODAY)
    file.remove_key("warehouse", 0)
    assert path.read_text() == f"{SHOP}\n{table(SECOND)}"
    assert len(file.policy.keys_of("warehouse")) == 1


def test_the_file_keeps_its_permissions(path: Path) -> None:
    """It is put in place at once, with the permissions that it had, and nothing is left beside it."""
    file = written(path, SHOP)
    path.chmod(0o640)
    before = path.stat().st_ino
    file.add_service("delivery", [], [])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_ino != before
    assert os.listdir(path.parent) == [path.name]


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    """What is edited is the file that it leads to."""
    written(path, SHOP)
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    PolicyFile(link).add_service("delivery", [], [])
    assert link.is_symlink()
    assert "delivery" in path.read_text()
