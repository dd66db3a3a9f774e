"""The known attacks with bound tokens and proofs: what is sent, and the code of the refusal.

docs/threat-model.md has the same table. A test compares the two.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from mstoken.jwk import thumbprint
from mstoken.testing.forge import ABSENT, Claims, Forge, KeyKind, PrivateKey, encode, signature

PATH = "/products"
YEAR_SECONDS = 365 * 86_400


def private_jwk(key: PrivateKey) -> Claims:
    """Return a private key as JWK (RFC 7517)."""
    match key:
        case rsa.RSAPrivateKey():
            return RSAAlgorithm.to_jwk(key, as_dict=True)
        case ed25519.Ed25519PrivateKey():
            return OKPAlgorithm.to_jwk(key, as_dict=True)
    return ECAlgorithm.to_jwk(key, as_dict=True)


def public_jwk(key: PrivateKey) -> Claims:
    """Return the public key as JWK."""
    match key:
        case rsa.RSAPrivateKey():
            return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ed25519.Ed25519PrivateKey():
            return OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return ECAlgorithm.to_jwk(key.public_key(), as_dict=True)


@dataclass
class Holder:
    """The service `service`, which holds a key and a token that is bound to it.

    It calls the service `audience` at `url`, with `method` and `path`.
    """

    forge: Forge
    url: str
    service: str = "billing"
    audience: str = "product"
    method: str = "GET"
    path: str = PATH

    def __post_init__(self) -> None:
        self.key = self.forge.new_key()
        self.jwk = public_jwk(self.key)
        self.token = self.bound(thumbprint(self.jwk))

    def bound(self, jkt: str, ms: Claims | None = None, **changes: Any) -> str:
        """Return a valid token that is bound to the key with the thumbprint `jkt`.

        `changes` are to its claims, and `ms` to the members of its ms claim.
        """
        claims = self.forge.service_claims(self.service, self.audience) | changes
        members = {"v": 1, "svc": self.service, "aud": self.audience, "iat": self.forge.now(), "jkt": jkt}
        return self.forge.signed(claims | {"ms": members | (ms or {})})

    def claims(self) -> Claims:
        """Return the claims of a valid proof that is made now."""
        ath = encode(hashlib.sha256(self.token.encode()).digest())
        return {
            "jti": self.forge.random_id(),
            "htm": self.method,
            "htu": self.url + self.path,
            "iat": self.forge.now(),
            "ath": ath,
        }

    def proof(self, header: Claims | None = None, **changes: Any) -> str:
        """Return a proof with `changes` to its claims and `header` in place of its own, signed with the key."""
        return self.signed(self.header() | (header or {}), self.claims() | changes)

    def header(self) -> Claims:
        """Return the header of a valid proof."""
        return {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk}

    def signed(self, header: Claims, claims: Claims) -> str:
        """Return a proof that is signed with the key, whatever the header says."""
        body = self.body(header, claims)
        return f"{body}.{encode(signature(self.key, body.encode()))}"

    def body(self, header: Claims, claims: Claims) -> str:
        """Return the header and the payload of a proof, without a signature."""
        parts = [{name: value for name, value in part.items() if value is not ABSENT} for part in (header, claims)]
        return ".".join(encode(json.dumps(part).encode()) for part in parts)


def _other(first: str, second: str, known: str) -> str:
    """Return the second text, or the first if the second is `known` already."""
    return first if second == known else second


def _other_scheme(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{_other('http', 'https', scheme)}://{rest}"


@dataclass(frozen=True)
class ProofFlaw:
    """The header lines and the path of a call with one flaw, and the code of the refusal."""

    name: str
    code: str
    lines: Callable[[Holder], list[str]]
    path: str = PATH


def header_lines(holder: Holder, *proofs: str) -> list[str]:
    """Return the header lines of a call with the holder's token and these proofs."""
    return [f"X-MS-TOKEN: {holder.token}", *(f"DPoP: {proof}" for proof in proofs)]


def _claim(name: str, value: object) -> Callable[[Holder], list[str]]:
    changes: Claims = {name: value}
    return lambda holder: header_lines(holder, holder.proof(**changes))


def _made_for(path: str) -> Callable[[Holder], list[str]]:
    return lambda holder: header_lines(holder, holder.proof(htu=holder.url + path))


def _aged(seconds: int) -> Callable[[Holder], list[str]]:
    return lambda holder: header_lines(holder, holder.proof(iat=holder.forge.now() - seconds))


def _header(**changes: object) -> Callable[[Holder], list[str]]:
    return lambda holder: header_lines(holder, holder.proof(header=changes))


