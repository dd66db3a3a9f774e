"""Keys that stand in for Google's, their certificates, and JWTs that are signed with them."""

import datetime
import json
import secrets
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from mstoken.strict_jwt import base64url

CERTIFICATE_DAYS = 16
SECURETOKEN = "securetoken.system.gserviceaccount.com"
"""The common name in Google's certificates for Firebase ID tokens."""


class Key:
    """An RSA-2048 key pair, its id, and a self-signed certificate like Google's, valid for 16 days.

    `common_name` is the subject of the certificate. `retired_at` is when the key stopped signing, in seconds since the
    epoch; None for a key that did not stop.
    """

    def __init__(self, common_name: str = SECURETOKEN) -> None:
        self.key_id = secrets.token_hex(20)
        self._private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.retired_at: float | None = None
        self.certificate = self._self_signed(common_name)

    @property
    def header(self) -> dict[str, Any]:
        """The header of a JWT that this key signs (RFC 7515, section 4.1)."""
        return {"alg": "RS256", "kid": self.key_id, "typ": "JWT"}

    def sign(self, message: bytes) -> bytes:
        """Return the RS256 signature of `message` (RFC 7518, section 3.3)."""
        return self._private.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def _self_signed(self, common_name: str) -> str:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=CERTIFICATE_DAYS))
            .sign(self._private, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


def make_jws(header: Mapping[str, Any], payload: str, key: Key | None) -> str:
    """Return a JWS in compact serialization (RFC 7515, section 7.1). `payload` is in base64url already.

    Without a key the signature is empty. The header is used as given, even if it names another key or algorithm.
    """
    signing_input = f"{base64url(json.dumps(header, separators=(',', ':')).encode())}.{payload}"
    return f"{signing_input}.{base64url(key.sign(signing_input.encode())) if key else ''}"
