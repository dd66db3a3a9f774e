"""Makes docs/vectors.json, the test vectors of docs/protocol.md.

    .venv/bin/python -m tests.protocol.make_vectors

The keys are fixed, ids and one-time keys are derived from the name of a case, and signatures are deterministic. So the
file is the same each time. The attacks are those of tests/attacks; the other cases are about limits and sequences.
"""

import datetime
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from typing_extensions import override

from emulator.attacks.smuggling import SMUGGLING, Smuggling
from mstoken.emulator.keys import Key, make_jws
from mstoken.testing.forge import Claims, Forge, KeyKind, PrivateKey, encode, signature
from mstoken.testing.proof_flaws import PROOF_FLAWS, Holder, private_jwk, public_jwk
from mstoken.testing.token_flaws import FLAWS, SERVICE_FLAWS

FILE = Path(__file__).parents[2] / "docs" / "vectors.json"
KEYS = json.loads(Path(__file__).with_name("worthless_keys.json").read_text())
"""RSA keys for these vectors only. They protect nothing."""

NOW = int(datetime.datetime(2027, 1, 15, 8, 0, tzinfo=datetime.UTC).timestamp())
PROJECT = "demo-shop"
BASE_URL = "https://product.example.com"
PATH = "/products"
TOKEN_SERVICE = f"https://us-central1-{PROJECT}.cloudfunctions.net/token"
ACCOUNT = f"billing@{PROJECT}.iam.gserviceaccount.com"
NONCE_SECRET = "the secret of product's nonces, for tests"
WELCOME = {"users": True, "services": ["billing"], "proof": False}
"""The callers that the route of a case admits, unless the case names others."""

_CREATED_AT = NOW - 2 * 365 * 86_400
KNOWN = {"disabled": False, "valid_since": _CREATED_AT, "created_at": _CREATED_AT}
"""The status of an identity that has existed for two years."""

CHALLENGES: Mapping[str, tuple[str, str | None]] = {
    "token_missing": ("MsToken", None),
    **{
        code: ("MsToken", code)
        for code in (
            *("token_malformed", "token_untrusted", "token_expired", "token_stale", "token_replayed"),
            *("token_wrong_audience", "token_not_service", "identity_disabled"),
        )
    },
    "proof_missing": ("DPoP", None),
    "proof_invalid": ("DPoP", "invalid_dpop_proof"),
    "proof_replayed": ("DPoP", "invalid_dpop_proof"),
    "use_dpop_nonce": ("DPoP", "use_dpop_nonce"),
    "user_token_missing": ("Bearer", None),
    "user_token_invalid": ("Bearer", "invalid_token"),
    "user_token_revoked": ("Bearer", "invalid_token"),
}
STATUS = {"caller_not_allowed": 403, "verifier_unavailable": 503}
"""The statuses other than 401."""

NOT_ONE_REQUEST = {
    "a folded line",
    "a space before the colon",
    "a NUL byte in the value",
    "a bare carriage return and another header",
    "a bare line feed and another header",
    "a bare line feed and a second token",
}
"""Attacks on the HTTP server: an application never sees such a request, or sees the request of another row."""


