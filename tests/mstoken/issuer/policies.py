"""Policy files for tests, and the keys in them."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mstoken.errors import PolicyError
from mstoken.issuer.keys import RegisteredKey
from mstoken.issuer.policy import Policy
from mstoken.jwk import public_jwk

P256_KEY = ec.generate_private_key(ec.SECP256R1())
P256 = public_jwk(P256_KEY.public_key())
OTHER_P256 = public_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())


def inline(value: Any) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def with_keys(*jwks: Any) -> str:
    """Return a policy file in which a service outside Google Cloud has these keys."""
    items = "".join(f"  {{ jwk = {inline(jwk)} }},\n" for jwk in jwks)
    return f"[services.warehouse]\nkeys = [\n{items}]\n"


def key(jwk: Any) -> RegisteredKey:
    """Return the one registered key of a policy file."""
    (found,) = Policy.parse(with_keys(jwk), "policy.toml").keys_of("warehouse")
    return found


def errors_of(text: str) -> list[str]:
    """Return the errors of a policy file that is wrong, without the name of the file."""
    with pytest.raises(PolicyError) as caught:
        Policy.parse(text, "policy.toml")
    return [line.removeprefix("policy.toml: ") for line in str(caught.value).split("\n")]


def error_of(text: str) -> str:
    """Return the only error of a policy file that is wrong."""
    (error,) = errors_of(text)
    return error
