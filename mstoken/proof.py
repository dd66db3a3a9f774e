"""Proofs of possession: a caller shows for each call that it holds the key that its token is bound to.

This is DPoP (RFC 9449) with ES256 as the only algorithm. A proof is a JWT for one call: it names the method, the URL,
the hash of the token, the time, and an id that is accepted once. `ProofKey` makes proofs, `ProofVerifier` checks them.
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

from mstoken import strict_jwt, uri
from mstoken.errors import ProofInvalid, ProofMissing
from mstoken.jwk import (
    CURVE,
    KEY_TYPE,
    PRIVATE_MEMBERS,
    coordinate,
    is_es256_signature,
    public_jwk,
    public_key,
    thumbprint,
    verifies_es256,
)
from mstoken.wire import MAX_JTI_CHARACTERS, PROOF_HEADER, PROOF_MAX_AGE_SECONDS, PROOF_TYPE, SIGNATURE_ALGORITHM

MAX_CACHED_KEYS = 10_000
MAX_CACHED_HEADER_CHARACTERS = 512
"""The header of a proof has about 250 characters. Longer ones are read again for each proof, to limit the cache."""

_MAX_TIMESTAMP = 2**53
"""Maximum `iat`, in seconds since the epoch. Larger JSON numbers are not exact (RFC 8259, section 6)."""
_JSON = json.JSONEncoder(separators=(",", ":"))
_ES256 = ECAlgorithm(ECAlgorithm.SHA256)


class ProofKey:
    """A new P-256 key that signs proofs. The private key never leaves this process."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        jwk = public_jwk(self._key.public_key())
        self.thumbprint = thumbprint(jwk)
        self._header = _encode({"typ": PROOF_TYPE, "alg": SIGNATURE_ALGORITHM, "jwk": jwk})

    def proof(self, method: str, url: str, token: str, *, issued_at: float, nonce: str | None = None) -> str:
        """Return a proof for one call with `token` (RFC 9449, section 4.2).

        `issued_at` is the time of the proof, in seconds since the epoch. The query and the fragment of `url` are left
        out. Raise ValueError if `url` is not an http or https URL.
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
        signing_input = f"{self._header}.{_encode(claims)}"
        return f"{signing_input}.{strict_jwt.base64url(_ES256.sign(signing_input.encode('ascii'), self._key))}"


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that is valid for its call. The callee has still to check the nonce and to spend the id."""

    key_thumbprint: str
    proof_id: str
    issued_at: float
    nonce: str | None


class ProofVerifier:
    """Checks proofs. It caches public keys by the header that has them, which all proofs of a key have alike."""

    def __init__(self) -> None:
        self._keys: OrderedDict[str, _Key] = OrderedDict()

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
        """Return the proof in the `DPoP` header lines of a request, of which there must be exactly one.

        `method` and `url` are those of the request, with the URL as the configuration of the callee says.
        `token_sha256` is the hash of the token in the request, `key_thumbprint` that of the key to which the token is
        bound, `now` the time in seconds since the epoch.

        Raise `ProofMissing` if there is no proof, and `ProofInvalid` if a check of RFC 9449, section 4.3, fails. Check
        10, of the nonce, is left to the callee.
        """
        if not header_lines:
            raise ProofMissing(f"The token is bound to a key. Send a proof for this call in the header {PROOF_HEADER}.")
        if len(header_lines) != 1:
            raise ProofInvalid(f"The request has more than one {PROOF_HEADER} header line.")
        try:
            jwt = strict_jwt.split(header_lines[0].strip(strict_jwt.OPTIONAL_WHITESPACE))
            claims = strict_jwt.part(jwt.payload)
            # The cache has headers that have passed all checks of a header. They are compared letter by letter.
            key = self._keys.get(jwt.header)
            header = {} if key else strict_jwt.part(jwt.header)
        except ValueError as error:
            raise ProofInvalid(f"The proof is malformed: {error}.") from None
        jwk = {} if key else _public_jwk(header)
        proof = _proof(claims, key_thumbprint)
        if not hmac.compare_digest(_text(claims, "ath"), strict_jwt.base64url(token_sha256)):
            raise ProofInvalid("The proof is for another token: ath is not the hash of the token in this request.")
        if _text(claims, "htm") != method:
            raise ProofInvalid("The proof is for another method: htm is not the method of this request.")
        if not _is_same_url(_text(claims, "htu"), url):
            raise ProofInvalid(
                "The proof is for another URL: htu is not MSTOKEN_BASE_URL of this service with this path."
            )
        age_seconds = now - proof.issued_at
        if age_seconds > PROOF_MAX_AGE_SECONDS:
            raise ProofInvalid(
                f"The proof is {age_seconds:.1f} s old by the clock of this service. "
                f"At most {PROOF_MAX_AGE_SECONDS} s are allowed."
            )
        if -age_seconds > clock_skew_seconds:
            raise ProofInvalid(
                f"The iat of the proof is {-age_seconds:.1f} s in the future by the clock of this service. "
                f"At most {clock_skew_seconds} s are allowed."
            )
        key = key or _Key.from_coordinates(jwk.get("x"), jwk.get("y"))
        if not hmac.compare_digest(key.thumbprint, key_thumbprint):
            raise ProofInvalid("The proof was made with another key than the one to which the token is bound.")
        if not is_es256_signature(jwt.signature, jwt.signing_input, key.public):
            raise ProofInvalid("The signature of the proof is not valid for the key in its header.")
        self._keep(jwt.header, key)
        return proof

    def _keep(self, header: str, key: "_Key") -> None:
        """Cache the key of a proof that is valid for its call."""
        if header not in self._keys and len(header) <= MAX_CACHED_HEADER_CHARACTERS:
            self._keys[header] = key
            if len(self._keys) > MAX_CACHED_KEYS:
                self._keys.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Key:
    """The public key of a proof, and its thumbprint."""

    thumbprint: str
    public: ec.EllipticCurvePublicKey

    @classmethod
    def from_coordinates(cls, x: object, y: object) -> "_Key":
        """Return the key with these coordinates, as in a JWK. Other members of a JWK are not read."""
        try:
            jwk = {"kty": KEY_TYPE, "crv": CURVE, "x": coordinate(x), "y": coordinate(y)}
        except ValueError:
            raise ProofInvalid("A coordinate of the jwk in the proof is not 32 bytes of base64url.") from None
        try:
            return cls(thumbprint(jwk), public_key(jwk["x"], jwk["y"]))
        except ValueError:
            raise ProofInvalid(f"The jwk in the proof is not a point on the curve {CURVE}.") from None


