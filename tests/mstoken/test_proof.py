"""Proofs of possession: what `ProofKey` makes, and the checks of RFC 9449, section 4.3, by their numbers there.

Check 10, whether the nonce is the expected one, is the callee's (tests/mstoken/callee).
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import import_key
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from mstoken import strict_jwt
from mstoken.errors import ProofInvalid, ProofMissing, ProofRefused
from mstoken.jwk import thumbprint
from mstoken.proof import Proof, ProofKey, ProofVerifier
from mstoken.wire import PROOF_MAX_AGE_SECONDS

VECTORS = Path(__file__).parent / "vectors"
RFC_9449 = json.loads((VECTORS / "rfc9449.json").read_text())
RFC_7515_A3 = json.loads((VECTORS / "rfc7515_a3.json").read_text())

NOW = 1_800_000_000
CLOCK_SKEW_SECONDS = 5
TOKEN = "its-header.its-payload.its-signature"
URL = "https://product.example.com/products"
ABSENT: Any = object()
"""As a value: the parameter or the claim is left out."""

Signer: TypeAlias = Callable[[bytes], bytes]
"""Returns the signature of a signing input."""


def base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def ecdsa(key: ec.EllipticCurvePrivateKey, algorithm: hashes.HashAlgorithm | None = None) -> Signer:
    """Return a signer that makes signatures as in RFC 7518, section 3.4: R and S, one after the other."""

    def sign(signing_input: bytes) -> bytes:
        size = (key.key_size + 7) // 8
        numbers = decode_dss_signature(key.sign(signing_input, ec.ECDSA(algorithm or hashes.SHA256())))
        return b"".join(number.to_bytes(size, "big") for number in numbers)

    return sign


def public(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> dict[str, Any]:
    """Return the public key as a JWK."""
    if isinstance(key, rsa.RSAPrivateKey):
        return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return ECAlgorithm.to_jwk(key.public_key(), as_dict=True)


KEY = ec.generate_private_key(ec.SECP256R1())
"""The key that the token is bound to."""
JWK = public(KEY)
JKT = base64url(sha256(f'{{"crv":"P-256","kty":"EC","x":"{JWK["x"]}","y":"{JWK["y"]}"}}'))
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
CLAIMS: dict[str, Any] = {
    "jti": "an-id-that-counts-once",
    "htm": "GET",
    "htu": URL,
    "iat": NOW,
    "ath": base64url(sha256(TOKEN)),
}


def jws(header: Mapping[str, Any], claims: Mapping[str, Any], sign: Signer) -> str:
    """Return a JWT with this header and these claims, signed by `sign`."""
    signing_input = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return f"{signing_input}.{base64url(sign(signing_input.encode()))}"


def forged(
    header: Mapping[str, Any] | None = None, claims: Mapping[str, Any] | None = None, sign: Signer | None = None
) -> str:
    """Return a valid proof in which these header parameters, these claims or the signer are replaced."""
    headers = {"typ": "dpop+jwt", "alg": "ES256", "jwk": JWK} | dict(header or {})
    payload = CLAIMS | dict(claims or {})
    return jws(
        {name: value for name, value in headers.items() if value is not ABSENT},
        {name: value for name, value in payload.items() if value is not ABSENT},
        sign or ecdsa(KEY),
    )


def verify(*lines: str, verifier: ProofVerifier | None = None, **changes: Any) -> Proof:
    """Verify the header lines for a GET of URL with TOKEN, or for a call with these `changes`."""
    call: dict[str, Any] = {
        "method": "GET",
        "url": URL,
        "token_sha256": sha256(TOKEN),
        "key_thumbprint": JKT,
        "now": float(NOW),
        "clock_skew_seconds": CLOCK_SKEW_SECONDS,
    }
    return (verifier or ProofVerifier()).verify(lines, **(call | changes))


def refusal(*lines: str, **changes: Any) -> str:
    """Return the detail with which the header lines are refused. It must not repeat anything of the proof."""
    with pytest.raises(ProofInvalid) as caught:
        verify(*lines, **changes)
    detail = str(caught.value)
    assert not any(part in detail for line in lines for part in line.split(".") if len(part) > 8)
    assert not any(value in detail for value in (JWK["x"], JWK["y"], JKT, CLAIMS["jti"], CLAIMS["ath"], URL))
    return detail


def test_a_valid_proof_is_returned() -> None:
    """The verifier returns the key, the id, the time and the nonce, which the callee needs for its own checks."""
    with_nonce = forged(claims={"nonce": "a nonce"})
    assert verify(forged()) == Proof(JKT, CLAIMS["jti"], NOW, None)
    assert verify(with_nonce) == Proof(JKT, CLAIMS["jti"], NOW, "a nonce")


def test_the_proofs_of_a_proof_key_are_valid() -> None:
    """`ProofVerifier` accepts a proof of `ProofKey` for the call that it was made for."""
    key = ProofKey()
    proof = key.proof("POST", f"{URL}?a=b#c", TOKEN, issued_at=NOW + 0.9, nonce="a nonce")
    proven = verify(proof, method="POST", url=URL, key_thumbprint=key.thumbprint)
    assert (proven.key_thumbprint, proven.issued_at, proven.nonce) == (key.thumbprint, NOW, "a nonce")


def test_a_proof_has_the_parts_that_the_rfc_names() -> None:
    """Header and claims are exactly those of RFC 9449, section 4.2, and the JWK has no private member."""
    key = ProofKey()
    proof = strict_jwt.unverified(key.proof("GET", f"{URL}/../products?a=b", TOKEN, issued_at=NOW))
    assert proof.header.keys() == {"typ", "alg", "jwk"}
    assert (proof.header["typ"], proof.header["alg"]) == ("dpop+jwt", "ES256")
    assert proof.header["jwk"].keys() == {"kty", "crv", "x", "y"}
    assert thumbprint(proof.header["jwk"]) == key.thumbprint
    assert proof.payload == CLAIMS | {"jti": proof.payload["jti"]}
    assert type(proof.payload["iat"]) is int


def test_pyjwt_verifies_a_proof() -> None:
    """Another library verifies the signature with the key in the header."""
    proof = ProofKey().proof("GET", URL, TOKEN, issued_at=NOW)
    key = jwt.PyJWK(jwt.get_unverified_header(proof)["jwk"], "ES256")
    assert jwt.decode(proof, key, ["ES256"], options={"verify_iat": False})["htu"] == URL


def test_every_proof_has_an_id_of_its_own() -> None:
    """Two proofs for the same call differ in their ids, which are 128 random bits."""
    key = ProofKey()
    proofs = [key.proof("GET", URL, TOKEN, issued_at=NOW) for _ in range(200)]
    ids = {strict_jwt.unverified(proof).payload["jti"] for proof in proofs}
    assert len(ids) == 200
    assert {len(proof_id) for proof_id in ids} == {22}


def test_every_proof_key_is_new() -> None:
    """Two proof keys have different thumbprints, so two processes do not share a key."""
    assert ProofKey().thumbprint != ProofKey().thumbprint


@pytest.mark.parametrize("url", ["ftp://product/", "/products", "product", "http://a:b@product/"])
def test_a_proof_needs_an_http_url(url: str) -> None:
    """`ProofKey.proof` raises ValueError for a URL that a callee could not compare."""
    with pytest.raises(ValueError, match="http"):
        ProofKey().proof("GET", url, TOKEN, issued_at=NOW)


@pytest.mark.parametrize("vector", RFC_9449["proofs"], ids=lambda vector: vector["from"])
def test_the_proofs_of_rfc_9449(vector: dict[str, Any]) -> None:
    """The example proofs parse to what the RFC prints, and their signatures are valid."""
    proof = strict_jwt.unverified(vector["proof"])
    assert (proof.header, proof.payload) == (vector["header"], vector["payload"])
    assert thumbprint(proof.header["jwk"]) == RFC_9449["jkt"]
    key = jwt.PyJWK(proof.header["jwk"], "ES256")
    assert jwt.decode(vector["proof"], key, ["ES256"], options={"verify_iat": False}) == vector["payload"]


def test_the_call_of_rfc_9449() -> None:
    """The example proof of section 7.1 is valid for the call that it is printed with, and for no other."""
    proof = RFC_9449["proofs"][1]["proof"]
    call: dict[str, Any] = {
        "url": "https://resource.example.org/protectedresource",
        "token_sha256": sha256(RFC_9449["access_token"]),
        "key_thumbprint": RFC_9449["jkt"],
        "now": 1562262618.0,
    }
    assert verify(proof, **call) == Proof(RFC_9449["jkt"], "e1j3V_bKic8-LAEB", 1562262618, None)
    assert "another method" in refusal(proof, method="POST", **call)
    assert "another URL" in refusal(proof, **(call | {"url": "https://server.example.com/protectedresource"}))
    assert "another token" in refusal(proof, **(call | {"token_sha256": sha256(TOKEN)}))
    assert "another key" in refusal(proof, **(call | {"key_thumbprint": JKT}))
    assert "31.0 s old" in refusal(proof, **(call | {"now": 1562262649.0}))


def test_a_proof_for_a_token_request_is_not_valid_for_a_call() -> None:
    """The example proof of RFC 9449, section 4.1, has no `ath`, so it is refused."""
    call = {"method": "POST", "url": "https://server.example.com/token", "now": 1562262616.0}
    assert "ath" in refusal(RFC_9449["proofs"][0]["proof"], key_thumbprint=RFC_9449["jkt"], **call)


def test_the_signature_of_rfc_7515() -> None:
    """The example of appendix A.3 parses to what the RFC prints, and its signature is valid."""
    signed = strict_jwt.unverified(f"{RFC_7515_A3['signing_input']}.{RFC_7515_A3['signature']}")
    assert (signed.header, signed.payload) == (RFC_7515_A3["header"], RFC_7515_A3["payload"])
    assert signed.signing_input == RFC_7515_A3["signing_input"].encode()
    assert signed.signature == strict_jwt.base64url_decode(RFC_7515_A3["signature"])
    key = ECAlgorithm.from_jwk(RFC_7515_A3["jwk"])
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert ECAlgorithm(ECAlgorithm.SHA256).verify(signed.signing_input, key, signed.signature)


def test_check_1_a_missing_proof() -> None:
    """A missing proof raises `ProofMissing`, which is another refusal than that of an invalid proof."""
    with pytest.raises(ProofMissing, match="Send a proof for this call in the header DPoP"):
        verify()


def test_check_1_one_header_line() -> None:
    """Two valid proofs in two header lines are refused, also if both are the same proof."""
    assert "more than one DPoP header line" in refusal(forged(), forged())
    assert "more than one DPoP header line" in refusal(*[forged()] * 2)


@pytest.mark.parametrize("between", [",", ", ", " ", "\n", ""])
def test_check_2_two_proofs_in_one_line(between: str) -> None:
    """Two proofs that a proxy has joined into one header line are refused."""
    assert "not three parts" in refusal(forged() + between + forged())


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("", "three parts"),
        (" \t", "three parts"),
        ("DPoP", "three parts"),
        ("a.b", "three parts"),
        ("a.b.c.d", "three parts"),
        ("é.é.é", "three parts"),
        (f"DPoP {forged()}", "three parts"),
        (f'"{forged()}"', "three parts"),
        (f"{forged()}=", "three parts"),
        (forged().rpartition(".")[0], "three parts"),
        (f"{base64url(b'[]')}.{base64url(b'{}')}.", "not a JSON object"),
        (f"{base64url(b'{')}.{base64url(b'{}')}.", "not JSON"),
        (forged(claims={"more": "x" * 8192}), "longer than"),
    ],
    ids=lambda text: ascii(text)[:20],
)
def test_check_2_a_header_that_is_not_a_jwt(line: str, detail: str) -> None:
    """A header value that is not a JWT, or that parsers could read differently, is refused."""
    assert detail in refusal(line)


def test_check_2_whitespace_around_the_value_is_ignored() -> None:
    """Whitespace around a header value is not part of it (RFC 9110, section 5.5), and some servers leave it there."""
    assert verify(f" \t{forged()}\t ")


@pytest.mark.parametrize("name", ["jti", "htm", "htu", "ath"])
@pytest.mark.parametrize("value", [ABSENT, None, True, 7, 1.5, [], ["GET"], {}, {"a": "GET"}, "GÉT", "\ud800"])
def test_check_3_required_claims_are_ascii_strings(name: str, value: Any) -> None:
    """A claim that is missing, of another type, or not ASCII is refused, and the detail names it."""
    assert f"The {name} of the proof is missing, or is not an ASCII string" in refusal(forged(claims={name: value}))


@pytest.mark.parametrize("value", [ABSENT, None, True, False, str(NOW), "", [], [NOW], {}, -1, -1e300, 2**54])
def test_check_3_the_time_is_a_number(value: Any) -> None:
    """A string, a boolean (an `int` in Python), and a number out of range are not times."""
    assert "iat of the proof is not a time" in refusal(forged(claims={"iat": value}))


def test_check_3_the_time_may_have_a_fraction() -> None:
    """A NumericDate need not be a whole number (RFC 7519, section 2)."""
    assert verify(forged(claims={"iat": NOW - 0.5})).issued_at == NOW - 0.5


@pytest.mark.parametrize(("proof_id", "good"), [("", False), ("i", True), ("i" * 128, True), ("i" * 129, False)])
def test_check_3_an_id_has_1_to_128_characters(proof_id: str, good: bool) -> None:
    """The length of an id is limited, because the callee stores it."""
    proof = forged(claims={"jti": proof_id})
    if good:
        assert verify(proof).proof_id == proof_id
    else:
        assert "1 to 128 characters" in refusal(proof)


@pytest.mark.parametrize("value", [True, 7, [], ["a nonce"], {}])
def test_check_10_a_nonce_is_a_string(value: Any) -> None:
    """A nonce of another type is refused before the callee compares it with its own."""
    assert "nonce of the proof is not a string" in refusal(forged(claims={"nonce": value}))


@pytest.mark.parametrize(
    "value", [ABSENT, None, "", "JWT", "dpop", "DPOP+JWT", "dpop+jwt ", "at+jwt", ["dpop+jwt"], {}, 7]
)
def test_check_4_the_type_is_dpop_jwt(value: Any) -> None:
    """A JWT of another type, signed with the same key, is not a proof."""
    assert "typ of the proof is not dpop+jwt" in refusal(forged({"typ": value}))


@pytest.mark.parametrize(
    "value", [ABSENT, None, "", "none", "HS256", "RS256", "ES384", "es256", "EdDSA", ["ES256"], 256]
)
def test_check_5_the_algorithm_is_es256(value: Any) -> None:
    """A proof whose header names another algorithm is refused, whatever its signature is."""
    assert "alg of the proof is not ES256" in refusal(forged({"alg": value}))


def hmac_with_public_key(signing_input: bytes) -> bytes:
    """Sign with HMAC and the public key as the secret: a verifier that trusts `alg` would accept this."""
    pem = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hmac.digest(pem, signing_input, "sha256")


P384_KEY = ec.generate_private_key(ec.SECP384R1())


@pytest.mark.parametrize(
    ("header", "sign"),
    [
        ({"alg": "none"}, lambda _: b""),
        ({"alg": "HS256"}, hmac_with_public_key),
        (
            {"alg": "RS256", "jwk": public(RSA_KEY)},
            lambda signing_input: RSA_KEY.sign(signing_input, padding.PKCS1v15(), hashes.SHA256()),
        ),
        ({"alg": "ES384", "jwk": public(P384_KEY)}, ecdsa(P384_KEY, hashes.SHA384())),
    ],
    ids=["none", "HS256", "RS256", "ES384"],
)
def test_check_5_a_valid_signature_of_another_algorithm(header: dict[str, Any], sign: Signer) -> None:
    """A proof that is really signed with another algorithm, by the bound key, is refused too."""
    jkt = import_key(header["jwk"]).thumbprint() if header.get("jwk", {}).get("kty") == "RSA" else JKT
    assert "alg of the proof is not ES256" in refusal(forged(header, sign=sign), key_thumbprint=jkt)


@pytest.mark.parametrize("value", [[], ["b64"], ["exp"], None, "exp"])
def test_check_5_critical_extensions_are_refused(value: Any) -> None:
    """A verifier must refuse critical extensions that it does not support (RFC 7515, section 4.1.11)."""
    assert "has the parameter crit" in refusal(forged({"crit": value, "b64": False}))


@pytest.mark.parametrize("more", [{"use": "enc"}, {"alg": "ECDH-ES"}, {"key_ops": ["deriveKey"]}])
def test_check_7_a_key_for_something_else(more: dict[str, Any]) -> None:
    """A key that is not for verifying ES256, by its own members, is refused (RFC 7517, sections 4.2 to 4.4)."""
    assert "not for verifying ES256" in refusal(forged({"jwk": JWK | more}))


def test_other_parameters_and_claims_are_allowed() -> None:
    """A proof may have further header parameters and claims (RFC 9449, section 4.2). They are ignored."""
    jwk = JWK | {"kid": "a name", "use": "sig", "alg": "ES256"}
    assert verify(forged({"kid": "a name", "jwk": jwk}, {"exp": 1, "nbf": 2**60, "iss": "billing", "more": [1]}))


def flipped(signature: bytes, index: int) -> bytes:
    """Return the signature with one bit changed, in the byte at `index`."""
    return signature[:index] + bytes([signature[index] ^ 1]) + signature[index + 1 :]


P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.mark.parametrize(
    "sign",
    [
        ecdsa(OTHER_KEY),
        ecdsa(KEY, hashes.SHA384()),
        lambda signing_input: ecdsa(KEY)(signing_input + b"."),
        lambda signing_input: ecdsa(KEY)(signing_input.partition(b".")[2]),
        lambda signing_input: flipped(ecdsa(KEY)(signing_input), 0),
        lambda signing_input: flipped(ecdsa(KEY)(signing_input), 31),
        lambda signing_input: flipped(ecdsa(KEY)(signing_input), 32),
        lambda signing_input: flipped(ecdsa(KEY)(signing_input), 63),
        lambda signing_input: ecdsa(KEY)(signing_input)[:63],
        lambda signing_input: ecdsa(KEY)(signing_input) + b"\0",
        lambda signing_input: ecdsa(KEY)(signing_input)[32:] + ecdsa(KEY)(signing_input)[:32],
        lambda signing_input: KEY.sign(signing_input, ec.ECDSA(hashes.SHA256())),
        lambda _: b"",
        lambda _: b"\0" * 64,
        lambda _: b"\xff" * 64,
        lambda _: P256_ORDER.to_bytes(32, "big") * 2,
        lambda _: b"\0" * 31 + b"\1" + b"\0" * 31 + b"\1",
    ],
)
def test_check_6_an_invalid_signature(sign: Signer) -> None:
    """Refused: another key, input or hash, a changed signature, DER, and numbers that are out of range."""
    assert "signature" in refusal(forged(sign=sign))


def test_check_6_parts_of_two_proofs() -> None:
    """A proof put together from the parts of two valid proofs of the same key is refused."""
    first, second = forged().split("."), forged({"kid": "a name"}, {"jti": "another-id"}).split(".")
    for index in range(3):
        assert "signature" in refusal(".".join([*first[:index], second[index], *first[index + 1 :]]))


def test_check_6_with_cached_keys() -> None:
    """The signature is checked each time, also if the key is in the cache."""
    verifier = ProofVerifier()
    for _ in range(2):
        assert verify(forged(), verifier=verifier)
        assert "signature" in refusal(forged(sign=ecdsa(OTHER_KEY)), verifier=verifier)
    other = public(OTHER_KEY)
    assert verify(forged({"jwk": other}, sign=ecdsa(OTHER_KEY)), verifier=verifier, key_thumbprint=thumbprint(other))


def test_a_cached_key_is_only_for_the_tokens_that_are_bound_to_it() -> None:
    """A proof with a cached key is refused with a token that is bound to another key."""
    verifier = ProofVerifier()
    verify(forged(), verifier=verifier)
    assert "another key" in refusal(forged(), verifier=verifier, key_thumbprint=thumbprint(public(OTHER_KEY)))


def test_only_headers_of_valid_proofs_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is cached for an invalid proof, nor for a header so long that it is not an ordinary one."""
    verifier = ProofVerifier()
    refusal(forged(sign=ecdsa(OTHER_KEY)), verifier=verifier)
    refusal(forged(claims={"htm": "POST"}), verifier=verifier)
    verify(forged({"kid": "x" * 512}), verifier=verifier)
    assert not verifier._keys
    monkeypatch.setattr("mstoken.proof.MAX_CACHED_KEYS", 2)
    for name in "first", "second", "third":
        verify(forged({"kid": name}), verifier=verifier)
    assert len(verifier._keys) == 2


