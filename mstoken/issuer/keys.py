"""The public keys that services outside Google Cloud have registered in the policy, as JWK (RFC 7517). ES256 only."""

import datetime
from typing import Annotated, Literal, Self, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from mstoken import jwk

_Coordinate: TypeAlias = Annotated[str, AfterValidator(jwk.coordinate)]


class Table(BaseModel):
    """A table of the policy. Its errors do not repeat what was read, which may be a private key."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class P256Jwk(Table):
    """A public key of the curve P-256 as JWK (RFC 7517, section 4; RFC 7518, section 6.2.1)."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: _Coordinate
    y: _Coordinate
    alg: Literal["ES256"] = "ES256"
    use: Literal["sig"] = "sig"
    kid: object = None
    """Ignored: a key is identified by its thumbprint."""

    @model_validator(mode="after")
    def _is_on_the_curve(self) -> Self:
        jwk.public_key(self.x, self.y)
        return self


class RegisteredKey(Table):
    """A public key with which a service outside Google Cloud signs assertions, and the date when it was added.

    `expires` is the first day, in UTC, on which the key is not accepted any more. A key without it is accepted until it
    is deleted from the policy.
    """

    added: datetime.date | None = Field(default=None, strict=True)
    expires: datetime.date | None = Field(default=None, strict=True)
    jwk: P256Jwk

    @model_validator(mode="before")
    @classmethod
    def _is_not_private(cls, value: object) -> object:
        tables = (value, value.get("jwk")) if isinstance(value, dict) else ()
        if any(isinstance(table, dict) and not jwk.PRIVATE_MEMBERS.isdisjoint(table) for table in tables):
            raise ValueError(
                "this is a private key, and everyone who can read the policy may have seen it; "
                "create a new key and register only the public key"
            )
        return value

    @model_validator(mode="after")
    def _expires_after_it_was_added(self) -> Self:
        if self.added is not None and self.expires is not None and self.expires <= self.added:
            raise ValueError("expires must be a later date than added")
        return self

    def has_expired(self, now: float) -> bool:
        """Return whether the key is not accepted any more at `now`, in seconds since the epoch."""
        return self.expires is not None and datetime.datetime.fromtimestamp(now, datetime.UTC).date() >= self.expires

    @property
    def key_id(self) -> str:
        """The thumbprint of the key: SHA-256 in base64url, 43 characters (RFC 7638)."""
        return jwk.thumbprint(self.public_members)

    @property
    def public_members(self) -> dict[str, str]:
        """The members of the JWK that define the key."""
        return self.jwk.model_dump(include=set(jwk.PUBLIC_MEMBERS))

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The key as an object of the package cryptography."""
        return jwk.public_key(self.jwk.x, self.jwk.y)