def _public_jwk(header: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the public key in the header of a proof (RFC 9449, section 4.3, checks 4, 5 and 7)."""
    if header.get("typ") != PROOF_TYPE:
        raise ProofInvalid(f"The typ of the proof is not {PROOF_TYPE}.")
    if header.get("alg") != SIGNATURE_ALGORITHM:
        raise ProofInvalid(f"The alg of the proof is not {SIGNATURE_ALGORITHM}.")
    if "crit" in header:
        raise ProofInvalid("The header of the proof has the parameter crit, and no critical extension is supported.")
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise ProofInvalid("The header of the proof has no jwk.")
    if not PRIVATE_MEMBERS.isdisjoint(jwk):
        raise ProofInvalid("The jwk in the proof is a private key. Do not use this key again: it has been disclosed.")
    if jwk.get("kty") != KEY_TYPE or jwk.get("crv") != CURVE:
        raise ProofInvalid(f"The jwk in the proof is not an EC key on the curve {CURVE}.")
    if not verifies_es256(jwk):
        raise ProofInvalid(
            f"By its alg, use or key_ops, the jwk in the proof is not for verifying {SIGNATURE_ALGORITHM}."
        )
    return jwk


def _proof(claims: Mapping[str, Any], key_thumbprint: str) -> Proof:
    """Return the id, the time and the nonce of a proof, each of which must be of the right type."""
    proof_id, issued_at, nonce = _text(claims, "jti"), claims.get("iat"), claims.get("nonce")
    if not 0 < len(proof_id) <= MAX_JTI_CHARACTERS:
        raise ProofInvalid(f"The jti of the proof must have 1 to {MAX_JTI_CHARACTERS} characters.")
    if not isinstance(issued_at, int | float) or isinstance(issued_at, bool) or not 0 <= issued_at <= _MAX_TIMESTAMP:
        raise ProofInvalid("The iat of the proof is not a time in seconds.")
    if nonce is not None and not isinstance(nonce, str):
        raise ProofInvalid("The nonce of the proof is not a string.")
    return Proof(key_thumbprint, proof_id, issued_at, nonce)


def _text(claims: Mapping[str, Any], name: str) -> str:
    """Return a required claim, which must be ASCII.

    Ids, methods, URIs and hashes always are, and `hmac.compare_digest` takes no other strings.
    """
    value = claims.get(name)
    if not isinstance(value, str) or not value.isascii():
        raise ProofInvalid(f"The {name} of the proof is missing, or is not an ASCII string.")
    return value


def _is_same_url(claimed_url: str, url: str) -> bool:
    """Return whether two URLs are equal after normalization (RFC 9449, section 4.3; RFC 3986, section 6.2)."""
    if claimed_url == url:
        return True
    try:
        return uri.normalized(claimed_url) == uri.normalized(url)
    except ValueError:
        return False


def _encode(value: Mapping[str, Any]) -> str:
    return strict_jwt.base64url(_JSON.encode(value).encode("ascii"))
