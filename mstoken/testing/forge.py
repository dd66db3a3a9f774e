"""The tools of an attacker: valid tokens to change, own keys, and the published certificate."""

import abc
import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Any, Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from jwt.utils import der_to_raw_signature

from mstoken.emulator.keys import Key

Claims = dict[str, Any]
KeyKind: TypeAlias = Literal["P-256", "P-384", "Ed25519", "RSA"]
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

ABSENT = object()
"""A value that leaves its claim out."""


def encode(value: bytes) -> str:
    """Return base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def signature(key: PrivateKey, message: bytes) -> bytes:
    """Return the JWS signature with the algorithm of this kind of key (RFC 7518, section 3; RFC 8037).

    It is always the same for the same key and message (RFC 6979).
    """
    match key:
        case rsa.RSAPrivateKey():
            return key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        case ed25519.Ed25519PrivateKey():
            return key.sign(message)
    sha2 = hashes.SHA256() if key.curve.key_size == 256 else hashes.SHA384()
    return der_to_raw_signature(key.sign(message, ec.ECDSA(sha2, deterministic_signing=True)), key.curve)


class Forge(abc.ABC):
    """Makes tokens of `project`, among them tokens that Firebase would never issue.

    `own_key` is the key pair of the attacker.
    """

    def __init__(self, project: str, own_key: Key) -> None:
        self.project = project
        self.own_key = own_key

    @abc.abstractmethod
    def signed(self, claims: Claims | str, **header: Any) -> str:
        """Return a token that is signed with the published key, with `header` in place of the usual header."""
        ...

    @abc.abstractmethod
    def certificates(self) -> dict[str, str]:
        """Return the published certificates in PEM, by key id. The first one belongs to the key that signs."""
        ...

    def now(self) -> int:
        """Return the time, in whole seconds since the epoch."""
        return int(time.time())

    def random_id(self) -> str:
        """Return an id of 128 bits that was never used before, in base64url."""
        return secrets.token_urlsafe(16)

    def new_key(self, kind: KeyKind = "P-256") -> PrivateKey:
        """Return a new private key."""
        match kind:
            case "RSA":
                return rsa.generate_private_key(65537, 2048)
            case "Ed25519":
                return ed25519.Ed25519PrivateKey.generate()
        return ec.generate_private_key(ec.SECP256R1() if kind == "P-256" else ec.SECP384R1())

    def service_claims(self, service: str = "billing", audience: str = "product") -> Claims:
        """Return the claims of a valid service token that is issued now."""
        ms = {"v": 1, "svc": service, "aud": audience, "iat": self.now(), "jti": self.random_id()}
        return self._claims(f"svc:{service}", "custom") | {"ms": ms}

    def user_claims(self, uid: str) -> Claims:
        """Return the claims of a valid user's token that is issued now."""
        return self._claims(uid, "password")

    def _claims(self, uid: str, provider: str) -> Claims:
        now = self.now()
        return {
            "iss": f"https://securetoken.google.com/{self.project}",
            "aud": self.project,
            "sub": uid,
            "user_id": uid,
            "iat": now,
            "auth_time": now,
            "exp": now + 3600,
            "firebase": {"identities": {}, "sign_in_provider": provider},
        }

    def without(self, claims: Claims, name: str) -> str:
        """Return a signed token without the claim `name`."""
        return self.signed({key: value for key, value in claims.items() if key != name})

    def with_text(self, claims: Claims, name: str, text: str) -> str:
        """Return a signed token whose claim `name` has `text` as its JSON, which no JSON library would write."""
        marker = self.random_id()
        return self.signed(json.dumps(claims | {name: marker}).replace(f'"{marker}"', text))

    def unsigned(self, claims: Claims, alg: Any, signature: str = "") -> str:
        """Return a token with this algorithm and signature. ABSENT leaves the algorithm out."""
        header = {"typ": "JWT", "kid": self.key_id()} | ({} if alg is ABSENT else {"alg": alg})
        return f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}.{signature}"

    def self_signed(self, claims: Claims, **header: Any) -> str:
        """Return a token that is signed with the attacker's own key. By default its header names the published key."""
        full = {"alg": "RS256", "typ": "JWT", "kid": self.key_id()} | header
        body = f"{encode(json.dumps(full).encode())}.{encode(json.dumps(claims).encode())}"
        return f"{body}.{encode(self.own_key.sign(body.encode()))}"

    def hmac_signed(self, claims: Claims, secret: bytes, **header: Any) -> str:
        """Return a token that is signed with HS256 and `secret` (RFC 8725, section 2.1)."""
        full = {"alg": "HS256", "typ": "JWT", "kid": self.key_id()} | header
        body = f"{encode(json.dumps(full).encode())}.{encode(json.dumps(claims).encode())}"
        return f"{body}.{encode(hmac.digest(secret, body.encode(), hashlib.sha256))}"

    def key_id(self) -> str:
        """Return the id of the first published key, which signs tokens."""
        return next(iter(self.certificates()))

    def certificate(self) -> bytes:
        """Return the published certificate, in PEM."""
        return self.certificates()[self.key_id()].encode()

    def public_key(self) -> bytes:
        """Return the public key of the published certificate, in PEM."""
        key = x509.load_pem_x509_certificate(self.certificate()).public_key()
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def own_certificate_der(self) -> str:
        """Return the attacker's own certificate for `x5c`: DER in base64 (RFC 7515, section 4.1.6)."""
        certificate = x509.load_pem_x509_certificate(self.own_key.certificate.encode())
        return base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()

    def own_jwk(self) -> dict[str, str]:
        """Return the attacker's own public key (RFC 7517)."""
        numbers = x509.load_pem_x509_certificate(self.own_key.certificate.encode()).public_key().public_numbers()  # type: ignore[union-attr]
        modulus: int = numbers.n  # type: ignore[union-attr]
        return {"kty": "RSA", "e": "AQAB", "n": encode(modulus.to_bytes(256, "big"))}
