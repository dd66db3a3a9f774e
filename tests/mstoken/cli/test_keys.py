"""`mstoken keys`."""

import datetime
import json
import stat
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from mstoken.cli.key_files import Kind, new_key, registered
from mstoken.issuer.policy import Policy
from mstoken.jwk import public_jwk
from tests.mstoken.cli.conftest import SHOP, Run


def key_ids(path: Path, service: str = "warehouse") -> list[str]:
    return [key.key_id for key in Policy.load(path).keys_of(service)]


def test_a_key_for_a_service(run: Run, shop: Path, tmp_path: Path) -> None:
    """The private half is in a new file named after service and key, the public one in the policy since today."""
    before = datetime.date.today()
    result = run("keys", "add", "warehouse")
    assert (result.exit_code, result.stderr) == (0, "")
    key = Policy.load(shop).keys_of("warehouse")[0]
    assert key.algorithm == "ES256"
    assert key.added is not None
    assert before <= key.added <= datetime.date.today()
    file = tmp_path / f"warehouse-{key.key_id[:8]}.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    private = serialization.load_pem_private_key(file.read_bytes(), password=None)
    assert registered(public_jwk(private.public_key())).key_id == key.key_id
    for said in (key.key_id, f"MSTOKEN_PRIVATE_KEY_FILE={file.name}", "firebase deploy"):
        assert said in result.stdout
    assert shop.read_text().startswith(SHOP)


def test_kind_and_file_as_one_likes(run: Run, shop: Path, tmp_path: Path) -> None:
    """A key of the other kind, in a file of another name, told as JSON."""
    result = run("keys", "add", "warehouse", "--kind", "EdDSA", "--out", "mine.pem", "--json")
    told = json.loads(result.stdout)
    assert told == {
        "service": "warehouse",
        "key_id": key_ids(shop)[0],
        "algorithm": "EdDSA",
        "private_key_file": "mine.pem",
    }
    assert b"PRIVATE KEY" in (tmp_path / "mine.pem").read_bytes()


def test_nothing_secret_is_printed(run: Run, shop: Path) -> None:
    """Of the private key there is nothing in the output."""
    result = run("keys", "add", "warehouse", "--out", "mine.pem")
    body = Path("mine.pem").read_text().splitlines()[1]
    assert body not in result.output
    assert "PRIVATE KEY-" not in result.output


def test_no_file_is_overwritten(run: Run, shop: Path, tmp_path: Path) -> None:
    """Where the file is there already nothing happens, to it or to the policy."""
    (tmp_path / "mine.pem").write_text("precious")
    result = run("keys", "add", "warehouse", "--out", "mine.pem")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "mstoken: mine.pem: File exists\n")
    assert (tmp_path / "mine.pem").read_text() == "precious"
    assert shop.read_text() == SHOP


def test_no_key_is_left_that_is_not_registered(run: Run, tmp_path: Path) -> None:
    """Where the policy cannot be written the private key's file is gone again."""
    pieces = "[services.warehouse]\n[services.product]\n[[services.warehouse.keys]]\njwk = {}\n"
    jwk = public_jwk(new_key(Kind.ES256).public_key())
    members = ", ".join(f'{name} = "{value}"' for name, value in jwk.items())
    (tmp_path / "policy.toml").write_text(pieces.format(f"{{ {members} }}"))
    result = run("keys", "add", "warehouse", "--out", "mine.pem")
    assert result.exit_code == 1
    assert "edit it by hand" in result.stderr
    assert not (tmp_path / "mine.pem").exists()


def test_no_key_for_nobody(run: Run, shop: Path, tmp_path: Path) -> None:
    """A service that the policy does not have gets no key, and no file is made."""
    result = run("keys", "add", "wharehouse")
    assert result.exit_code == 1
    assert "no service 'wharehouse'" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["policy.toml"]


def test_a_public_key_that_one_has(run: Run, shop: Path, tmp_path: Path) -> None:
    """It is registered, and no private one is made."""
    jwk = public_jwk(new_key(Kind.EDDSA).public_key())
    (tmp_path / "key.jwk").write_text(json.dumps(jwk))
    result = run("keys", "add", "warehouse", "--public", "key.jwk", "--json")
    assert json.loads(result.stdout)["private_key_file"] is None
    assert key_ids(shop) == [registered(jwk).key_id]
    assert {path.name for path in tmp_path.iterdir()} == {"policy.toml", "key.jwk"}
    again = run("keys", "add", "warehouse", "--public", "key.jwk")
    assert again.exit_code == 1
    assert "stands here twice" in again.stderr


