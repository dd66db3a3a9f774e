"""Our checks of signatures, and our reading of keys, on the vectors of Project Wycheproof.

Each test compares the result of every vector of a file. Where our result differs on purpose, the test lists the vectors
and says why.
"""

import datetime
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.auth import crypt
from google.auth import jwt as google_jwt
from google.auth.exceptions import TransportError
from google.oauth2 import id_token
from jwt.algorithms import RSAAlgorithm
from pydantic import ValidationError
from typing_extensions import override

from mstoken import Settings, jwk, strict_jwt
from mstoken.callee.certificates import CertificateCache, CertificateSource, Fetched
from mstoken.callee.firebase import AdminFirebase
from mstoken.callee.id_tokens import IdTokenVerifier
from mstoken.errors import ProofInvalid, TokenMalformed, TokenUntrusted
from mstoken.issuer.keys import RegisteredKey
from mstoken.proof import ProofVerifier
from mstoken.strict_jwt import base64url, base64url_decode, json_object
from tests.mstoken.test_settings import environment
from tests.wycheproof import Vector, numbers, vectors

PROJECT = "demo-production"
RS256_CHECK = google_jwt._ALGORITHM_TO_VERIFIER_CLASS["RS256"]
"""The class with which google-auth, and firebase-admin through it, checks the signature of an ID token."""


