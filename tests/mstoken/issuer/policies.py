"""Policy files for tests, and the keys in them."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from mstoken.errors import PolicyError
from mstoken.issuer.keys import RegisteredKey
from mstoken.issuer.policy import Policy

P256_KEY = ec.generate_private_key(ec.SECP256R1())
P256 = ECAlgorithm.to_jwk(P256_KEY.public_key(), as_dict=True)
ED25519_KEY = ed25519.Ed25519PrivateKey.generate()
ED25519 = OKPAlgorithm.to_jwk(ED25519_KEY.public_key(), as_dict=True)


def inline(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def with_keys(*jwks: Any) -> str:
    """A policy file in which a service outside Google Cloud has these keys; the first one stands on line 3."""
    items = "".join(f"  {{ jwk = {inline(jwk)} }},\n" for jwk in jwks)
    return f"[services.warehouse]\nkeys = [\n{items}]\n"


def key(jwk: Any) -> RegisteredKey:
    """The one registered key of a policy file."""
    (found,) = Policy.parse(with_keys(jwk), "policy.toml").keys_of("warehouse")
    return found


def faults(text: str) -> list[str]:
    """The sentences about a policy file that is wrong, without the file's name."""
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text, "policy.toml")
    return [sentence.removeprefix("policy.toml").removeprefix(", ") for sentence in str(caught.value).split("\n")]


def fault(text: str) -> str:
    """The only sentence about a policy file that is wrong."""
    (sentence,) = faults(text)
    return sentence
