"""EC P-256 public keys as JWK (RFC 7517; RFC 7518, section 6.2.1): writing, reading and identifying them.

Proofs and registered keys use no other keys.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from mstoken import strict_jwt
from mstoken.wire import SIGNATURE_ALGORITHM

KEY_TYPE = "EC"
CURVE = "P-256"
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""The members that only private and symmetric keys have (RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1)."""
PUBLIC_MEMBERS = ("kty", "crv", "x", "y")
"""The members that define a public key (RFC 7518, section 6.2.1)."""

_COORDINATE_BYTES = 32
_ECDSA = ec.ECDSA(hashes.SHA256())


def public_jwk(key: object) -> dict[str, str]:
    """Return a public key as JWK, with the members that define it. Raise ValueError for any other kind of key."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("not an EC P-256 public key")
    numbers = key.public_numbers()
    x, y = (strict_jwt.base64url(number.to_bytes(_COORDINATE_BYTES, "big")) for number in (numbers.x, numbers.y))
    return {"kty": KEY_TYPE, "crv": CURVE, "x": x, "y": y}


def public_key(x: str, y: str) -> ec.EllipticCurvePublicKey:
    """Return the key with these coordinates, base64url. Raise ValueError if they are not a point on the curve."""
    x_number, y_number = (int.from_bytes(strict_jwt.base64url_decode(value), "big") for value in (x, y))
    try:
        return ec.EllipticCurvePublicNumbers(x_number, y_number, ec.SECP256R1()).public_key()
    except ValueError:
        raise ValueError(f"not a point on the curve {CURVE}") from None


def verifies_es256(jwk: Mapping[str, Any]) -> bool:
    """Return whether a JWK says that its key is for verifying ES256 signatures (RFC 7517, sections 4.2 to 4.4).

    `alg`, `use` and `key_ops` are optional. A key that is meant for something else, such as encryption, must not be
    used.
    """
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("alg", SIGNATURE_ALGORITHM) == SIGNATURE_ALGORITHM
        and jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
    )


def is_es256_signature(signature: bytes, signing_input: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    """Return whether `signature` is that of `signing_input` by `key`, with ES256 (RFC 7518, section 3.4).

    Kept by hand because PyJWT makes its hash and its algorithm anew for each signature, which takes 4 µs of 50.
    """
    if len(signature) != 2 * _COORDINATE_BYTES:
        return False
    r, s = (int.from_bytes(half, "big") for half in (signature[:_COORDINATE_BYTES], signature[_COORDINATE_BYTES:]))
    try:
        key.verify(encode_dss_signature(r, s), signing_input, _ECDSA)
    except InvalidSignature:
        return False
    return True


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the SHA-256 thumbprint of a public key as JWK: base64url, 43 characters (RFC 7638, section 3).

    Only the members that define the key count. Raise KeyError if one is missing.
    """
    text = json.dumps({name: jwk[name] for name in sorted(PUBLIC_MEMBERS)}, separators=(",", ":"))
    return strict_jwt.base64url(sha256(text.encode("ascii")).digest())


def coordinate(value: object) -> str:
    """Return `value` if it is a coordinate in its only valid spelling (RFC 7518, section 6.2.1.2).

    A key has exactly one thumbprint therefore. Raise ValueError for any other value.
    """
    try:
        if isinstance(value, str) and len(strict_jwt.base64url_decode(value)) == _COORDINATE_BYTES:
            return value
    except ValueError:
        pass
    raise ValueError(f"must be {_COORDINATE_BYTES} bytes in base64url without padding")