@pytest.mark.parametrize("value", [ABSENT, None, "", "P-256", 7, True, [], [JWK]])
def test_check_7_the_header_has_a_jwk(value: Any) -> None:
    """A proof whose `jwk` is missing or not an object is refused."""
    assert "has no jwk" in refusal(forged({"jwk": value}))


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_check_7_a_private_key(member: str) -> None:
    """A private key in the header is refused: it has been disclosed, so it proves nothing."""
    assert "private key" in refusal(forged({"jwk": JWK | {member: base64url(b"\1" * 32)}}))


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {name: value for name, value in JWK.items() if name != "kty"},
        {name: value for name, value in JWK.items() if name != "crv"},
        JWK | {"crv": "P-384"},
        JWK | {"crv": "p-256"},
        JWK | {"crv": "secp256k1"},
        JWK | {"crv": ["P-256"]},
        JWK | {"kty": "ec"},
        JWK | {"kty": "OKP"},
        JWK | {"kty": "oct"},
        JWK | {"kty": ["EC"]},
        {"kty": "OKP", "crv": "Ed25519", "x": JWK["x"]},
        public(P384_KEY),
        public(RSA_KEY),
    ],
)
def test_check_7_another_curve_or_key_type(jwk: dict[str, Any]) -> None:
    """Only EC keys on the curve P-256 are accepted."""
    assert "not an EC key on the curve P-256" in refusal(forged({"jwk": jwk}))