def _jwk(**changes: object) -> Callable[[Holder], list[str]]:
    def lines(holder: Holder) -> list[str]:
        jwk = {name: value for name, value in (holder.jwk | changes).items() if value is not ABSENT}
        return header_lines(holder, holder.proof(header={"jwk": jwk}))

    return lines


def _with_own_key(holder: Holder) -> list[str]:
    thief = replace(holder)
    thief.token = holder.token
    return header_lines(holder, thief.proof())


def _with_own_key_and_the_holders_jwk(holder: Holder) -> list[str]:
    thief = replace(holder)
    thief.token, thief.jwk = holder.token, holder.jwk
    return header_lines(holder, thief.proof())


def _for_another_token(holder: Holder) -> list[str]:
    proof = holder.proof()
    # The other token is older, because two tokens of the same second are identical.
    now = holder.forge.now()
    holder.token = holder.bound(thumbprint(holder.jwk), iat=now - 9, auth_time=now - 9, exp=now + 3591)
    return header_lines(holder, proof)


def _hmac_signed(holder: Holder) -> list[str]:
    body = holder.body(holder.header() | {"alg": "HS256"}, holder.claims())
    return header_lines(
        holder, f"{body}.{encode(hmac.digest(json.dumps(holder.jwk).encode(), body.encode(), 'sha256'))}"
    )


def _unsigned(alg: str) -> Callable[[Holder], list[str]]:
    return lambda holder: header_lines(holder, holder.body(holder.header() | {"alg": alg}, holder.claims()) + ".")


def _private(holder: Holder) -> list[str]:
    return header_lines(holder, holder.proof(header={"jwk": private_jwk(holder.key)}))


def _thumbprint(jwk: Claims) -> str:
    """Return the thumbprint of a key of any kind (RFC 7638, section 3.2; RFC 8037, section 2)."""
    members = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}[jwk["kty"]]
    text = json.dumps({name: jwk[name] for name in members}, separators=(",", ":"))
    return encode(hashlib.sha256(text.encode()).digest())


def _with_another_kind_of_key(kind: KeyKind, alg: str) -> Callable[[Holder], list[str]]:
    def lines(holder: Holder) -> list[str]:
        holder.key = holder.forge.new_key(kind)
        holder.jwk = public_jwk(holder.key)
        holder.token = holder.bound(_thumbprint(holder.jwk))
        return header_lines(holder, holder.proof(header={"alg": alg}))

    return lines


def _off_the_curve(holder: Holder) -> list[str]:
    jwk = holder.jwk | {"y": holder.jwk["x"]}
    holder.token = holder.bound(thumbprint(jwk))
    return header_lines(holder, holder.proof(header={"jwk": jwk}))


def _old_token(ms: Claims | None = None, **ages: int) -> Callable[[Holder], list[str]]:
    """Return the lines of a call with a token of this minute, whose `auth_time` or `ms.iat` is so many seconds old."""

    def lines(holder: Holder) -> list[str]:
        now = holder.forge.now()
        minted = {"iat": now - ages["minted"]} if "minted" in ages else {}
        signed_in = {"auth_time": now - ages["signed_in"]} if "signed_in" in ages else {}
        holder.token = holder.bound(thumbprint(holder.jwk), minted | (ms or {}), **signed_in)
        return header_lines(holder, holder.proof())

    return lines


def _fresh_token(holder: Holder) -> list[str]:
    holder.token = holder.forge.signed(holder.forge.service_claims(holder.service, holder.audience))
    return header_lines(holder, holder.proof())


