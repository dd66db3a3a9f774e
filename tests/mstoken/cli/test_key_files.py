"""Key files."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm

from mstoken.cli.errors import CommandError
from mstoken.cli.key_files import read_public_key, write_private_key
from mstoken.jwk import public_jwk, thumbprint

KEY = ec.generate_private_key(ec.SECP256R1())
JWK = public_jwk(KEY.public_key())
PRIVATE_JWK = ECAlgorithm.to_jwk(KEY, as_dict=True)


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem


def private_pem(encryption: serialization.KeySerializationEncryption) -> bytes:
    return KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def test_only_the_owner_can_read_a_private_key(tmp_path: Path) -> None:
    """It is written as PKCS#8 in PEM without a password, into a file with mode 0600."""
    path = tmp_path / "key.pem"
    write_private_key(path, KEY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    assert key.public_key() == KEY.public_key()


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    """A file that exists stays as it is, and so does the target of a symbolic link."""
    path = tmp_path / "key.pem"
    path.write_text("precious")
    link = tmp_path / "link.pem"
    link.symlink_to(tmp_path / "nowhere.pem")
    for existing in (path, link):
        with pytest.raises(FileExistsError):
            write_private_key(existing, KEY)
    assert path.read_text() == "precious"
    assert not (tmp_path / "nowhere.pem").exists()


@pytest.mark.parametrize(
    "content",
    [
        public_pem(KEY),
        json.dumps(JWK).encode(),
        json.dumps(JWK | {"kid": "mine", "use": "sig", "alg": "ES256"}).encode(),
    ],
    ids=["PEM", "JWK", "JWK with more members"],
)
def test_a_public_key_is_read_from_pem_and_jwk(tmp_path: Path, content: bytes) -> None:
    """Both are the same key. Only the members that define it are kept."""
    path = tmp_path / "key"
    path.write_bytes(content)
    assert read_public_key(path).public_members == JWK
    assert read_public_key(path).key_id == thumbprint(JWK)


@pytest.mark.parametrize(
    "content",
    [
        private_pem(serialization.NoEncryption()),
        private_pem(serialization.BestAvailableEncryption(b"password")),
        json.dumps(PRIVATE_JWK).encode(),
    ],
    ids=["PEM", "encrypted PEM", "JWK"],
)
def test_a_private_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """The error names the file and repeats nothing of the key."""
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(CommandError) as caught:
        read_public_key(path)
    assert str(caught.value) == f"{path}: this is a private key. Register the public key that belongs to it."


@pytest.mark.parametrize(
    "content",
    [
        public_pem(rsa.generate_private_key(65537, 2048)),
        public_pem(ec.generate_private_key(ec.SECP384R1())),
        public_pem(ed25519.Ed25519PrivateKey.generate()),
        json.dumps(JWK | {"crv": "P-384"}).encode(),
        json.dumps(JWK | {"use": "enc"}).encode(),
        json.dumps(JWK | {"y": JWK["x"]}).encode(),
        json.dumps({"keys": [JWK]}).encode(),
        b"{",
        b"ssh-ed25519 AAAA",
        b"",
    ],
    ids=["RSA", "P-384", "Ed25519", "crv", "use", "not on the curve", "set", "half", "ssh", "empty"],
)
def test_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    """The error says what is expected, and repeats nothing of the file."""
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(CommandError) as caught:
        read_public_key(path)
    assert str(caught.value) == f"{path}: expected a public key, EC P-256, in PEM or as a JWK."