def last_bits_changed(text: str) -> str:
    """Return the same 32 bytes in base64url that is not canonical: the last of 43 characters has two unused bits."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


@pytest.mark.parametrize("name", ["x", "y"])
@pytest.mark.parametrize(
    "change",
    [
        lambda _: ABSENT,
        lambda _: None,
        lambda _: 7,
        lambda value: [value],
        lambda _: "",
        lambda value: base64url(strict_jwt.base64url_decode(value)[1:]),
        lambda value: base64url(b"\0" + strict_jwt.base64url_decode(value)),
        lambda value: value + "=",
        lambda value: value + "\n",
        lambda value: f" {value}",
        lambda value: f"{value[:20]}!{value[20:]}",
        lambda value: value[:-1] + "é",
        last_bits_changed,
    ],
    ids=["absent", "null", "number", "list", "empty", "31", "33", "padded", "line", "space", "alien", "é", "bits"],
)
def test_check_7_a_coordinate_has_one_encoding(name: str, change: Callable[[str], Any]) -> None:
    """A coordinate is 32 bytes in canonical base64url (RFC 7518, section 6.2.1.2), so a key has one thumbprint."""
    jwk = {key: value for key, value in (JWK | {name: change(JWK[name])}).items() if value is not ABSENT}
    assert "coordinate" in refusal(forged({"jwk": jwk}))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (JWK["x"], base64url(flipped(strict_jwt.base64url_decode(JWK["y"]), 31))),
        (JWK["y"], JWK["x"]),
        (base64url(b"\0" * 32), base64url(b"\0" * 32)),
        (base64url(b"\xff" * 32), base64url(b"\xff" * 32)),
    ],
    ids=["off the curve", "swapped", "zero", "too large"],
)
def test_check_7_coordinates_that_are_not_on_the_curve(x: str, y: str) -> None:
    """Coordinates that are not a point of P-256 are refused, even if the token is bound to their thumbprint."""
    jwk = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
    assert "not a point on the curve" in refusal(forged({"jwk": jwk}), key_thumbprint=thumbprint(jwk))


@pytest.mark.parametrize("method", ["", "get", "Get", "GET ", "POST", "HEAD", "*"])
def test_check_8_the_method(method: str) -> None:
    """The method must be equal, and methods are case-sensitive (RFC 9110, section 9.1)."""
    assert "another method" in refusal(forged(claims={"htm": method}))
    assert "another method" in refusal(forged(), method=method)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/products",
        "http://product.example.com/products",
        "https://product.example.com:8443/products",
        "https://billing.example.com/products",
        "https://product.example.com.evil.example/products",
        "https://product.example.com@evil.example/products",
        "https://user@product.example.com/products",
        "https://product.example.com",
        "https://product.example.com/",
        "https://product.example.com/Products",
        "https://product.example.com/products/",
        "https://product.example.com//products",
        "https://product.example.com/products/1",
        "https://product.example.com/products%2F",
        "https://product.example.com/products%",
        "https://product.example.com/products\n",
        " https://product.example.com/products",
        "https:product.example.com/products",
    ],
)
def test_check_9_the_url(url: str) -> None:
    """A proof with another scheme, host, port or path, or with something that is not a URL, is refused."""
    assert "another URL: htu is not MSTOKEN_BASE_URL of this service" in refusal(forged(claims={"htu": url}))


@pytest.mark.parametrize(
    "url",
    [
        f"{URL}?ids=a,b",
        f"{URL}#a",
        "HTTPS://PRODUCT.example.com:443/products",
        "https://product.example.com/a/../%70roducts",
    ],
)
def test_check_9_urls_are_compared_after_normalization(url: str) -> None:
    """Query, fragment and equivalent spellings (RFC 3986, section 6.2) make no difference, on either side."""
    assert verify(forged(claims={"htu": url}))
    assert verify(forged(), url=url)


def test_check_9_characters_that_should_be_escaped() -> None:
    """Some clients, such as httpx, leave characters as they are that others escape. Both forms are accepted."""
    for htu in f"{URL}/a|b", f"{URL}/a%7Cb", f"{URL}/a%7cb":
        assert verify(forged(claims={"htu": htu}), url=f"{URL}/a|b")
    assert "another URL" in refusal(forged(claims={"htu": f"{URL}/a%257Cb"}), url=f"{URL}/a|b")


@pytest.mark.parametrize(
    ("age_seconds", "good"),
    [
        (PROOF_MAX_AGE_SECONDS, True),
        (PROOF_MAX_AGE_SECONDS + 0.25, False),
        (PROOF_MAX_AGE_SECONDS + 1, False),
        (0, True),
        (-CLOCK_SKEW_SECONDS, True),
        (-CLOCK_SKEW_SECONDS - 0.25, False),
        (-CLOCK_SKEW_SECONDS - 1, False),
        (NOW, False),
    ],
)
def test_check_11_the_age(age_seconds: float, good: bool) -> None:
    """A proof may be 30 s old, or as far in the future as clocks may be apart, and not more."""
    proof = forged(claims={"iat": NOW - age_seconds})
    if good:
        assert verify(proof).issued_at == NOW - age_seconds
    else:
        limit = "30 s are allowed" if age_seconds > 0 else "5 s are allowed"
        assert limit in refusal(proof)


@pytest.mark.parametrize(
    "ath",
    [
        base64url(sha256("another.token.altogether")),
        base64url(sha256(f"{TOKEN} ")),
        base64url(sha256(TOKEN)) + "=",
        sha256(TOKEN).hex(),
        base64url(sha256(TOKEN))[:-1],
        TOKEN,
        "",
    ],
)
def test_check_12_the_hash_of_the_token(ath: str) -> None:
    """A proof with the hash of another token, or in another encoding, is refused."""
    assert "another token" in refusal(forged(claims={"ath": ath}))


def test_check_12_another_token_in_the_request() -> None:
    """A proof that is valid for one token is refused with another token."""
    assert "another token" in refusal(forged(), token_sha256=sha256("the.next.token"))


def test_check_12_another_key_than_the_bound_one() -> None:
    """A valid proof by another key is refused: someone who stole the token has only keys of their own."""
    assert "another key" in refusal(forged({"jwk": public(OTHER_KEY)}, sign=ecdsa(OTHER_KEY)))


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"typ": "marker"}, {}),
        ({"alg": "marker"}, {}),
        ({"crit": ["marker"]}, {}),
        ({"jwk": "marker"}, {}),
        ({"jwk": JWK | {"d": "marker"}}, {}),
        ({"jwk": JWK | {"kty": "marker"}}, {}),
        ({"jwk": JWK | {"crv": "marker"}}, {}),
        ({"jwk": JWK | {"x": "marker"}}, {}),
        ({"jwk": JWK | {"use": "marker"}}, {}),
        ({}, {"jti": "marker" * 30}),
        ({}, {"htm": "marker"}),
        ({}, {"htu": "marker"}),
        ({}, {"ath": "marker"}),
        ({}, {"iat": "marker"}),
        ({}, {"nonce": ["marker"]}),
        ({"marker": "marker" * 2000}, {}),
    ],
)
def test_a_refusal_repeats_nothing_of_the_proof(header: dict[str, Any], claims: dict[str, Any]) -> None:
    """The detail names the header parameter or the claim that is wrong, and does not contain its value."""
    assert "marker" not in refusal(forged(header, claims))


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=5,
)
GOOD_PROOF = forged()


@given(st.lists(st.text() | st.just(GOOD_PROOF), max_size=3).filter(lambda lines: lines != [GOOD_PROOF]))
def test_any_header_lines_are_refused(lines: list[str]) -> None:
    """Any header lines other than a valid proof are refused, and never cause an internal error."""
    with pytest.raises(ProofRefused):
        verify(*lines)


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """Return a valid proof with one change: characters replaced, inserted, removed, or the rest cut off or doubled."""
    index = draw(st.integers(0, len(GOOD_PROOF) - 1) | st.sampled_from([0, GOOD_PROOF.index("."), len(GOOD_PROOF) - 1]))
    new = draw(st.text("ABCDwxyz0189-_.,= é", min_size=1, max_size=2) | st.characters())
    before, after = GOOD_PROOF[:index], GOOD_PROOF[index:]
    changes = [before + new + after[1:], before + new + after, before + after[1:], before, before + GOOD_PROOF]
    return draw(st.sampled_from(changes))


@given(mutations().filter(lambda line: line.strip(" \t") != GOOD_PROOF))
def test_a_proof_that_was_changed_is_refused(line: str) -> None:
    """A proof with any one change is refused."""
    with pytest.raises(ProofInvalid):
        verify(line)


@given(
    st.sampled_from(["typ", "alg", "jwk", "crit", "x", "y", "kty", "crv", "d"]),
    st.sampled_from([*CLAIMS, "nonce"]),
    JSON,
    st.sampled_from(["header", "claims", "both"]),
)
def test_any_json_in_a_signed_proof_is_read_or_refused(parameter: str, claim: str, value: Any, where: str) -> None:
    """Any JSON that the key's holder signs is a valid proof for this call or is refused, and nothing else happens."""
    header = {"jwk": JWK | {parameter: value}} if parameter in {"x", "y", "kty", "crv", "d"} else {parameter: value}
    proof = forged(header if where != "claims" else {}, {claim: value} if where != "header" else {})
    try:
        proven = verify(proof)
    except ProofInvalid:
        return
    assert proven.key_thumbprint == JKT
    assert 0 < len(proven.proof_id) <= 128
    assert -CLOCK_SKEW_SECONDS <= NOW - proven.issued_at <= PROOF_MAX_AGE_SECONDS
