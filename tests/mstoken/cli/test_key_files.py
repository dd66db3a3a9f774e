"""Keys in files."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm

from mstoken.caller.credentials import RegisteredKey as Signer
from mstoken.cli.failures import CommandError
from mstoken.cli.key_files import Kind, new_key, read_public, registered, write_private
from mstoken.jwk import public_jwk


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


@pytest.mark.parametrize("kind", Kind)
def test_a_private_key_is_for_its_owner_only(tmp_path: Path, kind: Kind) -> None:
    """It is written as PKCS#8 into a file of mode 0600, and a caller can sign with it."""
    path = tmp_path / "key.pem"
    write_private(path, new_key(kind))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    Signer("warehouse", "https://token.example.com", path)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A file that is there stays as it is, and so does what a link leads to."""
    path = tmp_path / "key.pem"
    path.write_text("precious")
    link = tmp_path / "link.pem"
    link.symlink_to(tmp_path / "nowhere.pem")
    for taken in (path, link):
        with pytest.raises(FileExistsError):
            write_private(taken, new_key(Kind.ES256))
    assert path.read_text() == "precious"
    assert not (tmp_path / "nowhere.pem").exists()


@pytest.mark.parametrize("kind", Kind)
def test_public_keys_in_both_forms(tmp_path: Path, kind: Kind) -> None:
    """PEM and JWK of a key are the same key, and its algorithm is its kind."""
    key, path = new_key(kind), tmp_path / "key"
    jwk = public_jwk(key.public_key())
    path.write_bytes(public_pem(key))
    assert read_public(path) == jwk
    path.write_text(json.dumps(jwk | {"kid": "mine", "use": "sig", "alg": kind.value}))
    assert read_public(path) == jwk
    assert registered(jwk).algorithm == kind.value


def private_pem() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


JWK = public_jwk(new_key(Kind.ES256).public_key())
PRIVATE_JWK = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (private_pem(), "only its public half"),
        (json.dumps(PRIVATE_JWK).encode(), "only its public half"),
        (public_pem(rsa.generate_private_key(65537, 2048)), "another kind"),
        (public_pem(ec.generate_private_key(ec.SECP384R1())), "another kind"),
        (json.dumps(JWK | {"crv": "P-384"}).encode(), "no such key"),
        (json.dumps(JWK | {"use": "enc"}).encode(), "no such key"),
        (json.dumps(JWK | {"y": JWK["x"]}).encode(), "no such key"),
        (json.dumps({"keys": [JWK]}).encode(), "no such key"),
        (b"{", "no JSON"),
        (b"ssh-ed25519 AAAA", "no PEM"),
        (b"", "no PEM"),
    ],
    ids=["PEM", "JWK", "RSA", "P-384", "crv", "use", "off the curve", "set", "half", "ssh", "nothing"],
)
def test_what_is_no_public_key_of_ours(tmp_path: Path, content: bytes, said: str) -> None:
    """Private keys and other kinds are refused, with the file's name and nothing of what stands in it."""
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(CommandError, match=said) as caught:
        read_public(path)
    assert str(path) in str(caught.value)
    assert not any(secret in str(caught.value) for secret in (PRIVATE_JWK["d"], JWK["x"], "AAAA"))
