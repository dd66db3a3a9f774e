"""Public keys as JWK: how they are written, and by which name they are known."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from mstoken.jwk import coordinate, public_jwk, public_key, thumbprint
from mstoken.strict_jwt import base64url

THUMBPRINTS = json.loads((Path(__file__).parent / "vectors/thumbprints.json").read_text())
JWK = public_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())


@pytest.mark.parametrize("vector", THUMBPRINTS, ids=lambda vector: vector["from"])
def test_thumbprints_of_the_standards(vector: dict[str, Any]) -> None:
    """RFC 7638, RFC 8037 and RFC 9449: only the members that make the key count, in whatever order they stand."""
    assert thumbprint(vector["jwk"]) == vector["thumbprint"]
    more = {"use": "sig", **dict(reversed(vector["jwk"].items())), "kid": "a name", "alg": "any"}
    assert thumbprint(more) == vector["thumbprint"]


def test_no_thumbprint_of_what_is_no_public_key() -> None:
    """A secret is hashed for nobody, and half a key has no thumbprint."""
    with pytest.raises(ValueError, match="EC, OKP, RSA"):
        thumbprint({"kty": "oct", "k": "c2VjcmV0"})
    for missing in ("kty", "crv", "x", "y"):
        with pytest.raises(KeyError):
            thumbprint({name: value for name, value in JWK.items() if name != missing})


@pytest.mark.parametrize(
    ("key", "reader"),
    [
        (ec.generate_private_key(ec.SECP256R1()).public_key(), ECAlgorithm),
        (ed25519.Ed25519PrivateKey.generate().public_key(), OKPAlgorithm),
    ],
    ids=["P-256", "Ed25519"],
)
def test_a_public_key_is_written_as_it_is_read(key: Any, reader: Any) -> None:
    """With the members that make it the key it is, and no other."""
    jwk = public_jwk(key)
    assert jwk.keys() <= {"kty", "crv", "x", "y"}
    assert reader.from_jwk(jwk) == key


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ed448.Ed448PrivateKey.generate().public_key(),
        rsa.generate_private_key(65537, 2048).public_key(),
        ec.generate_private_key(ec.SECP256R1()),
        "a key",
    ],
    ids=["P-384", "secp256k1", "Ed448", "RSA", "private", "text"],
)
def test_no_other_key_is_written(key: object) -> None:
    """Neither of another curve, nor a private one."""
    with pytest.raises(ValueError, match="EC P-256 or Ed25519 is wanted"):
        public_jwk(key)


def test_a_coordinate_has_one_spelling() -> None:
    """32 bytes in canonical base64url; a key has one thumbprint by that."""
    good = base64url(bytes(31) + b"\x01")
    assert coordinate(good) == good
    for other in (good + "=", good[:-1] + "F", base64url(bytes(31)), base64url(bytes(33)), "", None, 5, ["x"]):
        with pytest.raises(ValueError, match="32 bytes in base64url"):
            coordinate(other)


def test_a_public_key_is_read_from_its_coordinates() -> None:
    """The result is the key that has these coordinates."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    jwk = public_jwk(key)
    assert public_key(jwk["x"], jwk["y"]) == key


def test_coordinates_of_another_point_are_refused() -> None:
    """Both coordinates must be those of a point on P-256."""
    for x, y in ((JWK["x"], JWK["x"]), (base64url(bytes(32)), base64url(bytes(32))), ("_" * 42 + "8", JWK["y"])):
        with pytest.raises(ValueError, match="not a point on the curve P-256"):
            public_key(x, y)