class VectorCertificates(CertificateSource):
    """Publishes certificates of the vectors' RSA keys, in Google's format. Another key signs them."""

    def __init__(self, keys: Mapping[str, rsa.RSAPublicKey]) -> None:
        self._signer = ec.generate_private_key(ec.SECP256R1())
        self._certificates = {key_id: self._certificate(key) for key_id, key in keys.items()}

    @override
    async def fetch(self) -> Fetched:
        return Fetched(self._certificates, max_age_seconds=3600)

    def content(self) -> str:
        """Return the certificates as JSON."""
        return json.dumps(self._certificates)

    def _certificate(self, key: rsa.RSAPublicKey) -> str:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vectors")])
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key).serial_number(1)
        builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        certificate = builder.sign(self._signer, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


async def in_memory(**keys: rsa.RSAPublicKey) -> Mapping[str, str]:
    """Return the public keys by key id, as google-auth gets them from a `CertificateCache` with these certificates."""
    async with CertificateCache(VectorCertificates(keys)) as cache:
        found: Mapping[str, str] = id_token._fetch_certs(cache, "https://certificates.example")
    return found


def registered(key: Mapping[str, Any]) -> RegisteredKey | None:
    """Return the key of a service outside Google Cloud, or None if the policy refuses this JWK."""
    try:
        return RegisteredKey.model_validate({"jwk": key})
    except ValidationError:
        return None


def proof_refusal(key: Mapping[str, Any]) -> str:
    """Return why a proof is refused that has this JWK in its header, and a wrong signature."""
    now, url, token_sha256 = int(time.time()), "https://product.example/products", bytes(32)
    header = {"typ": "dpop+jwt", "alg": "ES256", "jwk": key}
    claims = {"jti": "1", "htm": "GET", "htu": url, "iat": now, "ath": base64url(token_sha256)}
    parts = [*(json.dumps(part).encode() for part in (header, claims)), b"\1" * 64]
    members = dict.fromkeys(jwk.PUBLIC_MEMBERS) | dict(key)
    with pytest.raises(ProofInvalid) as caught:
        ProofVerifier().verify(
            [".".join(base64url(part) for part in parts)],
            method="GET",
            url=url,
            token_sha256=token_sha256,
            key_thumbprint=jwk.thumbprint(members),
            now=now,
            clock_skew_seconds=0,
        )
    return str(caught.value)


def proof_takes(key: Mapping[str, Any]) -> bool:
    """Return whether a proof may have this JWK in its header: only its signature was refused."""
    return proof_refusal(key) == "The signature of the proof is not valid for the key in its header."


def p256_key(vector: Vector) -> ec.EllipticCurvePublicKey:
    """Return the public key of an ECDSA vector, which is given as an uncompressed point (SEC 1, section 2.3.3)."""
    point = bytes.fromhex(vector.group["publicKey"]["uncompressed"])
    assert (len(point), point[0]) == (65, 4)
    return jwk.public_key(base64url(point[1:33]), base64url(point[33:]))


def test_es256_signatures() -> None:
    """Proofs and assertions are accepted with valid signatures of P-256 only, as two numbers of 32 bytes each."""
    found = vectors("ecdsa_secp256r1_sha256_p1363_test")

    def is_accepted(vector: Vector) -> bool:
        signature, message = (bytes.fromhex(vector.data[name]) for name in ("sig", "msg"))
        return jwk.is_es256_signature(signature, message, p256_key(vector))

    assert numbers(filter(is_accepted, found)) == numbers(vector for vector in found if vector.is_valid)


def test_p256_keys_of_signatures() -> None:
    """The keys of the ECDSA vectors are read from JWK and from DER as the same key."""
    groups = {id(vector.group): vector for vector in vectors("ecdsa_secp256r1_sha256_p1363_test")}.values()
    for vector in groups:
        key = p256_key(vector)
        assert serialization.load_der_public_key(bytes.fromhex(vector.group["publicKeyDer"])) == key
        if "publicKeyJwk" in vector.group:
            found = registered(vector.group["publicKeyJwk"])
            assert found is not None
            assert (found.public_key, found.public_members) == (key, jwk.public_jwk(key))


def test_p256_keys() -> None:
    """A public key must be a point on P-256, for a registered key and for a proof."""
    found = vectors("ecdh_secp256r1_webcrypto_test")
    valid = numbers(vector for vector in found if vector.is_valid)
    assert numbers(vector for vector in found if registered(vector.data["public"])) == valid
    assert numbers(vector for vector in found if proof_takes(vector.data["public"])) == valid


def test_private_keys() -> None:
    """A private key is never taken for a public one."""
    for vector in vectors("ecdh_secp256r1_webcrypto_test"):
        with pytest.raises(ValidationError, match="this is a private key"):
            RegisteredKey.model_validate({"jwk": vector.data["private"]})
        assert "is a private key" in proof_refusal(vector.data["private"])


def signing_key(vector: Vector) -> dict[str, Any]:
    """Return the first key of the vector's set that has the key id of its JWS."""
    key_id = json_object(base64url_decode(vector.data["jws"].partition(".")[0]))["kid"]
    key: dict[str, Any] = next(key for key in vector.jwk["keys"] if key["kid"] == key_id)
    return key


def test_keys_that_are_not_for_es256() -> None:
    """A key for another algorithm or use, of another kind, or off the curve, is refused: by the policy, in a proof."""
    found = vectors("json_web_key_test")
    keys = [signing_key(vector) for vector in found]
    assert not any(registered(key) or proof_takes(key) for key in keys)
    # The valid ones are symmetric (see RFC 8725, section 3.5), or an RSA key, which we read from certificates only.
    assert {key["kty"] for vector, key in zip(found, keys, strict=True) if vector.is_valid} == {"oct", "RSA"}


def is_for_rs256(key: Mapping[str, Any]) -> bool:
    """Return whether a JWK is an RSA key to verify RS256 with (RFC 7517, sections 4.2 to 4.4).

    A certificate of Google has no such members, so other keys have no certificate.
    """
    return (key["kty"], key.get("alg", "RS256"), key.get("use", "sig")) == (
        "RSA",
        "RS256",
        "sig",
    ) and "verify" in key.get("key_ops", ["verify"])


async def certificates_of(key: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the public key in memory by its id, if it is one that may have a certificate."""
    if not is_for_rs256(key):
        return {}
    public = RSAAlgorithm.from_jwk({name: key[name] for name in ("kty", "n", "e")})
    assert isinstance(public, rsa.RSAPublicKey)
    return await in_memory(**{key["kid"]: public})


async def is_verified(vector: Vector) -> bool:
    """Return whether the JWS of a vector is verified with the vector's key: by ES256, or by RS256 and certificates."""
    try:
        encoded_header, encoded_payload, encoded_signature = vector.data["jws"].split(".")
        header = json_object(base64url_decode(encoded_header))
        base64url_decode(encoded_payload)
        signature = base64url_decode(encoded_signature)
    except ValueError:
        return False
    signing_input = f"{encoded_header}.{encoded_payload}".encode()
    if header["alg"] == "ES256":
        key = registered(vector.jwk)
        return key is not None and jwk.is_es256_signature(signature, signing_input, key.public_key)
    try:
        key_id = strict_jwt.rs256_key_id(header)
        certificate = (await certificates_of(vector.jwk))[key_id]
    except (ValueError, KeyError):
        return False
    return bool(crypt.verify_signature(signing_input, signature, certificate, RS256_CHECK))


def algorithm(vector: Vector) -> Any:
    """Return the `alg` of the vector's JWS, or of its key if the header is not canonical base64url."""
    try:
        return json_object(base64url_decode(vector.data["jws"].partition(".")[0]))["alg"]
    except ValueError:
        return vector.jwk["alg"]


async def test_compact_jws() -> None:
    """A JWS is verified if it is signed with ES256 or RS256, and with a key that is meant for that."""
    found = vectors("json_web_signature_test")
    valid = [vector for vector in found if vector.is_valid]
    # The other algorithms are valid for others: symmetric ones, RSA with other hashes or PSS, and other curves.
    ours = [vector for vector in valid if algorithm(vector) in ("ES256", "RS256")]
    assert {algorithm(vector) for vector in valid} - {"ES256", "RS256"} == {
        *("HS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES512")
    }
    assert numbers([vector for vector in found if await is_verified(vector)]) == numbers(ours)


def test_base64url() -> None:
    """Text that is not canonical base64url is refused in each part of a JWS."""
    found = [vector for vector in vectors("json_web_signature_test") if vector.group["comment"] == "base64"]
    refused = []
    for vector in found:
        try:
            for part in vector.data["jws"].split("."):
                base64url_decode(part)
        except ValueError:
            refused.append(vector)
    # Vectors 372 and 373 have a question mark within a part, and count as valid. RFC 7515, section 2, has no such
    # character. Vectors 367 and 370 are about padding, but their text is that of vector 357, which is valid.
    text = {vector.number: vector.data["jws"] for vector in found}
    assert text[367] == text[370] == text[357]
    invalid = numbers(vector for vector in found if not vector.is_valid)
    assert numbers(refused) == invalid - {367, 370} | {372, 373}


async def test_rs256_signatures() -> None:
    """google-auth accepts valid signatures of RSASSA-PKCS1-v1_5 only, with keys from certificates in memory."""
    found = vectors("rsa_signature_2048_sha256_test")
    accepted = []
    for vector in found:
        public = serialization.load_der_public_key(bytes.fromhex(vector.group["publicKeyDer"]))
        assert isinstance(public, rsa.RSAPublicKey)
        keys = await in_memory(vectors=public)
        message, signature = (bytes.fromhex(vector.data[name]) for name in ("msg", "sig"))
        if crypt.verify_signature(message, signature, keys["vectors"], RS256_CHECK):
            accepted.append(vector)
    # Vector 8 is acceptable: its ASN.1 lacks a NULL, which older implementations left out. It is refused.
    assert [vector.number for vector in found if vector.result == "acceptable"] == [8]
    assert numbers(accepted) == numbers(vector for vector in found if vector.is_valid)


async def test_weak_rsa_keys() -> None:
    """A certificate of a key of 1024 bits is refused (RFC 7518, section 3.3). The exponent 1 cannot be loaded.

    A key that was made badly (ROCA, CVE-2017-15361) is not recognized, unlike the vector asks: certificates come from
    Google, or from a file of the operator.
    """
    taken = []
    for vector in vectors("json_web_key_test"):
        key = signing_key(vector)
        try:
            if (await certificates_of(key)).keys() == {key["kid"]}:
                taken.append(vector.comment)
        except (TransportError, ValueError):
            pass
    assert taken == ["acceptsValid", "rejectsKeyWithRocaVulnerability"]


@pytest.fixture
def rs256_key() -> dict[str, Any]:
    """The private key of the RS256 vectors, as JWK."""
    found = vectors("json_web_signature_test")
    key: dict[str, Any] = next(vector.group["private"] for vector in found if vector.group["comment"] == "rs256")
    return key


@pytest.fixture
async def firebase(rs256_key: dict[str, Any], tmp_path: Path) -> AsyncIterator[AdminFirebase]:
    """firebase-admin as in production. The certificate in memory is of the key of the RS256 vectors."""
    private = RSAAlgorithm.from_jwk(rs256_key)
    assert isinstance(private, rsa.RSAPrivateKey)
    published, account = tmp_path / "certificates.json", tmp_path / "account.json"
    published.write_text(VectorCertificates({rs256_key["kid"]: private.public_key()}).content())
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    account.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": PROJECT,
                "private_key": private.private_bytes(*encoding).decode(),
                "client_email": f"product@{PROJECT}.iam.gserviceaccount.com",
                "token_uri": "http://127.0.0.1:9/token",
            }
        )
    )
    with environment(GOOGLE_APPLICATION_CREDENTIALS=str(account)):
        firebase = AdminFirebase(Settings(project_id=PROJECT, certificates_file=published))
        await firebase.open()
        yield firebase
        await firebase.aclose()


