"""Proofs that a call comes from the holder of a key: DPoP (RFC 9449), with the header `DPoP` and ES256 only.

`ProofKey` makes proofs, `ProofVerifier` checks them. A proof is a JWT for one call: method, URI, the hash of the
token that it goes with, the time, and an id that counts once.
"""

import hmac
import json
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from jwt.exceptions import InvalidKeyError

from mstoken import strict_jwt, uri
from mstoken.errors import ProofInvalid, ProofMissing
from mstoken.jwk import PRIVATE_MEMBERS, coordinate, public_jwk, thumbprint
from mstoken.wire import MAX_JTI_CHARACTERS, PROOF_MAX_AGE_SECONDS, SIGNATURE_ALGORITHM

MAX_KEYS = 10_000

_TYPE = "dpop+jwt"
_CURVE = "P-256"
_LAST_SECOND = 2**53
_JSON = json.JSONEncoder(separators=(",", ":"))
_ES256 = ECAlgorithm(ECAlgorithm.SHA256)


class ProofKey:
    """A P-256 key that is made here and never leaves this process."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        jwk = public_jwk(self._key.public_key())
        self.thumbprint = thumbprint(jwk)
        self._header = _part({"typ": _TYPE, "alg": SIGNATURE_ALGORITHM, "jwk": jwk})

    def proof(self, method: str, url: str, token: str, *, issued_at: float, nonce: str | None = None) -> str:
        """A proof for one call with `token`, made at `issued_at`, seconds since the epoch (RFC 9449, section 4.2).

        `url` may have a query and a fragment. Raises ValueError for a URL that is not of `http` or `https`.
        """
        claims = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": uri.normalized(url),
            "iat": int(issued_at),
            "ath": strict_jwt.base64url(sha256(token.encode("ascii")).digest()),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        signing_input = f"{self._header}.{_part(claims)}"
        return f"{signing_input}.{strict_jwt.base64url(_ES256.sign(signing_input.encode('ascii'), self._key))}"


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that holds for the call it came with, but for its id and its nonce, which are the callee's to judge."""

    key_thumbprint: str
    proof_id: str
    issued_at: float
    nonce: str | None


