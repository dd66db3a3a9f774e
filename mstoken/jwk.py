"""Public keys as JWK (RFC 7517): how they are written, known, and told from private ones."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from mstoken import strict_jwt

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""What only private and symmetric keys have (RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1)."""
PUBLIC_MEMBERS = ("kty", "crv", "x", "y")
"""What makes a key of P-256 or Ed25519 the key it is (RFC 7518, section 6.2.1; RFC 8037, section 2)."""

_COORDINATE_BYTES = 32
_THUMBPRINT_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
}


def public_jwk(key: object) -> dict[str, str]:
    """A public key of P-256 or Ed25519 as JWK, its members those that make it the key it is.

    Raises ValueError for anything else.
    """
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        jwk = ECAlgorithm.to_jwk(key, as_dict=True)
    elif isinstance(key, ed25519.Ed25519PublicKey):
        jwk = OKPAlgorithm.to_jwk(key, as_dict=True)
    else:
        raise ValueError("a key of EC P-256 or Ed25519 is wanted")
    return {name: jwk[name] for name in PUBLIC_MEMBERS if name in jwk}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The SHA-256 thumbprint of a public key as JWK, base64url (RFC 7638, section 3; RFC 8037 for OKP).

    Raises ValueError for a kind of key that is not known here, KeyError where a member is missing.
    """
    members = next((names for kind, names in _THUMBPRINT_MEMBERS.items() if kind == jwk["kty"]), None)
    if members is None:
        raise ValueError(f"a key of the type {', '.join(_THUMBPRINT_MEMBERS)} is wanted")
    text = json.dumps({name: jwk[name] for name in members}, separators=(",", ":"), ensure_ascii=False)
    return strict_jwt.base64url(sha256(text.encode()).digest())


def coordinate(value: object) -> str:
    """A coordinate of a key of P-256 or Ed25519, in its one spelling (RFC 7518, section 6.2.1.2), so that a key has one
    thumbprint. Raises ValueError for anything else.
    """
    try:
        if isinstance(value, str) and len(strict_jwt.base64url_decode(value)) == _COORDINATE_BYTES:
            return value
    except ValueError:
        pass
    raise ValueError("must be 32 bytes in base64url without padding")


def public_key(x: str, y: str) -> ec.EllipticCurvePublicKey:
    """Return the P-256 key with these coordinates, base64url. Raise ValueError if it is not a point on the curve."""
    x_number, y_number = (int.from_bytes(strict_jwt.base64url_decode(value), "big") for value in (x, y))
    try:
        return ec.EllipticCurvePublicNumbers(x_number, y_number, ec.SECP256R1()).public_key()
    except ValueError:
        raise ValueError("not a point on the curve P-256") from None
