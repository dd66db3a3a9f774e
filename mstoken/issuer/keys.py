"""Public keys that services outside Google Cloud have registered, as they stand in the policy: JWKs (RFC 7517)."""

import datetime
from typing import Annotated, Literal, TypeAlias

from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from jwt.exceptions import InvalidKeyError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from mstoken import strict_jwt
from mstoken.jwk import PRIVATE_MEMBERS, PUBLIC_MEMBERS, PublicKey, coordinate, thumbprint

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
"""The prime and the constant of the curve Ed25519 (RFC 8032, section 5.1)."""


_Coordinate: TypeAlias = Annotated[str, AfterValidator(coordinate)]


class Table(BaseModel):
    """A table of the policy. Errors do not repeat what stands in it, since it may be a private key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _Jwk(Table):
    """A public key as JWK (RFC 7517, section 4). What it is to be used for has only one answer here."""

    x: _Coordinate
    use: Literal["sig"] = "sig"
    kid: object = None
    """Read by nobody: a key is known by its thumbprint."""


class P256Jwk(_Jwk):
    """A key of the curve P-256, for ES256 (RFC 7518, sections 3.4 and 6.2.1)."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    y: _Coordinate
    alg: Literal["ES256"] = "ES256"


class Ed25519Jwk(_Jwk):
    """A key of the curve Ed25519, for EdDSA (RFC 8037, sections 2 and 3.1)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    alg: Literal["EdDSA"] = "EdDSA"


class RegisteredKey(Table):
    """A public key that a service outside Google Cloud signs JWTs with, and the day since when it stands here."""

    added: datetime.date | None = Field(default=None, strict=True)
    jwk: Annotated[P256Jwk | Ed25519Jwk, Field(discriminator="kty")]

    @model_validator(mode="before")
    @classmethod
    def _is_not_private(cls, value: object) -> object:
        tables = (value, value.get("jwk")) if isinstance(value, dict) else ()
        if any(isinstance(table, dict) and not PRIVATE_MEMBERS.isdisjoint(table) for table in tables):
            raise ValueError(
                "a private key stands here, which is not to be trusted any more, since others have seen it: "
                "make a new one, and register its public half"
            )
        return value

    @field_validator("jwk")
    @classmethod
    def _is_a_key(cls, jwk: P256Jwk | Ed25519Jwk) -> P256Jwk | Ed25519Jwk:
        try:
            _public_key(jwk)
        except (InvalidKeyError, ValueError):
            raise ValueError(f"it is no key of the curve {jwk.crv}") from None
        if isinstance(jwk, Ed25519Jwk) and not _is_point_of_ed25519(strict_jwt.base64url_decode(jwk.x)):
            raise ValueError(f"it is no key of the curve {jwk.crv}")
        return jwk

    @property
    def key_id(self) -> str:
        """The thumbprint of the key, base64url of SHA-256, 43 characters (RFC 7638)."""
        return thumbprint(_members(self.jwk))

    @property
    def algorithm(self) -> Literal["ES256", "EdDSA"]:
        """The one algorithm that signatures with this key have (RFC 8725, section 3.1)."""
        return self.jwk.alg

    @property
    def public_key(self) -> PublicKey:
        """The key as cryptography and PyJWT take it."""
        return _public_key(self.jwk)


def _members(jwk: P256Jwk | Ed25519Jwk) -> dict[str, str]:
    """What makes a key the key it is."""
    return jwk.model_dump(include=set(PUBLIC_MEMBERS))


def _public_key(jwk: P256Jwk | Ed25519Jwk) -> PublicKey:
    """The key that `jwk` says. Raises ValueError, `InvalidKeyError` where it is no point of its curve."""
    key = ECAlgorithm.from_jwk(_members(jwk)) if isinstance(jwk, P256Jwk) else OKPAlgorithm.from_jwk(_members(jwk))
    assert isinstance(key, PublicKey)  # noqa: S101 - without `d` it is no private one
    return key


def _is_point_of_ed25519(encoded: bytes) -> bool:
    """Whether 32 bytes are a point of the curve (RFC 8032, section 5.1.3), and none of the eight of small order.

    cryptography takes any 32 bytes, and with a point of small order as the key anyone can make signatures that pass.
    """
    y = int.from_bytes(encoded, "little") % 2**255
    v = y * y % _P
    u = (v - 1) * pow(_D * v + 1, -1, _P) % _P  # The squares of x and y will do.
    if y >= _P or pow(u, (_P - 1) // 2, _P) != 1:
        return False
    for _ in range(2):  # Doubled twice, a point of small order has an x of 0 (section 5.1.4).
        u, v = 4 * u * v * pow(v - u, -2, _P) % _P, pow(u + v, 2, _P) * pow(2 + u - v, -2, _P) % _P
    return u != 0