def id_token_of(key: dict[str, Any]) -> str:
    """Return an ID token that is signed with a private key."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": f"https://securetoken.google.com/{PROJECT}",
        "aud": PROJECT,
        "sub": "maya",
        "firebase": {},
    }
    claims |= {"iat": now, "auth_time": now, "exp": now + 3600}
    header = {"alg": "RS256", "kid": key["kid"]}
    parts = [json.dumps(part).encode() for part in (header, claims)]
    signing_input = ".".join(base64url(part) for part in parts)
    algorithm = RSAAlgorithm(RSAAlgorithm.SHA256)
    private = RSAAlgorithm.from_jwk(key)
    assert isinstance(private, rsa.RSAPrivateKey)
    return f"{signing_input}.{base64url(algorithm.sign(signing_input.encode(), private))}"


async def test_firebase_admin_refuses_every_signature(firebase: AdminFirebase, rs256_key: dict[str, Any]) -> None:
    """An ID token with the signature of a vector is refused: each of them is for another text, or is not valid."""
    good = id_token_of(rs256_key)
    verifier = IdTokenVerifier(firebase, time.time)
    assert (await verifier.verify(good)).claims["uid"] == "maya"
    signatures = [vector.data["jws"].rpartition(".")[2] for vector in vectors("json_web_signature_test")]
    signatures += [base64url(bytes.fromhex(vector.data["sig"])) for vector in vectors("rsa_signature_2048_sha256_test")]
    signing_input = good.rpartition(".")[0]
    for signature in signatures:
        with pytest.raises((TokenMalformed, TokenUntrusted)):
            await verifier.verify(f"{signing_input}.{signature}")


@pytest.mark.parametrize("name", ["json_web_signature_test", "json_web_key_test"])
async def test_no_vector_is_an_id_token(firebase: AdminFirebase, name: str) -> None:
    """Every JWS of the vectors is refused as malformed, before its signature is checked: none has claims."""
    verifier = IdTokenVerifier(firebase, time.time)
    for vector in vectors(name):
        with pytest.raises(TokenMalformed):
            await verifier.verify(vector.data["jws"])