PROOF_FLAWS = [
    ProofFlaw("a bound token without a proof", "proof_missing", header_lines),
    ProofFlaw("a bound token that was minted two hours ago", "token_expired", _old_token(minted=7200)),
    ProofFlaw(
        "a bound token of a session that began a year ago and was refreshed now",
        "token_expired",
        _old_token(minted=YEAR_SECONDS, signed_in=YEAR_SECONDS),
    ),
    ProofFlaw(
        "a bound token that was minted now, of a session that began a year ago",
        "token_expired",
        _old_token(signed_in=YEAR_SECONDS),
    ),
    ProofFlaw("a bound token that was minted a minute in the future", "token_untrusted", _old_token(minted=-60)),
    ProofFlaw("a bound token whose minting time is a string", "token_not_service", _old_token(ms={"iat": "now"})),
    ProofFlaw("a fresh token with a proof", "proof_invalid", _fresh_token),
    ProofFlaw("a proof without a token", "token_missing", lambda h: header_lines(h, h.proof())[1:]),
    ProofFlaw("two proofs on two lines", "proof_invalid", lambda h: header_lines(h, h.proof(), h.proof())),
    ProofFlaw("two proofs joined by a comma", "proof_invalid", lambda h: header_lines(h, f"{h.proof()},{h.proof()}")),
    ProofFlaw("an empty proof", "proof_invalid", lambda h: header_lines(h, "")),
    ProofFlaw("the token as its own proof", "proof_invalid", lambda h: header_lines(h, h.token)),
    ProofFlaw("a proof of 9 KiB", "proof_invalid", _claim("more", "x" * 9216)),
    ProofFlaw("a thief's own key", "proof_invalid", _with_own_key),
    ProofFlaw("a thief's signature under the holder's key", "proof_invalid", _with_own_key_and_the_holders_jwk),
    ProofFlaw("the proof of another token", "proof_invalid", _for_another_token),
    ProofFlaw("alg is none, no signature", "proof_invalid", _unsigned("none")),
    ProofFlaw("alg is ES256, no signature", "proof_invalid", _unsigned("ES256")),
    ProofFlaw("HS256, the public key as secret", "proof_invalid", _hmac_signed),
    ProofFlaw("RS256 with an RSA key", "proof_invalid", _with_another_kind_of_key("RSA", "RS256")),
    ProofFlaw("EdDSA with an Ed25519 key", "proof_invalid", _with_another_kind_of_key("Ed25519", "EdDSA")),
    ProofFlaw("ES384 with a P-384 key", "proof_invalid", _with_another_kind_of_key("P-384", "ES384")),
    ProofFlaw("typ of a proof is JWT", "proof_invalid", _header(typ="JWT")),
    ProofFlaw("typ of a proof is missing", "proof_invalid", _header(typ=ABSENT)),
    ProofFlaw("crit in a proof", "proof_invalid", _header(crit=["exp"])),
    ProofFlaw("no jwk in a proof", "proof_invalid", _header(jwk=ABSENT)),
    ProofFlaw("a private jwk", "proof_invalid", _private),
    ProofFlaw("a jwk off the curve", "proof_invalid", _off_the_curve),
    ProofFlaw("a jwk for encryption", "proof_invalid", _jwk(use="enc")),
    ProofFlaw("a jwk of an unknown curve", "proof_invalid", _jwk(crv="P-999")),
    ProofFlaw("a jwk with a padded coordinate", "proof_invalid", lambda h: _jwk(x=h.jwk["x"] + "=")(h)),
    ProofFlaw("a jwk without y", "proof_invalid", _jwk(y=ABSENT)),
    ProofFlaw("made for another method", "proof_invalid", lambda h: _claim("htm", _other("GET", "POST", h.method))(h)),
    ProofFlaw("made for the method in lower case", "proof_invalid", lambda h: _claim("htm", h.method.lower())(h)),
    ProofFlaw(
        "made for another path",
        "proof_invalid",
        lambda h: _claim("htu", h.url + _other("/products", "/bills", h.path))(h),
    ),
    *(
        ProofFlaw(f"{what} in the path", "proof_invalid", _made_for(to), path)
        for what, path, to in (
            ("a dot segment", "/products/.", "/products/"),
            ("a segment of two dots", "/products/..", "/"),
            ("an escaped dot segment", "/products/%2e", "/products/"),
            ("a segment of two escaped dots", "/products/%2E%2e", "/"),
        )
    ),
    ProofFlaw("made for another host", "proof_invalid", lambda h: _claim("htu", "http://evil.example" + h.path)(h)),
    ProofFlaw(
        "made for another scheme",
        "proof_invalid",
        lambda h: _claim("htu", _other_scheme(h.url) + h.path)(h),
    ),
    ProofFlaw("made for a path without scheme and host", "proof_invalid", lambda h: _claim("htu", h.path)(h)),
    ProofFlaw("made a minute ago", "proof_invalid", _aged(60)),
    ProofFlaw("made a minute in the future", "proof_invalid", _aged(-60)),
    ProofFlaw("iat of a proof is a string", "proof_invalid", lambda h: _claim("iat", str(h.forge.now()))(h)),
    ProofFlaw("iat of a proof is true", "proof_invalid", _claim("iat", True)),
    *(
        ProofFlaw(f"no {name} in a proof", "proof_invalid", _claim(name, ABSENT))
        for name in ("jti", "htm", "htu", "iat", "ath")
    ),
    ProofFlaw("a proof id of 129 characters", "proof_invalid", _claim("jti", "x" * 129)),
    ProofFlaw("an empty proof id", "proof_invalid", _claim("jti", "")),
    ProofFlaw("a proof id that is a list", "proof_invalid", _claim("jti", ["x"])),
    ProofFlaw("a NUL byte in a proof's htu", "proof_invalid", lambda h: _claim("htu", h.url + h.path + "\0")(h)),
    ProofFlaw("a proof id that is a lone surrogate", "proof_invalid", _claim("jti", "\ud800")),
]
