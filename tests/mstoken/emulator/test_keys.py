"""The keys that stand in for Google's, and the JWTs that they sign."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from google.auth import jwt

from mstoken.emulator.keys import CERTIFICATE_DAYS, SECURETOKEN, Key, make_jws
from mstoken.strict_jwt import base64url


@pytest.fixture(scope="module")
def key() -> Key:
    """A key to sign with."""
    return Key()


def certificate_of(key: Key) -> x509.Certificate:
    return x509.load_pem_x509_certificate(key.certificate.encode())


@pytest.mark.parametrize(
    ("made", "name"), [(Key(), SECURETOKEN), (Key("somebody.example"), "somebody.example")], ids=["default", "given"]
)
def test_the_certificate_has_the_common_name_that_was_given(made: Key, name: str) -> None:
    """The certificate's subject and issuer are the common name: that of Firebase's signer, unless another is given."""
    certificate = certificate_of(made)
    assert certificate.subject.rfc4514_string() == certificate.issuer.rfc4514_string() == f"CN={name}"


def test_the_certificate_is_valid_for_sixteen_days(key: Key) -> None:
    """The certificate is valid from an hour ago, for clocks that are behind, and for 16 days from now."""
    certificate, now = certificate_of(key), datetime.now(UTC)
    assert certificate.not_valid_before_utc < now - timedelta(minutes=59)
    left = certificate.not_valid_after_utc - now
    assert timedelta(days=CERTIFICATE_DAYS, minutes=-1) < left <= timedelta(days=CERTIFICATE_DAYS)


def test_every_key_is_new(key: Key) -> None:
    """Two keys have different ids and different public keys."""
    other = Key()
    assert key.key_id != other.key_id
    assert certificate_of(key).public_key() != certificate_of(other).public_key()


def test_google_auth_verifies_the_signature(key: Key) -> None:
    """google-auth verifies a signed JWT with the certificate of its key id, and refuses it with another certificate."""
    token = make_jws(key.header, base64url(json.dumps({"iat": 1, "exp": 9_999_999_999}).encode()), key)
    assert jwt.decode(token, certs={key.key_id: key.certificate, "another": Key().certificate})["iat"] == 1
    assert jwt.decode_header(token) == {"alg": "RS256", "kid": key.key_id, "typ": "JWT"}
    with pytest.raises(ValueError, match="signature"):
        jwt.decode(token, certs={key.key_id: Key().certificate})


def test_without_a_key_the_signature_is_empty() -> None:
    """The header is used as given, and the third part of the JWS is empty."""
    assert make_jws({"alg": "none"}, "e30", None) == "eyJhbGciOiJub25lIn0.e30."