class ProofVerifier:
    """Checks proofs. Remembers the keys of proofs by their coordinates: to read one takes longer than to look it up."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[object, object], _Key] = OrderedDict()

    def verify(
        self,
        header_lines: Sequence[str],
        *,
        method: str,
        url: str,
        token_sha256: bytes,
        key_thumbprint: str,
        now: float,
        clock_skew_seconds: float,
    ) -> Proof:
        """What the one `DPoP` header line proves (RFC 9449, section 4.3, all but 10, the nonce).

        `url` is where this call was meant for, `token_sha256` the hash of the token that came along, `key_thumbprint`
        of the key that it is bound to, `now` seconds since the epoch. Raises `ProofMissing` and `ProofInvalid`.
        """
        if not header_lines:
            raise ProofMissing("The token is bound to a key: send a proof for this call in DPoP.")
        if len(header_lines) != 1:
            raise ProofInvalid("More than one DPoP header line.")
        try:
            jwt = strict_jwt.unverified(header_lines[0].strip(strict_jwt.OPTIONAL_WHITESPACE))
        except ValueError as error:
            raise ProofInvalid(f"It is {error}.") from None
        jwk = _public_jwk(jwt.header)
        proof = _claimed(jwt.payload, key_thumbprint)
        if not hmac.compare_digest(_text(jwt.payload, "ath"), strict_jwt.base64url(token_sha256)):
            raise ProofInvalid("It is for another token.")
        if _text(jwt.payload, "htm") != method:
            raise ProofInvalid("It is for another method.")
        if not _is_same(_text(jwt.payload, "htu"), url):
            raise ProofInvalid("It is for another URL.")
        if not now - PROOF_MAX_AGE_SECONDS <= proof.issued_at <= now + clock_skew_seconds:
            raise ProofInvalid(
                f"It was made {now - proof.issued_at:.0f} s ago by the clock of this service; "
                f"{PROOF_MAX_AGE_SECONDS} s are allowed."
            )
        if not _ES256.verify(jwt.signing_input, self._key(jwk, key_thumbprint), jwt.signature):
            raise ProofInvalid("Its signature is not of the key that it names.")
        return proof

    def _key(self, jwk: Mapping[str, Any], key_thumbprint: str) -> ec.EllipticCurvePublicKey:
        """The key that `jwk` says, if it has that thumbprint. Only such keys are remembered."""
        coordinates = jwk.get("x"), jwk.get("y")
        key = self._keys.get(coordinates) if all(isinstance(one, str) for one in coordinates) else None
        if key is None:
            key = _Key.read(*coordinates)
        if not hmac.compare_digest(key.thumbprint, key_thumbprint):
            raise ProofInvalid("It is of another key than the token is bound to.")
        self._keys[coordinates] = key
        if len(self._keys) > MAX_KEYS:
            self._keys.popitem(last=False)
        return key.public


@dataclass(frozen=True, slots=True)
class _Key:
    """A key that a proof came with."""

    thumbprint: str
    public: ec.EllipticCurvePublicKey

    @classmethod
    def read(cls, x: object, y: object) -> "_Key":
        """The key with these coordinates. Nothing else of a JWK is read: what a `kid` or `use` says has no meaning."""
        try:
            jwk = {"kty": "EC", "crv": _CURVE, "x": coordinate(x), "y": coordinate(y)}
        except ValueError:
            raise ProofInvalid("Its jwk has a coordinate that is not 32 bytes of base64url.") from None
        try:
            public = ECAlgorithm.from_jwk(jwk)
        except (InvalidKeyError, ValueError):
            raise ProofInvalid("Its jwk is no point of the curve P-256.") from None
        assert isinstance(public, ec.EllipticCurvePublicKey)  # noqa: S101 - without `d` it is no private one
        return cls(thumbprint(jwk), public)


def _public_jwk(header: Mapping[str, Any]) -> Mapping[str, Any]:
    """The public key in the header of a proof (RFC 9449, section 4.3, checks 4, 5 and 7)."""
    if header.get("typ") != _TYPE:
        raise ProofInvalid(f"Its typ is not {_TYPE}.")
    if header.get("alg") != SIGNATURE_ALGORITHM:
        raise ProofInvalid(f"It is not signed with {SIGNATURE_ALGORITHM}.")
    if "crit" in header:
        raise ProofInvalid("Its header asks for something that no proof needs.")
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise ProofInvalid("Its header has no jwk.")
    if not PRIVATE_MEMBERS.isdisjoint(jwk):
        raise ProofInvalid("Its jwk is a private key, which is worth nothing from now on.")
    if jwk.get("kty") != "EC" or jwk.get("crv") != _CURVE:
        raise ProofInvalid(f"Its jwk is no EC key of the curve {_CURVE}.")
    return jwk


def _claimed(claims: Mapping[str, Any], key_thumbprint: str) -> Proof:
    """Id, time and nonce, each of the right kind."""
    proof_id, issued_at, nonce = _text(claims, "jti"), claims.get("iat"), claims.get("nonce")
    if not 0 < len(proof_id) <= MAX_JTI_CHARACTERS:
        raise ProofInvalid(f"Its jti has not 1 to {MAX_JTI_CHARACTERS} characters.")
    if not isinstance(issued_at, int | float) or isinstance(issued_at, bool) or not 0 <= issued_at <= _LAST_SECOND:
        raise ProofInvalid("Its iat is not a time in seconds.")
    if nonce is not None and not isinstance(nonce, str):
        raise ProofInvalid("Its nonce is not a text.")
    return Proof(key_thumbprint, proof_id, issued_at, nonce)


def _text(claims: Mapping[str, Any], name: str) -> str:
    """A claim that must be there. ASCII, as every id, method, URI and hash is: there is no second way to write it."""
    value = claims.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise ProofInvalid(f"Its {name} is missing, or not a text in ASCII.")
    return value


def _is_same(claimed_url: str, url: str) -> bool:
    if claimed_url == url:
        return True
    try:
        return uri.normalized(claimed_url) == uri.normalized(url)
    except ValueError:
        return False


def _part(value: Mapping[str, Any]) -> str:
    return strict_jwt.base64url(_JSON.encode(value).encode("ascii"))
