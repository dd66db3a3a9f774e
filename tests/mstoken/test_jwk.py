"""EC P-256 public keys as JWK: writing, reading and identifying them."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm

from mstoken.jwk import coordinate, is_es256_signature, public_jwk, public_key, thumbprint, verifies_es256
from mstoken.strict_jwt import base64url

RFC_9449 = json.loads((Path(__file__).parent / "vectors/rfc9449.json").read_text())
KEY = ec.generate_private_key(ec.SECP256R1())
JWK = public_jwk(KEY.public_key())


def test_the_thumbprint_of_the_standard() -> None:
    """The key of RFC 9449 has the thumbprint that the RFC shows, with any other members, in any order."""
    jwk = RFC_9449["proofs"][0]["header"]["jwk"]
    assert thumbprint(jwk) == RFC_9449["jkt"]
    more = {"use": "sig", **dict(reversed(jwk.items())), "kid": "a name", "alg": "any"}
    assert thumbprint(more) == RFC_9449["jkt"]


@pytest.mark.parametrize("missing", ["kty", "crv", "x", "y"])
def test_half_a_key_has_no_thumbprint(missing: str) -> None:
    """Every member that defines the key is required."""
    with pytest.raises(KeyError):
        thumbprint({name: value for name, value in JWK.items() if name != missing})


def test_a_public_key_is_written_with_the_members_that_define_it() -> None:
    """PyJWT reads the same key from them."""
    assert JWK.keys() == {"kty", "crv", "x", "y"}
    assert ECAlgorithm.from_jwk(JWK) == KEY.public_key()


def test_coordinates_are_written_with_leading_zeros() -> None:
    """A coordinate has 32 bytes, also if its number is small (RFC 7518, section 6.2.1.2)."""
    y = 0x66485C780E2F83D72433BD5D84A06BB6541C2AF31DAE871728BF856A174F93F4
    jwk = public_jwk(ec.EllipticCurvePublicNumbers(0, y, ec.SECP256R1()).public_key())
    assert (coordinate(jwk["x"]), coordinate(jwk["y"])) == ("A" * 43, base64url(y.to_bytes(32, "big")))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ed25519.Ed25519PrivateKey.generate().public_key(),
        rsa.generate_private_key(65537, 2048).public_key(),
        KEY,
        "a key",
    ],
    ids=["P-384", "secp256k1", "Ed25519", "RSA", "private", "text"],
)
def test_no_other_key_is_written(key: object) -> None:
    """Neither a key of another kind nor a private key becomes a JWK."""
    with pytest.raises(ValueError, match="not an EC P-256 public key"):
        public_jwk(key)


def test_a_coordinate_has_one_spelling() -> None:
    """It is 32 bytes in canonical base64url, so that a key has only one thumbprint."""
    good = base64url(bytes(31) + b"\x01")
    assert coordinate(good) == good
    for other in (good + "=", good[:-1] + "F", base64url(bytes(31)), base64url(bytes(33)), "", None, 5, ["x"]):
        with pytest.raises(ValueError, match="32 bytes in base64url"):
            coordinate(other)


def test_a_public_key_is_read_from_its_coordinates() -> None:
    """The result is the key that was written."""
    assert public_key(JWK["x"], JWK["y"]) == KEY.public_key()


def test_coordinates_of_another_point_are_refused() -> None:
    """Both coordinates must be those of a point on P-256."""
    for x, y in ((JWK["x"], JWK["x"]), (base64url(bytes(32)), base64url(bytes(32))), ("_" * 42 + "8", JWK["y"])):
        with pytest.raises(ValueError, match="not a point on the curve P-256"):
            public_key(x, y)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"kid": "a name"},
        {"alg": "ES256", "use": "sig"},
        {"key_ops": ["verify"], "ext": True},
        {"key_ops": ["sign", "verify"]},
    ],
)
def test_a_key_may_say_that_it_is_for_es256(more: dict[str, Any]) -> None:
    """The members alg, use and key_ops are optional. Browsers export keys with key_ops and ext."""
    assert verifies_es256(JWK | more)


@pytest.mark.parametrize(
    "more",
    [
        {"alg": "ES384"},
        {"alg": "ECDH-ES"},
        {"alg": None},
        {"alg": ["ES256"]},
        {"use": "enc"},
        {"use": None},
        {"key_ops": []},
        {"key_ops": ["deriveKey"]},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"key_ops": None},
        {"alg": "ES256", "use": "sig", "key_ops": ["encrypt"]},
    ],
)
def test_a_key_for_something_else_does_not_verify_es256(more: dict[str, Any]) -> None:
    """A key whose alg, use or key_ops says otherwise must not be used (RFC 7517, sections 4.2 to 4.4)."""
    assert not verifies_es256(JWK | more)


def test_a_signature_has_64_bytes() -> None:
    """A signature with more or fewer bytes is refused, also if its numbers are the same (RFC 7518, section 3.4)."""
    signature = ECAlgorithm(ECAlgorithm.SHA256).sign(b"signed", KEY)
    assert is_es256_signature(signature, b"signed", KEY.public_key())
    r, s = signature[:32], signature[32:]
    for other in (r + b"\0" + s, signature[:-1], r, b"", b"\0" + signature):
        assert not is_es256_signature(other, b"signed", KEY.public_key())
