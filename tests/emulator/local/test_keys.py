"""The keys that sign in Google's name, and what they sign."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from google.auth import jwt

from emulator.local.keys import CERTIFICATE_DAYS, SECURETOKEN, Key, compact
from mstoken.strict_jwt import base64url


@pytest.fixture(scope="module")
def key() -> Key:
    """One to sign with."""
    return Key()


def certificate_of(key: Key) -> x509.Certificate:
    return x509.load_pem_x509_certificate(key.certificate.encode())


@pytest.mark.parametrize(
    ("made", "name"), [(Key(), SECURETOKEN), (Key("somebody.example"), "somebody.example")], ids=["default", "given"]
)
def test_the_certificate_names_whom_it_was_made_for(made: Key, name: str) -> None:
    """As subject and as issuer: Firebase's signer unless another is given."""
    certificate = certificate_of(made)
    assert certificate.subject.rfc4514_string() == certificate.issuer.rfc4514_string() == f"CN={name}"


def test_the_certificate_is_good_now_and_for_a_while(key: Key) -> None:
    """Also where a clock is behind by less than an hour."""
    certificate, now = certificate_of(key), datetime.now(UTC)
    assert certificate.not_valid_before_utc < now - timedelta(minutes=59)
    left = certificate.not_valid_after_utc - now
    assert timedelta(days=CERTIFICATE_DAYS, minutes=-1) < left <= timedelta(days=CERTIFICATE_DAYS)


def test_no_two_keys_are_alike(key: Key) -> None:
    """Neither in their ids nor in what they are."""
    other = Key()
    assert key.key_id != other.key_id
    assert certificate_of(key).public_key() != certificate_of(other).public_key()


def test_google_auth_verifies_what_it_signs(key: Key) -> None:
    """With the certificate, found by the key's id."""
    token = compact(key.header, base64url(json.dumps({"iat": 1, "exp": 9_999_999_999}).encode()), key)
    assert jwt.decode(token, certs={key.key_id: key.certificate, "another": Key().certificate})["iat"] == 1
    assert jwt.decode_header(token) == {"alg": "RS256", "kid": key.key_id, "typ": "JWT"}
    with pytest.raises(ValueError, match="signature"):
        jwt.decode(token, certs={key.key_id: Key().certificate})


def test_without_a_key_there_is_no_signature() -> None:
    """The header is written as given, and the third part is empty."""
    assert compact({"alg": "none"}, "e30", None) == "eyJhbGciOiJub25lIn0.e30."
