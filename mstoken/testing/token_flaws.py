"""The known attacks with tokens: what is sent, and the code of the refusal.

docs/threat-model.md has the same table. A test compares the two.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from mstoken.testing.forge import ABSENT, Claims, Forge, encode

Spoil = Callable[[Forge, Claims], str]


@dataclass(frozen=True)
class Flaw:
    """A token with one flaw.

    In `X-MS-TOKEN` it is refused with `code`. In `Authorization`, a user's token with the same flaw is refused with
    `user_token_invalid`.
    """

    name: str
    code: str
    spoil: Spoil


def _unsigned(alg: object) -> Spoil:
    return lambda forge, claims: forge.unsigned(claims, alg)


def _signed(**header: object) -> Spoil:
    return lambda forge, claims: forge.signed(claims, **header)


def _self_signed(**header: object) -> Spoil:
    return lambda forge, claims: forge.self_signed(claims, **header)


def _without(name: str) -> Spoil:
    return lambda forge, claims: forge.without(claims, name)


def _with_text(name: str, text: str) -> Spoil:
    return lambda forge, claims: forge.with_text(claims, name, text)


def _with_claim(name: str, value: object) -> Spoil:
    return lambda forge, claims: forge.signed(claims | {name: value})


def _json_serialization(forge: Forge, claims: Claims) -> str:
    protected, payload, signature = forge.signed(claims).split(".")
    return json.dumps({"protected": protected, "payload": payload, "signature": signature})


def _two_signatures(forge: Forge, claims: Claims) -> str:
    protected, payload, signature = forge.signed(claims).split(".")
    signatures = [{"protected": protected, "signature": signature}] * 2
    return json.dumps({"payload": payload, "signatures": signatures})


def _other_payload(forge: Forge, claims: Claims) -> str:
    header, _, signature = forge.signed(claims).split(".")
    return f"{header}.{encode(json.dumps(claims | {'role': 'admin'}).encode())}.{signature}"


def _twice(forge: Forge, claims: Claims) -> str:
    text = json.dumps(claims)
    return forge.signed(text[:-1] + ', "sub": "svc:admin"}')


def _truncated(forge: Forge, claims: Claims) -> str:
    signing_input, _, signature = forge.signed(claims).rpartition(".")
    return f"{signing_input}.{signature[: len(signature) // 8 * 4]}"


def _not_canonical(forge: Forge, claims: Claims) -> str:
    """Set a bit that base64url does not use in the last character: the decoded bytes are the same."""
    token = forge.signed(claims)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


def _custom_token(forge: Forge, claims: Claims) -> str:
    service = "https://identitytoolkit.googleapis.com/google.identity.identitytoolkit.v1.IdentityToolkit"
    account = f"firebase-adminsdk@{forge.project}.iam.gserviceaccount.com"
    return forge.signed(claims | {"aud": service, "iss": account, "sub": account, "uid": claims["sub"]})


def _google_oidc(forge: Forge, claims: Claims) -> str:
    return forge.signed(
        claims | {"iss": "https://accounts.google.com", "aud": "product", "email": "billing@example.com", "sub": "117"}
    )


FLAWS = [
    # RFC 8725, sections 2.1 and 3.1: the verifier chooses the algorithm, not the token.
    *(
        Flaw(f"alg is {json.dumps(alg)}, no signature", "token_untrusted", _unsigned(alg))
        for alg in ("none", "None", "NONE", "nOnE", "none ", "", None, ["RS256"], {"alg": "RS256"}, 256)
    ),
    Flaw("no alg, no signature", "token_untrusted", lambda f, c: f.unsigned(c, ABSENT)),
    Flaw("alg is none, with a signature", "token_untrusted", lambda f, c: f.unsigned(c, "none", "c2lnbmVk")),
    *(
        Flaw(f"alg is {alg}, over an RS256 signature", "token_untrusted", _signed(alg=alg))
        for alg in ("RS384", "RS512", "PS256", "ES256", "EdDSA", "HS256", "rs256")
    ),
    Flaw("HS256, the public key as secret", "token_untrusted", lambda f, c: f.hmac_signed(c, f.public_key())),
    Flaw("HS256, the certificate as secret", "token_untrusted", lambda f, c: f.hmac_signed(c, f.certificate())),
    Flaw(
        "HS256 under the name RS256, the certificate as secret",
        "token_untrusted",
        lambda f, c: f.hmac_signed(c, f.certificate(), alg="RS256"),
    ),
    Flaw("HS256, an empty secret", "token_untrusted", lambda f, c: f.hmac_signed(c, b"")),
    # RFC 8725, section 3.10; RFC 7515, sections 4.1.2 to 4.1.6: the verifier chooses the key, not the token.
    Flaw("an unknown key under the published kid", "token_untrusted", lambda f, c: f.self_signed(c)),
    Flaw("jwk contains the attacker's key", "token_untrusted", lambda f, c: f.self_signed(c, jwk=f.own_jwk())),
    Flaw(
        "jku is the URL of the attacker's key",
        "token_untrusted",
        lambda f, c: f.self_signed(c, jku="http://127.0.0.1:9/jwks"),
    ),
    Flaw(
        "x5u is the URL of the attacker's certificate",
        "token_untrusted",
        lambda f, c: f.self_signed(c, x5u="http://127.0.0.1:9/"),
    ),
    Flaw(
        "x5c contains the attacker's certificate",
        "token_untrusted",
        lambda f, c: f.self_signed(c, x5c=[f.own_certificate_der()]),
    ),
    Flaw(
        "jwk contains the attacker's key, no kid",
        "token_untrusted",
        lambda f, c: f.self_signed(c, jwk=f.own_jwk(), kid=None),
    ),
    *(
        Flaw(f"kid is {what}", "token_untrusted", _self_signed(kid=kid))
        for what, kid in (
            ("unknown", "unknown"),
            ("empty", ""),
            ("a path", "../../../../dev/null"),
            ("a URL", "http://127.0.0.1:9/key"),
            ("SQL", "x' UNION SELECT 'secret"),
            ("very long", "k" * 4000),
            ("a list", ["unknown"]),
            ("an object", {"kid": "unknown"}),
            ("a number", 0),
            ("a NUL byte", "\0"),
        )
    ),
    Flaw("crit has an extension", "token_untrusted", lambda f, c: f.signed(c, crit=["exp"], exp=1)),
    Flaw("crit is empty", "token_untrusted", lambda f, c: f.signed(c, crit=[])),
    Flaw("b64 is false", "token_untrusted", lambda f, c: f.signed(c, b64=False, crit=["b64"])),
    Flaw("typ is at+jwt", "token_untrusted", lambda f, c: f.signed(c, typ="at+jwt")),
    Flaw("typ is dpop+jwt", "token_untrusted", lambda f, c: f.signed(c, typ="dpop+jwt")),
    # RFC 7515, sections 5.2 and 7: the signature and the serialization.
    Flaw("an empty signature", "token_untrusted", lambda f, c: f.signed(c).rpartition(".")[0] + "."),
    Flaw("a truncated signature", "token_untrusted", _truncated),
    Flaw("a signature of another payload", "token_untrusted", _other_payload),
    Flaw("no signature part", "token_malformed", lambda f, c: f.signed(c).rpartition(".")[0]),
    Flaw("a fourth part", "token_malformed", lambda f, c: f.signed(c) + ".e30"),
    Flaw("five parts, as in JWE", "token_malformed", lambda f, c: f.signed(c) + ".e30.e30"),
    Flaw("two signatures, JSON serialization", "token_malformed", _two_signatures),
    Flaw("flattened JSON serialization", "token_malformed", _json_serialization),
    Flaw("padding", "token_malformed", lambda f, c: f.signed(c) + "=="),
    Flaw("base64 that is not base64url", "token_malformed", lambda f, c: f.signed(c)[:-1] + "+"),
    Flaw("base64url that is not canonical", "token_malformed", _not_canonical),
    Flaw("a signature of one character", "token_malformed", lambda f, c: f.signed(c).rpartition(".")[0] + ".A"),
    # RFC 8725, section 2.4, and RFC 8259, section 4: the JSON can be read in one way only.
    Flaw("a duplicate claim", "token_malformed", _twice),
    Flaw("a payload that is not an object", "token_malformed", lambda f, c: f.signed(json.dumps([c]))),
    Flaw("a payload that is not JSON", "token_malformed", lambda f, c: f.signed(json.dumps(c)[:-1])),
    Flaw("an empty payload", "token_malformed", lambda f, c: f.signed("")),
    Flaw("invalid UTF-8 in a claim", "token_malformed", lambda f, c: f.with_text(c, "name", '"\udcff\udcfe"')),
    Flaw("an unescaped NUL byte in a claim", "token_malformed", lambda f, c: f.with_text(c, "name", '"\0"')),
    Flaw("a NUL byte in sub", "token_untrusted", lambda f, c: f.signed(c | {"sub": c["sub"] + "\0", "aud": "\0"})),
    Flaw("2,000 levels of nesting", "token_malformed", lambda f, c: f.with_text(c, "x", "[" * 2000 + "]" * 2000)),
    Flaw("20 levels of nesting", "token_malformed", lambda f, c: f.with_text(c, "x", '{"x":' * 20 + "1" + "}" * 20)),
    Flaw("a claim of 9 KiB", "token_malformed", lambda f, c: f.signed(c | {"x": "x" * 9 * 1024})),
    # RFC 7519, section 4.1: times that are missing, of a wrong type, or out of range.
    *(Flaw(f"{name} is missing", "token_untrusted", _without(name)) for name in ("exp", "iat", "auth_time")),
    *(
        Flaw(f"{name} is {what}", code, _with_text(name, text))
        for name in ("exp", "iat", "auth_time")
        for what, text, code in (
            ("a string", '"1900000000"', "token_untrusted"),
            ("negative", "-1", "token_untrusted"),
            ("true", "true", "token_untrusted"),
            ("null", "null", "token_untrusted"),
            ("a list", "[1900000000]", "token_untrusted"),
            ("a number with a fraction", "1900000000.5", "token_untrusted"),
            ("in the far future", "99999999999", "token_untrusted"),
            ("1e400", "1e400", "token_malformed"),
            ("NaN", "NaN", "token_malformed"),
            ("Infinity", "Infinity", "token_malformed"),
            ("a number of 5,000 digits", "9" * 5000, "token_malformed"),
        )
    ),
    Flaw("exp has passed", "token_expired", lambda f, c: f.signed(c | _times(f, ago=3700))),
    # RFC 8725, sections 3.8 and 3.9: issuer and audience.
    Flaw("sub is missing", "token_untrusted", lambda f, c: f.without(c, "sub")),
    *(
        Flaw(f"sub is {what}", "token_untrusted", _with_claim("sub", sub))
        for what, sub in (
            ("empty", ""),
            ("129 characters long", "s" * 129),
            ("a number", 7),
            ("a list", ["svc:billing"]),
        )
    ),
    *(
        Flaw(f"iss is {what}", "token_untrusted", _with_claim("iss", iss))
        for what, iss in (
            ("missing", None),
            ("another project's", "https://securetoken.google.com/demo-other"),
            ("plain http", "http://securetoken.google.com/demo-shop"),
            ("a list", ["https://securetoken.google.com/demo-shop"]),
        )
    ),
    Flaw("aud is another project's", "token_untrusted", lambda f, c: f.signed(c | {"aud": "demo-other"})),
    Flaw("aud is a list", "token_untrusted", lambda f, c: f.signed(c | {"aud": [f.project]})),
    Flaw("aud is missing", "token_untrusted", lambda f, c: f.without(c, "aud")),
    Flaw(
        "a token of another project",
        "token_untrusted",
        lambda f, c: f.signed(c | {"aud": "demo-other", "iss": "https://securetoken.google.com/demo-other"}),
    ),
    Flaw(
        "a token of a tenant",
        "token_untrusted",
        lambda f, c: f.signed(c | {"firebase": c["firebase"] | {"tenant": "other-tenant"}}),
    ),
    Flaw(
        "a session cookie",
        "token_untrusted",
        lambda f, c: f.signed(c | {"iss": f"https://session.firebase.google.com/{f.project}"}),
    ),
    Flaw("a custom token", "token_untrusted", _custom_token),
    Flaw("a Google OIDC token", "token_untrusted", _google_oidc),
    Flaw("firebase is missing", "token_untrusted", lambda f, c: f.without(c, "firebase")),
    Flaw("firebase is a string", "token_untrusted", lambda f, c: f.signed(c | {"firebase": "custom"})),
]


def _times(forge: Forge, ago: int) -> Claims:
    now = forge.now()
    return {"iat": now - ago, "auth_time": now - ago, "exp": now - ago + 3600}


def _ms(claims: Claims, **changes: object) -> Claims:
    ms = claims["ms"] | changes
    return claims | {"ms": {name: value for name, value in ms.items() if value is not ABSENT}}


def _other_than(service: str) -> str:
    return "product" if service == "user" else "user"


def _minted(value: object) -> Spoil:
    return lambda forge, claims: forge.signed(_ms(claims, iat=value))


SERVICE_FLAWS = [
    # Flaws that only a service token can have.
    Flaw(
        "made for another service",
        "token_wrong_audience",
        lambda f, c: f.signed(_ms(c, aud=_other_than(c["ms"]["aud"]))),
    ),
    Flaw("made for two services", "token_not_service", lambda f, c: f.signed(_ms(c, aud=["product", "user"]))),
    Flaw("made for every service", "token_not_service", lambda f, c: f.signed(_ms(c, aud="*"))),
    Flaw("made for no service", "token_not_service", lambda f, c: f.signed(_ms(c, aud=ABSENT))),
    Flaw(
        "another service's name under this uid",
        "token_not_service",
        lambda f, c: f.signed(_ms(c, svc=_other_than(c["ms"]["svc"]))),
    ),
    Flaw("a user's uid with a service's claim", "token_not_service", lambda f, c: f.signed(c | {"sub": "maya"})),
    Flaw(
        "a service's claim from a password sign-in",
        "token_not_service",
        lambda f, c: f.signed(c | {"firebase": {"sign_in_provider": "password"}}),
    ),
    Flaw("no id", "token_not_service", lambda f, c: f.signed(_ms(c, jti=ABSENT))),
    Flaw("a short id", "token_not_service", lambda f, c: f.signed(_ms(c, jti="1"))),
    Flaw("a list of ids", "token_not_service", lambda f, c: f.signed(_ms(c, jti=["a" * 22]))),
    Flaw("an unknown version", "token_not_service", lambda f, c: f.signed(_ms(c, v=2))),
    Flaw("a version that is true", "token_not_service", lambda f, c: f.signed(_ms(c, v=True))),
    Flaw(
        "a thumbprint instead of the id, and no proof",
        "proof_missing",
        lambda f, c: f.signed(_ms(c, jti=ABSENT, jkt="x" * 43)),
    ),
    Flaw(
        "a malformed thumbprint instead of the id",
        "token_not_service",
        lambda f, c: f.signed(_ms(c, jti=ABSENT, jkt="x" * 42)),
    ),
    Flaw("a thumbprint beside the id", "token_not_service", lambda f, c: f.signed(_ms(c, jkt="x" * 43))),
    Flaw("no ms claim", "token_not_service", lambda f, c: f.without(c, "ms")),
    Flaw("no minting time", "token_not_service", lambda f, c: f.signed(_ms(c, iat=ABSENT))),
    *(
        Flaw(f"a minting time that is {what}", "token_not_service", _minted(value))
        for what, value in (
            ("a string", "1900000000"),
            ("negative", -1),
            ("true", True),
            ("a list", [1_900_000_000]),
            ("a number with a fraction", 1_900_000_000.5),
        )
    ),
    Flaw(
        "minted a minute in the future",
        "token_untrusted",
        lambda f, c: f.signed(_ms(c, iat=f.now() + 60)),
    ),
    Flaw(
        "signed in now, with a custom token that was minted 61 s ago",
        "token_stale",
        lambda f, c: f.signed(_ms(c, iat=f.now() - 61)),
    ),
    Flaw("issued 61 s ago", "token_stale", lambda f, c: f.signed(c | _times(f, ago=61))),
    Flaw(
        "refreshed: new iat, old auth_time",
        "token_stale",
        lambda f, c: f.signed(c | {"auth_time": f.now() - 61}),
    ),
    Flaw(
        "a service that does not exist",
        "identity_disabled",
        lambda f, c: f.signed(f.service_claims("ghost", c["ms"]["aud"])),
    ),
]
