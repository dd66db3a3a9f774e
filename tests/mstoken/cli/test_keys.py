"""`mstoken keys`."""

import datetime
import json
import stat
import tomllib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mstoken.issuer.policy import Policy
from mstoken.jwk import public_jwk, thumbprint
from tests.mstoken.cli.conftest import KEY_ID, SHOP, Run


def private_key_in(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def test_a_new_key(run: Run, tmp_path: Path) -> None:
    """The private key is in a new file, and stdout has exactly the lines that register the public key today."""
    before = today()
    result = run("keys", "add", "warehouse")
    assert result.exit_code == 0
    (key,) = Policy.parse(result.stdout, "stdout").keys_of("warehouse")
    assert key.added is not None
    assert before <= key.added <= today()
    assert key.expires is None
    file = tmp_path / f"warehouse-{key.key_id[:8]}.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert thumbprint(public_jwk(private_key_in(file).public_key())) == key.key_id
    assert key.key_id in result.stdout
    assert f"The private key is in {file.name}." in result.stderr
    assert "MSTOKEN_PRIVATE_KEY_FILE" in result.stderr
    assert "firebase deploy" in result.stderr


def test_a_key_that_expires(run: Run) -> None:
    """The printed lines have the date."""
    tomorrow = today() + datetime.timedelta(1)
    printed = run("keys", "add", "warehouse", "--expires", tomorrow.isoformat()).stdout
    (key,) = Policy.parse(printed, "stdout").keys_of("warehouse")
    assert key.expires == tomorrow


@pytest.mark.parametrize("date", ["today", "2020-01-01", "2027-02-30", "soon"])
def test_a_key_cannot_expire_before_tomorrow(run: Run, tmp_path: Path, date: str) -> None:
    """Another date is a usage error, and no file is written."""
    given = today().isoformat() if date == "today" else date
    assert run("keys", "add", "warehouse", "--expires", given).exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_policy_is_not_changed(run: Run, shop: Path) -> None:
    """A person adds the printed lines, and another one reviews them. Together with the file they are a valid policy."""
    result = run("keys", "add", "warehouse")
    assert shop.read_text() == SHOP
    keys = Policy.parse(SHOP + result.stdout, "policy.toml").keys_of("warehouse")
    assert [key.key_id == KEY_ID for key in keys] == [True, False]


def test_a_key_for_a_new_service_needs_no_policy(run: Run) -> None:
    """The printed lines work for a service that the policy does not have yet, together with its calls."""
    printed = run("keys", "add", "courier").stdout
    text = f'[services.product]\n[services.courier]\ncalls = ["product"]\n{printed}'
    assert Policy.parse(text, "policy.toml").allows("courier", "product")


def test_a_key_as_json(run: Run, tmp_path: Path) -> None:
    """A script gets the id of the key, the file of the private key and the lines for the policy."""
    result = run("keys", "add", "warehouse", "--out", "mine.pem", "--json")
    answer = json.loads(result.stdout)
    (key,) = Policy.parse(answer.pop("policy_toml"), "policy.toml").keys_of("warehouse")
    assert answer == {"service": "warehouse", "key_id": key.key_id, "private_key_file": "mine.pem"}
    assert thumbprint(public_jwk(private_key_in(tmp_path / "mine.pem").public_key())) == key.key_id


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_the_private_key_is_not_printed(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    """No output contains anything of it."""
    result = run("keys", "add", "warehouse", "--out", "mine.pem", *arguments)
    number = private_key_in(tmp_path / "mine.pem").private_numbers().private_value
    lines = (tmp_path / "mine.pem").read_text().splitlines()
    for secret in (*lines, str(number), f"{number:x}"):
        assert secret not in result.output


def test_no_file_is_overwritten(run: Run, tmp_path: Path) -> None:
    """If the file exists, nothing is written and nothing is printed for the policy."""
    (tmp_path / "mine.pem").write_text("precious")
    result = run("keys", "add", "warehouse", "--out", "mine.pem")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "mstoken: mine.pem: File exists\n")
    assert (tmp_path / "mine.pem").read_text() == "precious"


def test_an_invalid_service_name_gets_no_key(run: Run, tmp_path: Path) -> None:
    """It is a usage error, and no file is written."""
    assert run("keys", "add", "Warehouse!").exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_the_public_key_of_a_service_that_has_one(run: Run, tmp_path: Path) -> None:
    """The lines for the policy are printed, and no private key is created."""
    jwk = public_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())
    (tmp_path / "key.jwk").write_text(json.dumps(jwk))
    result = run("keys", "add", "warehouse", "--public", "key.jwk")
    assert tomllib.loads(result.stdout)["services"]["warehouse"]["keys"][0]["jwk"] == jwk
    assert "private" not in result.stderr
    answer = json.loads(run("keys", "add", "warehouse", "--public", "key.jwk", "--json").stdout)
    assert (answer["key_id"], answer["private_key_file"]) == (thumbprint(jwk), None)
    assert [path.name for path in tmp_path.iterdir()] == ["key.jwk"]


def test_public_cannot_be_combined_with_out(run: Run) -> None:
    """There is no private key to write."""
    result = run("keys", "add", "warehouse", "--public", "key.jwk", "--out", "key.pem")
    assert result.exit_code == 2
    assert "--out has no use with --public" in result.stderr


def test_the_list_of_keys(run: Run, shop: Path) -> None:
    """Each key has its service, its dates, and its place in the policy, where it can be deleted."""
    shop.write_text(SHOP.replace("added = 2026-11-24\n", "added = 2026-11-24\nexpires = 2100-01-01\n"))
    lines = [line.split() for line in run("keys", "list").stdout.splitlines()]
    place = "services.warehouse.keys[0]"
    assert lines == [
        ["SERVICE", "KEY", "ID", "ADDED", "EXPIRES", "PLACE"],
        ["warehouse", KEY_ID, "2026-11-24", "2100-01-01", place],
    ]
    answer = json.loads(run("keys", "list", "--json").stdout)
    dates = {"added": "2026-11-24", "expires": "2100-01-01"}
    assert answer == {"keys": [{"service": "warehouse", "key_id": KEY_ID, **dates, "place": place}]}


def test_the_keys_of_one_service(run: Run, shop: Path) -> None:
    """Other services are left out. An unknown service is an error."""
    assert KEY_ID in run("keys", "list", "warehouse").stdout
    assert run("keys", "list", "product").stdout == "There are no registered keys.\n"
    unknown = run("keys", "list", "wharehouse")
    assert unknown.exit_code == 1
    assert unknown.stderr == (
        "mstoken: policy.toml has no service 'wharehouse'. It has: billing, product, warehouse.\n"
    )


def test_a_key_without_a_date(run: Run, shop: Path) -> None:
    """The dates are optional in the policy."""
    shop.write_text(SHOP.replace("added = 2026-11-24\n", ""))
    assert run("keys", "list").stdout.splitlines()[1].split()[2:4] == ["-", "-"]
    (listed,) = json.loads(run("keys", "list", "--json").stdout)["keys"]
    assert (listed["added"], listed["expires"]) == (None, None)