class FixedKey(Key):
    """A key pair of `KEYS`."""

    def __init__(self, name: str) -> None:
        self.key_id = KEYS[name]["kid"]
        key = serialization.load_pem_private_key(KEYS[name]["private_key"].encode(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self._private = key
        self.retired_at = None
        self.certificate = KEYS[name]["certificate"]

    @property
    def private(self) -> rsa.RSAPrivateKey:
        return self._private


FIREBASE, GOOGLE, ATTACKER = (FixedKey(name) for name in ("firebase", "google", "attacker"))


class OfflineForge(Forge):
    """A forge with the private key of Firebase, whose clock stands still, and whose ids and keys are not random."""

    def __init__(self) -> None:
        super().__init__(PROJECT, ATTACKER)
        self.clock = NOW
        self.begin("")

    def begin(self, case: str) -> None:
        """Derive ids and keys from the name of a case from now on."""
        self._case, self._count, self.clock = case, 0, NOW

    def _derived(self, purpose: str) -> bytes:
        self._count += 1
        return hashlib.sha256(f"{self._case}/{purpose}/{self._count}".encode()).digest()

    @override
    def now(self) -> int:
        return self.clock

    @override
    def random_id(self) -> str:
        return encode(self._derived("id")[:16])

    @override
    def new_key(self, kind: KeyKind = "P-256") -> PrivateKey:
        seed = self._derived(kind)
        match kind:
            case "RSA":
                return ATTACKER.private
            case "Ed25519":
                return ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        return ec.derive_private_key(int.from_bytes(seed[:31]), ec.SECP256R1() if kind == "P-256" else ec.SECP384R1())

    @override
    def signed(self, claims: Claims | str, **header: Any) -> str:
        text = claims if isinstance(claims, str) else json.dumps(claims)
        return make_jws(FIREBASE.header | header, encode(text.encode("utf-8", "surrogateescape")), FIREBASE)

    @override
    def certificates(self) -> dict[str, str]:
        return {FIREBASE.key_id: FIREBASE.certificate}


forge = OfflineForge()


def accepted(caller: str = "svc:billing", mode: str | None = "fresh") -> dict[str, Any]:
    """Return the verdict of a call that is accepted."""
    return {"status": 200, "caller": caller} | ({} if mode is None else {"mode": mode})


def refused(code: str, *, users_too: bool = True) -> dict[str, Any]:
    """Return the verdict of a call that is refused. `users_too` is whether the route admits users as well."""
    verdict: dict[str, Any] = {"status": STATUS.get(code, 401), "code": code}
    if code in CHALLENGES:
        scheme, error = CHALLENGES[code]
        verdict["challenges"] = [{"scheme": scheme} | ({} if error is None else {"error": error})]
        if code == "token_missing" and users_too:
            verdict["challenges"].append({"scheme": "Bearer"})
    return verdict


def verdict_of(code: str) -> dict[str, Any]:
    return accepted() if code == "accepted" else refused(code)


def request(
    headers: Sequence[tuple[str, str]], expect: dict[str, Any], *, path: str = PATH, method: str = "GET", at: int = 0
) -> dict[str, Any]:
    """Return one request that arrives `at` seconds after `NOW`, and the verdict."""
    return {"clock": NOW + at, "method": method, "path": path, "headers": [list(line) for line in headers]} | {
        "expect": expect
    }


def service(token: str, *proofs: str) -> list[tuple[str, str]]:
    return [("X-MS-TOKEN", token), *(("DPoP", proof) for proof in proofs)]


def user(token: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {token}")]


def split(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.removeprefix(" ")


class Cases:
    """The cases of one part of the file."""

    def __init__(self) -> None:
        self.list: list[dict[str, Any]] = []

    def add(self, group: str, name: str, *requests: dict[str, Any], **more: Any) -> None:
        """Add a case. `more` is how it differs from the setting of the file."""
        self.list.append({"group": group, "name": name, **more, "requests": list(requests)})


def attacks(cases: Cases) -> None:
    """Add the rows of the tables in docs/threat-model.md."""
    for flaw in FLAWS + SERVICE_FLAWS:
        group = "tokens" if flaw in FLAWS else "service tokens"
        forge.begin(flaw.name)
        token = flaw.spoil(forge, forge.service_claims())
        cases.add(group, flaw.name, request(service(token), refused(flaw.code)))
    for flaw in FLAWS:
        forge.begin(f"user: {flaw.name}")
        token = flaw.spoil(forge, forge.user_claims("maya"))
        cases.add("user tokens", flaw.name, request(user(token), refused("user_token_invalid")))
    for proof_flaw in PROOF_FLAWS:
        forge.begin(proof_flaw.name)
        lines = proof_flaw.lines(Holder(forge, BASE_URL))
        expect = refused(proof_flaw.code)
        cases.add("proofs", proof_flaw.name, request([split(line) for line in lines], expect, path=proof_flaw.path))
    for smuggling in SMUGGLING:
        if smuggling.name not in NOT_ONE_REQUEST:
            cases.add("header lines", smuggling.name, _smuggled(smuggling))


def _smuggled(smuggling: Smuggling) -> dict[str, Any]:
    forge.begin(smuggling.name)
    tokens = [forge.signed(forge.service_claims()).encode() for _ in range(2)]
    lines = [split(line.decode("latin-1")) for line in smuggling.lines(tokens[0], tokens[1])]
    query = f"?X-MS-TOKEN={tokens[0].decode()}" if smuggling.name == "in the query" else ""
    return request(lines, verdict_of(smuggling.code), path=PATH + query)


def fresh(*, minted: int = 0, signed_in: int | None = None, service_name: str = "billing", **changes: Any) -> str:
    """Return a fresh token that was minted and signed in so many seconds after `NOW`."""
    at = NOW + (minted if signed_in is None else signed_in)
    claims = forge.service_claims(service_name) | {"iat": at, "auth_time": at, "exp": at + 3600}
    return forge.signed(claims | {"ms": claims["ms"] | {"iat": NOW + minted}} | changes)


def limits(cases: Cases) -> None:
    """Add the ages, differences of clocks and sizes that are just allowed, and those that are just not."""

    def add(name: str, token: str, code: str, at: int = 0, **more: Any) -> None:
        cases.add("limits", name, request(service(token), verdict_of(code), at=at), **more)

    for age, code in ((60, "accepted"), (61, "token_stale")):
        forge.begin(f"fresh {age}")
        add(f"a fresh token that was minted and signed in {age} s ago", fresh(), code, at=age)
        add(f"a fresh token that was minted {age} s ago and signed in now", fresh(minted=-age, signed_in=0), code)
    for ahead, code in ((5, "accepted"), (6, "token_untrusted")):
        forge.begin(f"ahead {ahead}")
        add(f"a fresh token from a clock that is {ahead} s ahead", fresh(minted=ahead), code)
        add(f"minted by a clock that is {ahead} s ahead", fresh(minted=ahead, signed_in=0), code)
    forge.begin("lifetime")
    add("a lifetime of 3,601 s", fresh(exp=NOW + 3601), "token_untrusted")
    add("auth_time after iat", fresh(iat=NOW - 1), "token_untrusted")
    add("exp was 4 s ago", fresh(exp=NOW - 4), "accepted")
    add("exp was 5 s ago", fresh(exp=NOW - 5), "token_expired")
    token = fresh(pad="")
    short = 8192 - len(token)
    # Four characters of base64url stand for three bytes.
    add("a token of almost 8,192 bytes", fresh(pad="x" * (short * 3 // 4 - 3)), "accepted")
    add("a token of more than 8,192 bytes", fresh(pad="x" * (short * 3 // 4 + 3)), "token_malformed")


def proofs(cases: Cases) -> None:
    """Add what the checks of proofs accept, and their limits."""

    def add(
        name: str,
        code: str,
        *,
        at: int = 0,
        path: str = PATH,
        method: str = "GET",
        token: Claims | None = None,
        **c: Any,
    ) -> None:
        forge.begin(name)
        holder = Holder(forge, BASE_URL)
        if token is not None:
            ms = {"ms": token["ms"]} if "ms" in token else {}
            holder.token = holder.bound(_thumbprint(holder), **ms, **{k: v for k, v in token.items() if k != "ms"})
        verdict = accepted(mode="proof") if code == "accepted" else refused(code)
        lines = service(holder.token, holder.proof(**c))
        cases.add("proofs", name, request(lines, verdict, at=at, path=path, method=method))

    add("a proof without a flaw", "accepted")
    add("a proof id of 128 characters, a nonce that was not required, and an unknown claim", "accepted", jti="x" * 128)
    add("a proof that was made 30 s ago", "accepted", at=30)
    add("a proof that was made 31 s ago", "proof_invalid", at=31)
    add("a proof from a clock that is 5 s ahead", "accepted", iat=NOW + 5)
    add("a proof from a clock that is 6 s ahead", "proof_invalid", iat=NOW + 6)
    add("iat of a proof with a fraction", "accepted", iat=NOW - 0.5)
    add("iat of a proof is negative", "proof_invalid", iat=-1)
    add("nonce of a proof is a number", "proof_invalid", nonce=1)
    for age, code in ((3605, "accepted"), (3606, "token_expired")):
        refreshed = {"auth_time": NOW - age, "ms": {"iat": NOW - age}}
        add(f"a bound token that was minted and signed in {age} s ago, and refreshed now", code, token=refreshed)
    for what, htu in (
        ("the default port", f"{BASE_URL}:443{PATH}"),
        ("scheme and host in upper case", f"HTTPS://PRODUCT.EXAMPLE.COM{PATH}"),
        ("a query", f"{BASE_URL}{PATH}?limit=1"),
        ("a fragment", f"{BASE_URL}{PATH}#top"),
        ("dot segments that lead to the path", f"{BASE_URL}/bills/.././products"),
        ("an escape that is not needed", f"{BASE_URL}/%70roducts"),
    ):
        add(f"htu with {what}", "accepted", htu=htu)
    for what, htu in (
        ("another port", f"{BASE_URL}:8443{PATH}"),
        ("a slash at its end", f"{BASE_URL}{PATH}/"),
        ("the path in upper case", f"{BASE_URL}/PRODUCTS"),
        ("user information", f"https://billing@product.example.com{PATH}"),
    ):
        add(f"htu with {what}", "proof_invalid", htu=htu)
    spelled = f"{BASE_URL}/products/tea%2Fpot%C3%A9"
    add(
        "escapes in lower case in the path, in upper case in htu",
        "accepted",
        path="/products/tea%2fpot%c3%a9",
        htu=spelled,
    )
    add(
        "an escaped slash in the path, a slash in htu",
        "proof_invalid",
        path="/products/a%2Fb",
        htu=f"{BASE_URL}/products/a/b",
    )
    add("the query of the request is not covered", "accepted", path=f"{PATH}?limit=1")
    add("a POST", "accepted", method="POST", htm="POST")


def _thumbprint(holder: Holder) -> str:
    """Return the thumbprint of the holder's key (RFC 7638)."""
    members = {name: holder.jwk[name] for name in ("crv", "kty", "x", "y")}
    return encode(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def sequences(cases: Cases) -> None:
    """Add sequences of requests, which share one store of spent ids."""
    forge.begin("sequences")
    replayed = refused("token_replayed")
    token = fresh()
    cases.add(
        "sequences",
        "a fresh token is accepted once",
        *(request(service(token), expect, at=at) for at, expect in ((0, accepted()), (0, replayed), (60, replayed))),
    )
    claims = forge.service_claims()
    refreshed = forge.signed(claims | {"iat": NOW + 9, "exp": NOW + 3609})
    cases.add(
        "sequences",
        "a refreshed session has the same id",
        request(service(forge.signed(claims)), accepted()),
        request(service(refreshed), replayed, at=10),
    )
    token = fresh()
    cases.add(
        "sequences",
        "a refused call spends nothing",
        request(service(token, "a.b.c"), refused("proof_invalid")),
        request(service(token), accepted()),
    )
    token = fresh(minted=4)
    cases.add(
        "sequences",
        "an id is kept for as long as any clock can accept its token",
        request(service(token), accepted(), at=-1),
        request(service(token), replayed, at=64),
    )
    holder, other = Holder(forge, BASE_URL), Holder(forge, BASE_URL)
    proof = holder.proof(jti="the same id")
    bound, again = accepted(mode="proof"), refused("proof_replayed")
    cases.add(
        "sequences",
        "a proof is accepted once, and its id counts for its key only",
        request(service(holder.token, proof), bound),
        request(service(holder.token, proof), again, at=1),
        request(service(other.token, other.proof(jti="the same id")), bound, at=1),
        request(service(holder.token, holder.proof(jti="another id")), bound, at=2),
    )
    forge.begin("captured")
    holder = Holder(forge, BASE_URL)
    call = service(holder.token, holder.proof())
    invalid = refused("proof_invalid")
    foreign = [("Host", "evil.example"), ("X-Forwarded-Host", "evil.example"), ("Forwarded", "host=evil.example")]
    cases.add(
        "sequences",
        "a captured call counts once, and for no other call",
        request(call, invalid, path="/products/kettle"),
        request(call, invalid, method="POST"),
        request([*call, *foreign], bound),
        request(call, again),
    )
    wrong = holder.proof(htu=f"https://evil.example{PATH}")
    cases.add(
        "sequences",
        "the host of a proof is not compared with what the request says",
        request([*service(holder.token, wrong), *foreign], invalid),
    )
    forge.begin("a later proof")
    holder = Holder(forge, BASE_URL)
    first = holder.proof(jti="the same id")
    forge.clock = NOW + 20
    later = holder.proof(jti="the same id")
    cases.add(
        "sequences",
        "a new proof with an id that was used",
        request(service(holder.token, first), bound),
        request(service(holder.token, later), again, at=20),
    )


def admissions(cases: Cases) -> None:
    """Add what depends on the route, on the status of the identity, and on the configuration of the callee."""
    forge.begin("admissions")
    only_billing = {"users": False, "services": ["billing"], "proof": False}

    def add(name: str, headers: Sequence[tuple[str, str]], verdict: dict[str, Any], at: int = 0, **more: Any) -> None:
        cases.add("callers", name, request(headers, verdict, at=at), **more)

    add("no token, a route for services", [], refused("token_missing", users_too=False), admits=only_billing)
    add("no token, a route for users", [], refused("user_token_missing"), admits={"users": True, "services": []})
    add(
        "a service that the route does not admit",
        service(fresh(service_name="delivery")),
        refused("caller_not_allowed"),
    )
    needs_proof = {"users": False, "services": ["billing"], "proof": True}
    add(
        "a fresh token, and a route that requires proofs",
        service(fresh()),
        refused("proof_missing"),
        admits=needs_proof,
    )
    add("a user", user(forge.signed(forge.user_claims("maya"))), accepted("user:maya", None))
    admin = {"users": ["admin"], "services": []}
    for role, verdict in (("admin", accepted("user:maya", None)), ("clerk", refused("caller_not_allowed"))):
        token = forge.signed(forge.user_claims("maya") | {"role": role})
        add(f"a user with the role {role}, and a route for administrators", user(token), verdict, admits=admin)
    add("a user's token in X-MS-TOKEN", service(forge.signed(forge.user_claims("maya"))), refused("token_not_service"))
    add("a service's token in Authorization", user(fresh()), refused("user_token_invalid"))
    for what, status, code in (
        ("disabled", {"disabled": True}, "identity_disabled"),
        ("revoked in the second of the minting", {"valid_since": NOW}, "identity_disabled"),
        ("revoked a second before the minting", {"valid_since": NOW - 1}, "accepted"),
        ("created in the second of the minting", {"valid_since": NOW, "created_at": NOW}, "accepted"),
        (
            "created a second after the minting and before the sign-in",
            {"valid_since": NOW, "created_at": NOW},
            "accepted",
        ),
    ):
        minted = -1 if "after the minting" in what else 0
        identities = {"svc:billing": KNOWN | status}
        add(
            f"an identity that was {what}",
            service(fresh(minted=minted, signed_in=0)),
            verdict_of(code),
            identities=identities,
        )
    identities = {"svc:billing": KNOWN | {"valid_since": NOW - 2}}
    token = fresh(minted=-3, signed_in=0)
    add(
        "minted before a revocation, signed in after it",
        service(token),
        refused("identity_disabled"),
        identities=identities,
    )
    stale, unknown = refused("token_stale"), refused("verifier_unavailable")
    add("a store of spent ids that began after the minting", service(fresh()), stale, at=30, spent_ids_since=NOW + 10)
    add("a store of spent ids that has just begun", service(fresh()), unknown, spent_ids_since=NOW)
    _authorization(cases)
    _nonces(cases)


def _authorization(cases: Cases) -> None:
    """Add what `Authorization` means beside a service token, and at a route for services."""
    forge.begin("authorization")
    only_billing = {"users": False, "services": ["billing"]}
    acting = only_billing | {"acting_for_user": True}
    maya = user(forge.signed(forge.user_claims("maya")))
    expired = user(
        forge.signed(forge.user_claims("maya") | {"iat": NOW - 3700, "auth_time": NOW - 3700, "exp": NOW - 100})
    )
    basic = [("Authorization", "Basic bWF5YTpzZWNyZXQ=")]

    def add(name: str, headers: Sequence[tuple[str, str]], verdict: dict[str, Any], **more: Any) -> None:
        cases.add("callers", name, request(headers, verdict), **more)

    missing = refused("token_missing", users_too=False)
    add("a user's token, and a route for services", maya, missing, admits=only_billing)
    add(
        "the token of a user who does not exist",
        user(forge.signed(forge.user_claims("eve"))),
        refused("user_token_revoked"),
    )
    add("another kind of Authorization beside a service token", [*service(fresh()), *basic], accepted())
    add("a user's token beside a service token", [*service(fresh()), *maya], accepted())
    with_user = accepted() | {"user": "maya"}
    add("a service that acts for a user", [*service(fresh()), *maya], with_user, admits=acting)
    add("a service that may act for a user, and does not", service(fresh()), accepted(), admits=acting)
    invalid = refused("user_token_invalid")
    add("a service that acts for a user with an expired token", [*service(fresh()), *expired], invalid, admits=acting)
    add(
        "another kind of Authorization where services act for a user",
        [*service(fresh()), *basic],
        invalid,
        admits=acting,
    )


def _nonces(cases: Cases) -> None:
    """Add a callee that requires nonces. Each callee makes nonces in a way of its own; this is how ours makes them."""
    from mstoken.callee.nonces import Nonces

    nonce = Nonces(NONCE_SECRET, "product").issue(NOW)
    settings = {"nonces": {"secret": NONCE_SECRET, "valid": [nonce]}}
    forge.begin("nonces")
    holder = Holder(forge, BASE_URL)
    required = refused("use_dpop_nonce") | {"has_nonce": True}
    cases.add(
        "callers",
        "a callee that requires nonces",
        request(service(holder.token, holder.proof()), required),
        request(service(holder.token, holder.proof(nonce="made up")), required),
        request(service(holder.token, holder.proof(nonce=nonce)), accepted(mode="proof")),
        **settings,
    )


def token_service() -> dict[str, Any]:
    """Return the requests to a token service, with the policy that it has."""
    forge.begin("token service")
    key, other = forge.new_key(), forge.new_key()
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    jwk = public_jwk(key)
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    kid = encode(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())
    jkt = encode(hashlib.sha256(b"a key of a caller").digest())
    cases: list[dict[str, Any]] = []

    def assertion(signer: PrivateKey = key, header: Claims | None = None, **changes: Any) -> str:
        claims: Claims = {"iss": "billing", "sub": "billing", "aud": TOKEN_SERVICE, "jti": forge.random_id()}
        claims |= {"iat": NOW, "exp": NOW + 60} | changes
        protected = {"alg": "ES256", "kid": kid, "typ": "JWT"} | (header or {})
        body = ".".join(encode(json.dumps(part).encode()) for part in (protected, _present(claims)))
        return f"{body}.{encode(signature(signer, body.encode()))}"

    def google(**changes: Any) -> str:
        claims: Claims = {"iss": "https://accounts.google.com", "aud": TOKEN_SERVICE, "azp": "117", "sub": "117"}
        claims |= {"email": ACCOUNT, "email_verified": True, "iat": NOW, "exp": NOW + 3600} | changes
        return make_jws(GOOGLE.header, encode(json.dumps(_present(claims)).encode()), GOOGLE)

    def issued(mode: str, audience: str = "product") -> dict[str, Any]:
        ms = {"v": 1, "svc": "billing", "aud": audience, "iat": NOW} | ({"jkt": jkt} if mode == "proof" else {})
        return {"status": 200, "uid": "svc:billing", "ms": ms, "has_jti": mode == "fresh"}

    fresh_body: Claims = {"audience": "product", "mode": "fresh"}
    proof_body = {"audience": "product", "mode": "proof", "jkt": jkt}

    def add(name: str, *requests: tuple[str | None, Any, dict[str, Any] | str], at: int = 0) -> None:
        cases.append(
            {
                "name": name,
                "requests": [
                    {
                        "clock": NOW + at,
                        "headers": [] if credential is None else [["Authorization", f"Bearer {credential}"]],
                        "body": body if isinstance(body, str) else json.dumps(body),
                        "expect": expect if isinstance(expect, dict) else _refused_credential(expect),
                    }
                    for credential, body, expect in requests
                ],
            }
        )

    add("an assertion, fresh mode", (assertion(), fresh_body, issued("fresh")))
    add("an assertion, proof mode", (assertion(), proof_body, issued("proof")))
    add("an assertion without kid", (assertion(header={"kid": None}), fresh_body, issued("fresh")))
    add("an identity token of Google, fresh mode", (google(), fresh_body, issued("fresh")))
    token = google()
    add("an identity token of Google twice", (token, proof_body, issued("proof")), (token, proof_body, issued("proof")))
    once = assertion()
    add(
        "an assertion twice, after a request that was refused",
        (once, {"audience": "delivery", "mode": "fresh"}, "audience_not_allowed"),
        (once, fresh_body, issued("fresh")),
        (once, fresh_body, "credential_replayed"),
    )
    add("no credential", (None, fresh_body, "credential_missing"))
    add("a credential that is not a JWT", ("secret", fresh_body, "credential_malformed"))
    for name, credential in (
        ("an assertion for another audience", assertion(aud=f"{TOKEN_SERVICE}/other")),
        ("an assertion of an unknown key", assertion(other)),
        ("an assertion in the name of another service", assertion(iss="product", sub="product")),
        ("an assertion with another sub", assertion(sub="product")),
        ("an assertion without jti", assertion(jti=None)),
        ("an assertion without exp", assertion(exp=None)),
        ("an assertion without iat", assertion(iat=None)),
        ("an assertion with the typ of a proof", assertion(header={"typ": "dpop+jwt"})),
        ("an assertion with crit", assertion(header={"crit": ["exp"]})),
        ("an assertion from a clock that is 6 s ahead", assertion(iat=NOW + 6)),
        ("an identity token for another audience", google(aud="https://product.example.com")),
        ("an identity token whose address is not verified", google(email_verified=False)),
        ("an identity token without an address", google(email=None)),
    ):
        add(name, (credential, fresh_body, "credential_untrusted"))
    add("an identity token of an unknown account", (google(email="eve@example.com"), fresh_body, "credential_unknown"))
    add(
        "an assertion 60 s after it was made",
        (assertion(exp=NOW + 90), fresh_body, issued("fresh") | {"at": 60}),
        at=60,
    )
    add("an assertion 61 s after it was made", (assertion(exp=NOW + 90), fresh_body, "credential_expired"), at=61)
    add("an identity token that has expired", (google(iat=NOW - 3605, exp=NOW - 5), fresh_body, "credential_expired"))
    for name, body in (
        ("a body that is not JSON", "{"),
        ("a body with a member twice", '{"audience": "product", "audience": "user", "mode": "fresh"}'),
        ("a body with an unknown member", fresh_body | {"service": "product"}),
        ("a body without mode", {"audience": "product"}),
        ("proof mode without jkt", {"audience": "product", "mode": "proof"}),
        ("fresh mode with jkt", fresh_body | {"jkt": jkt}),
        ("a jkt of 42 characters", proof_body | {"jkt": jkt[:42]}),
        ("an audience that is not a name of a service", {"audience": "Product", "mode": "fresh"}),
    ):
        add(name, (google(), body, "request_invalid"))
    for case in cases:
        for one in case["requests"]:
            if one["expect"].pop("at", None):
                one["expect"]["ms"] = one["expect"]["ms"] | {"iat": one["clock"]}
    policy = {"service_accounts": [ACCOUNT], "keys": [jwk], "calls": ["product"]}
    return {
        "url": TOKEN_SERVICE,
        "google_certificates": {GOOGLE.key_id: GOOGLE.certificate},
        "policy": {"billing": policy, "product": {}, "delivery": {}},
        "key_of_billing": private_jwk(key),
        "cases": cases,
    }


def _present(claims: Claims) -> Claims:
    return {name: value for name, value in claims.items() if value is not None}


def _refused_credential(code: str) -> dict[str, Any]:
    status = {"request_invalid": 400, "audience_not_allowed": 403}.get(code, 401)
    return {"status": status, "code": code}


def caller() -> dict[str, Any]:
    """Return what a caller must be able to do: proofs to make, and answers to react to."""
    forge.begin("caller")
    key = forge.new_key()
    jwk = public_jwk(key)
    token = fresh()
    ath = encode(hashlib.sha256(token.encode()).digest())
    members = {name: jwk[name] for name in ("crv", "kty", "x", "y")}

    def proof(method: str, url: str, htu: str, nonce: str | None = None) -> dict[str, Any]:
        claims: Claims = {"jti": "any id", "htm": method, "htu": htu, "iat": NOW, "ath": ath}
        return {"method": method, "url": url, "nonce": nonce, "claims": claims | ({"nonce": nonce} if nonce else {})}

    def answer(name: str, mode: str, status: int, headers: Claims, **reaction: Any) -> dict[str, Any]:
        again = {"again": False, "new_token": False, "nonce": None}
        return {"name": name, "mode": mode, "status": status, "headers": headers, "reaction": again | reaction}

    def mstoken(code: str) -> Claims:
        return {"WWW-Authenticate": f'MsToken realm="product", error="{code}"'}

    def dpop(error: str, **more: str) -> Claims:
        return {"WWW-Authenticate": f'DPoP realm="product", error="{error}", algs="ES256"', **more}

    nonce = {"DPoP-Nonce": "a-nonce"}
    return {
        "key": private_jwk(key),
        "thumbprint": encode(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()),
        "token": token,
        "proofs": [
            proof("GET", f"{BASE_URL}/products?limit=1", f"{BASE_URL}/products"),
            proof("POST", f"{BASE_URL}/reservations", f"{BASE_URL}/reservations", "a-nonce"),
            proof("GET", "http://127.0.0.1:8002/products#top", "http://127.0.0.1:8002/products"),
        ],
        "answers": [
            answer("stale", "fresh", 401, mstoken("token_stale"), again=True, new_token=True),
            answer("replayed", "fresh", 401, mstoken("token_replayed"), again=True, new_token=True),
            answer("identity revoked", "fresh", 401, mstoken("identity_disabled"), again=True, new_token=True),
            answer("wrong audience", "fresh", 401, mstoken("token_wrong_audience")),
            answer("not allowed", "fresh", 403, {}),
            answer("unavailable", "fresh", 503, {"Retry-After": "1"}),
            answer("nonce required", "proof", 401, dpop("use_dpop_nonce", **nonce), again=True, nonce="a-nonce"),
            answer("accepted, with the next nonce", "proof", 200, nonce, nonce="a-nonce"),
            answer("not allowed, with the next nonce", "proof", 403, nonce, nonce="a-nonce"),
            answer("proof refused", "proof", 401, dpop("invalid_dpop_proof")),
            answer("bound token expired", "proof", 401, mstoken("token_expired"), again=True, new_token=True),
            answer("bound token not trusted", "proof", 401, mstoken("token_untrusted"), again=True, new_token=True),
            answer("bound, identity revoked", "proof", 401, mstoken("identity_disabled"), again=True, new_token=True),
        ],
    }


def make() -> dict[str, Any]:
    """Return the content of the file."""
    cases = Cases()
    for part in attacks, limits, proofs, sequences, admissions:
        part(cases)
    return {
        "about": "Test vectors of docs/protocol.md, which explains them. Made by tests/protocol/make_vectors.py.",
        "version": 1,
        "project": PROJECT,
        "service": "product",
        "base_url": BASE_URL,
        "certificates": {FIREBASE.key_id: FIREBASE.certificate},
        "identities": dict.fromkeys(("svc:billing", "svc:delivery", "svc:user", "maya"), KNOWN),
        "admits": WELCOME,
        "cases": cases.list,
        "token_service": token_service(),
        "caller": caller(),
    }


def text() -> str:
    """Return the text of the file, with one line for each member and for each case."""

    def lines(value: Claims, indent: str) -> str:
        return ",\n".join(f"{indent}{json.dumps(name)}: {_text(member, indent)}" for name, member in value.items())

    def _text(value: Any, indent: str) -> str:
        if isinstance(value, dict) and "cases" in value:
            return f"{{\n{lines(value, indent + ' ')}\n{indent}}}"
        if isinstance(value, list):
            return "[\n" + ",\n".join(f"{indent} {json.dumps(one)}" for one in value) + f"\n{indent}]"
        return json.dumps(value)

    return f"{{\n{lines(make(), ' ')}\n}}\n"


if __name__ == "__main__":
    FILE.write_text(text())
    sys.stdout.write(f"{FILE}\n")