def test_public_goes_alone(run: Run, shop: Path) -> None:
    """There is no kind or file to say of a key that is not made."""
    assert run("keys", "add", "warehouse", "--public", "key.jwk", "--kind", "EdDSA").exit_code == 2
    assert run("keys", "add", "warehouse", "--public", "key.jwk", "--out", "key.pem").exit_code == 2
    assert run("keys", "add", "warehouse", "--kind", "RS256").exit_code == 2


def test_listing(run: Run, shop: Path) -> None:
    """Each key with its service, kind and day; all, or those of one service."""
    assert run("keys", "list").stdout == "There are no registered keys.\n"
    run("keys", "add", "warehouse")
    run("keys", "add", "product", "--kind", "EdDSA")
    (warehouse,), (product,) = key_ids(shop), key_ids(shop, "product")
    today = Policy.load(shop).keys_of("product")[0].added
    lines = [line.split() for line in run("keys", "list").stdout.splitlines()]
    assert lines == [
        ["SERVICE", "KEY", "ID", "KIND", "ADDED"],
        ["product", product, "EdDSA", str(today)],
        ["warehouse", warehouse, "ES256", str(today)],
    ]
    one = json.loads(run("keys", "list", "product", "--json").stdout)
    assert one == {"keys": [{"service": "product", "key_id": product, "algorithm": "EdDSA", "added": str(today)}]}
    assert run("keys", "list", "wharehouse").exit_code == 1


def test_revoking_by_the_beginning_of_the_id(run: Run, shop: Path) -> None:
    """Six characters do where there is one such key; it is gone from the file, and the other stays."""
    run("keys", "add", "warehouse")
    run("keys", "add", "warehouse")
    first, second = key_ids(shop)
    result = run("keys", "revoke", "warehouse", first[:6])
    assert result.exit_code == 0
    assert first in result.stdout
    assert "firebase deploy" in result.stdout
    assert key_ids(shop) == [second]
    assert json.loads(run("keys", "revoke", "warehouse", second, "--json").stdout)["key_id"] == second
    assert shop.read_text().rstrip() == SHOP.rstrip()


def test_revoking_what_is_not_there(run: Run, shop: Path) -> None:
    """No such key is a no, less than six characters are a slip, and neither changes anything."""
    run("keys", "add", "warehouse")
    before = shop.read_text()
    none = run("keys", "revoke", "warehouse", "AAAAAA")
    assert none.exit_code == 1
    assert "no key whose id begins with 'AAAAAA'" in none.stderr
    assert run("keys", "revoke", "product", key_ids(shop)[0]).exit_code == 1
    assert run("keys", "revoke", "warehouse", key_ids(shop)[0][:5]).exit_code == 2
    assert shop.read_text() == before


def test_an_id_may_look_like_an_option(run: Run, shop: Path, tmp_path: Path) -> None:
    """One that begins with a dash is an id all the same."""
    while not registered(jwk := public_jwk(new_key(Kind.EDDSA).public_key())).key_id.startswith("-"):
        pass
    (tmp_path / "key.jwk").write_text(json.dumps(jwk))
    run("keys", "add", "warehouse", "--public", "key.jwk")
    result = run("keys", "revoke", "warehouse", key_ids(shop)[0][:7], "--json")
    assert result.exit_code == 0
    assert key_ids(shop) == []


def test_the_only_way_to_prove_oneself_stays(run: Run, shop: Path) -> None:
    """A service that calls others and has nothing but this key keeps it, and it is said why."""
    run("keys", "add", "warehouse")
    shop.write_text(shop.read_text().replace("[services.warehouse]", '[services.warehouse]\ncalls = ["product"]'))
    before = shop.read_text()
    result = run("keys", "revoke", "warehouse", key_ids(shop)[0])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "left as it is, since it would be wrong" in result.stderr
    assert "neither service_accounts nor keys" in result.stderr
    assert shop.read_text() == before
