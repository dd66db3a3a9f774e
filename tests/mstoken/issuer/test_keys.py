"""Registered keys: which are taken for one, by which name they are known, and which are not to be trusted."""

import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import OKPAlgorithm
from pydantic import ValidationError

from mstoken.errors import PolicyError
from mstoken.issuer.keys import RegisteredKey
from mstoken.issuer.policy import Policy
from mstoken.jwk import thumbprint
from mstoken.strict_jwt import base64url
from tests.mstoken.issuer.policies import ED25519, ED25519_KEY, P256, P256_KEY, fault, key, with_keys

VECTORS = Path(__file__).parents[1] / "vectors"
SMALL_ORDER = [
    bytes([1, *[0] * 31]),
    bytes(32),
    bytes([*[0] * 31, 0x80]),
    (2**255 - 20).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
]
"""The eight points of small order of edwards25519: 1, 4, 4, 2, and four times 8."""


@pytest.mark.parametrize(
    ("private", "jwk", "algorithm"), [(P256_KEY, P256, "ES256"), (ED25519_KEY, ED25519, "EdDSA")], ids=["EC", "OKP"]
)
def test_a_registered_key_verifies_what_its_service_signs(private: Any, jwk: dict[str, str], algorithm: str) -> None:
    """Of each kind of key that is accepted: PyJWT takes it, with the one algorithm that goes with it."""
    registered = key(jwk)
    assert registered.algorithm == algorithm
    token = jwt.encode({"iss": "warehouse"}, private, algorithm)
    assert jwt.decode(token, registered.public_key, [registered.algorithm]) == {"iss": "warehouse"}


@pytest.mark.parametrize("jwk", [P256, ED25519], ids=["EC", "OKP"])
def test_a_registered_key_is_known_by_its_thumbprint(jwk: dict[str, str]) -> None:
    """RFC 7638: whatever else the JWK says of the key."""
    assert key(jwk).key_id == key(jwk | {"kid": "a name", "use": "sig"}).key_id == thumbprint(jwk)


def test_the_key_of_rfc_8037() -> None:
    """Its thumbprint is the one that the RFC prints (appendix A.3)."""
    (vector,) = (one for one in json.loads((VECTORS / "thumbprints.json").read_text()) if one["jwk"]["kty"] == "OKP")
    assert key(vector["jwk"]).key_id == vector["thumbprint"]


@pytest.mark.parametrize("more", [{"kid": "any"}, {"kid": 7}, {"kid": {"a": 1}}, {"use": "sig"}, {"alg": "ES256"}])
def test_what_else_a_jwk_may_say(more: dict[str, Any]) -> None:
    """A name is ignored; a use and an algorithm may be said if they are the ones that the key is for."""
    assert key(P256 | more).algorithm == "ES256"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kty": "RSA"}, "jwk: a key of the kty 'EC' or 'OKP' is wanted"),
        ({"kty": "oct"}, "jwk: a key of the kty 'EC' or 'OKP' is wanted"),
        ({"kty": ["EC"]}, "jwk: a key of the kty 'EC' or 'OKP' is wanted"),
        ({"crv": "P-384"}, "jwk.crv: 'P-256' is wanted"),
        ({"crv": "secp256k1"}, "jwk.crv: 'P-256' is wanted"),
        ({"crv": "Ed25519"}, "jwk.crv: 'P-256' is wanted"),
        ({"alg": "ES384"}, "jwk.alg: 'ES256' is wanted"),
        ({"alg": "EdDSA"}, "jwk.alg: 'ES256' is wanted"),
        ({"alg": "none"}, "jwk.alg: 'ES256' is wanted"),
        ({"use": "enc"}, "jwk.use: 'sig' is wanted"),
        ({"x": P256["y"]}, "jwk: it is no key of the curve P-256"),
        ({"x": "A" * 43, "y": "A" * 43}, "jwk: it is no key of the curve P-256"),
        ({"x": P256["x"] + "="}, "jwk.x: 32 bytes of base64url are wanted, without padding"),
        ({"y": base64url(bytes(31))}, "jwk.y: 32 bytes of base64url are wanted, without padding"),
        ({"y": base64url(bytes(33))}, "jwk.y: 32 bytes of base64url are wanted, without padding"),
        ({"y": "A" * 42 + "B"}, "jwk.y: 32 bytes of base64url are wanted, without padding"),
        ({"x": 5}, "jwk.x: a text is wanted"),
    ],
)
def test_keys_that_are_none_of_p_256(changes: dict[str, Any], said: str) -> None:
    """ES256 on its own curve, in the one spelling that a key has, and nothing else."""
    assert fault(with_keys(P256 | changes)) == f"line 3: services.warehouse.keys.0.{said}"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crv": "Ed448"}, "jwk.crv: 'Ed25519' is wanted"),
        ({"crv": "X25519"}, "jwk.crv: 'Ed25519' is wanted"),
        ({"alg": "ES256"}, "jwk.alg: 'EdDSA' is wanted"),
        ({"x": base64url(bytes(57))}, "jwk.x: 32 bytes of base64url are wanted, without padding"),
        ({"x": base64url((2).to_bytes(32, "little"))}, "jwk: it is no key of the curve Ed25519"),
        ({"x": base64url((2**255 - 19 + 3).to_bytes(32, "little"))}, "jwk: it is no key of the curve Ed25519"),
        *[({"x": base64url(point)}, "jwk: it is no key of the curve Ed25519") for point in SMALL_ORDER],
    ],
)
def test_keys_that_are_none_of_ed25519(changes: dict[str, Any], said: str) -> None:
    """Of points that cryptography takes too, those that are off the curve, or that anyone can sign for."""
    assert fault(with_keys(ED25519 | changes)) == f"line 3: services.warehouse.keys.0.{said}"


@given(st.binary(min_size=32, max_size=32))
def test_every_key_of_ed25519_is_accepted(seed: bytes) -> None:
    """Whatever is the public key of a private one."""
    public = ed25519.Ed25519PrivateKey.from_private_bytes(seed).public_key()
    assert key(OKPAlgorithm.to_jwk(public, as_dict=True)).public_key == public


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
@pytest.mark.parametrize("jwk", [P256, ED25519, {"kty": "RSA"}, {"kty": "oct"}, {}], ids=lambda jwk: jwk.get("kty"))
def test_a_private_key_is_refused_and_not_repeated(jwk: dict[str, Any], member: str) -> None:
    """Whoever has read the file has the key: it is worth nothing any more, and the log is not to have it as well."""
    secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"
    for text in (
        with_keys(jwk | {member: secret}),
        with_keys(ED25519).replace("{ jwk", f"{{ {member} = '{secret}', jwk"),
    ):
        with pytest.raises(PolicyError) as caught:
            Policy.parse(text, "policy.toml")
        assert "keys.0: a private key stands here, which is not to be trusted any more" in str(caught.value)
        assert caught.value.line == 3
        assert caught.value.__context__ is None
        assert secret not in repr(vars(caught.value)) + str(caught.value)


def test_errors_of_models_hide_what_was_read() -> None:
    """A private key is not repeated either when a key is made in Python."""
    with pytest.raises(ValidationError) as caught:
        RegisteredKey.model_validate({"jwk": P256 | {"d": "secret-of-a-service"}})
    assert "secret-of-a-service" not in str(caught.value)
