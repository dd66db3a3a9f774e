"""The token service: what it signs and for whom, what it refuses and in which order, and what it writes down."""

import asyncio
import json
import logging
import re
import secrets
import time
from hashlib import sha256
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm

from emulator.local.keys import Key, make_jws
from mstoken import Settings
from mstoken.callee.certificates import CertificateCache, Fetched
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.claims import ServiceClaims
from mstoken.errors import (
    IssuerUnavailable,
    Refusal,
    SettingsError,
    SignInError,
    SignInRefused,
    SignInUnavailable,
    VerifierUnavailable,
)
from mstoken.issuer.policy import Policy
from mstoken.issuer.service import MAX_BODY_BYTES, Issued, TokenService
from mstoken.jwk import thumbprint
from mstoken.problem import problem_details, problem_headers
from mstoken.strict_jwt import base64url
from tests.clock import FakeClock

URL = "https://us-central1-demo-shop.cloudfunctions.net/token"
ACCOUNT = "billing@demo-shop.iam.gserviceaccount.com"
JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
KEY = ec.generate_private_key(ec.SECP256R1())
JWK = ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
GOOGLE_KEY = Key("federated-signon.system.gserviceaccount.com")
POLICY = Policy.parse(
    f"""\
[services.billing]
service_accounts = ["{ACCOUNT}"]
calls = ["product", "user"]
keys = [{{ jwk = {{ kty = "EC", crv = "P-256", x = "{JWK["x"]}", y = "{JWK["y"]}" }} }}]

[services.product]
[services.user]
[services.delivery]
""",
    "policy.toml",
)
SIGN_IN_ERRORS = [
    SignInRefused("svc:billing", "no-such-key.json"),
    SignInUnavailable("svc:billing", "signBlob-is-away"),
]


class FakeSource:
    """Publishes the certificate of one key."""

    async def fetch(self) -> Fetched:
        return Fetched({GOOGLE_KEY.key_id: GOOGLE_KEY.certificate}, 3_600)


class FakeSigner:
    """Signs by saying so, and remembers what; fails while `fault` is set."""

    def __init__(self) -> None:
        self.signed: list[ServiceClaims] = []
        self.fault: SignInError | None = None

    async def sign(self, claims: ServiceClaims) -> str:
        if self.fault:
            raise self.fault
        self.signed.append(claims)
        return f"custom-token-{len(self.signed)}"


class WatchedStore(MemoryReplayStore):
    """A replay store that cannot be reached while it is `down`, and knows whether it was closed."""

    down = closed = False

    async def spend(self, one_time_id: str, expires_at: float) -> bool:
        if self.down:
            raise VerifierUnavailable("The store is away.")
        return await super().spend(one_time_id, expires_at)

    async def aclose(self) -> None:
        self.closed = True


class Desk:
    """A token service with a signer, a store and a clock that a test may move, and Billing, which asks it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.signer = FakeSigner()
        self.store = WatchedStore(clock=self.clock)
        self.certificates = CertificateCache(FakeSource())
        self.service = TokenService(
            POLICY,
            Settings(project_id="demo-test", emulator_host=None, token_service_url=URL),
            signer=self.signer,
            certificates=self.certificates,
            replay=self.store,
            clock=self.clock,
        )

    def assertion(self, **claims: Any) -> str:
        """A new assertion of Billing, with these claims changed."""
        now = int(self.clock())
        told = {
            "iss": "billing",
            "sub": "billing",
            "aud": URL,
            "jti": secrets.token_hex(8),
            "iat": now,
            "exp": now + 60,
        }
        return jwt.encode(told | claims, KEY, "ES256")

    def identity_token(self) -> str:
        """An identity token of Billing's account; from now on it is what time it is, since google-auth goes by that."""
        now = int(time.time())
        self.clock.now = float(now)
        claims = {"iss": "https://accounts.google.com", "aud": URL, "iat": now, "exp": now + 3_600}
        payload = json.dumps(claims | {"email": ACCOUNT, "email_verified": True}).encode()
        return make_jws(GOOGLE_KEY.header, base64url(payload), GOOGLE_KEY)

    async def ask(self, body: bytes | dict[str, Any] | None = None, assertion: str | None = None) -> Issued:
        """What the service issues for a body, which asks for a fresh token for Product if it is left out."""
        body = fresh() if body is None else body
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.service.issue([f"Bearer {assertion or self.assertion()}"], content)

    async def refusal(self, body: bytes | dict[str, Any] | None = None, assertion: str | None = None) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.ask(body, assertion)
        return caught.value


def fresh(audience: Any = "product", **members: Any) -> dict[str, Any]:
    return {"audience": audience, "mode": "fresh"} | members


def bound(audience: str = "product", **members: Any) -> dict[str, Any]:
    return {"audience": audience, "mode": "proof", "jkt": JKT} | members


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_token_for_a_call(desk: Desk) -> None:
    """What is signed is the asker's own name and the audience; and it can be signed in with for an hour."""
    issued = await desk.ask()
    (claims,) = desk.signer.signed
    assert (claims.uid, claims.service, claims.audience) == ("svc:billing", "billing", "product")
    assert claims.as_developer_claims() == {"ms": {"v": 1, "svc": "billing", "aud": "product", "jti": claims.token_id}}
    assert issued.model_dump() == {"custom_token": "custom-token-1", "expires_in": 3600}


async def test_a_token_for_the_holder_of_a_key(desk: Desk) -> None:
    """A bound one carries the thumbprint of that key, and no id."""
    issued = await desk.ask(bound("user"))
    (claims,) = desk.signer.signed
    assert claims.uid == "svc:billing"
    assert claims.as_developer_claims() == {"ms": {"v": 1, "svc": "billing", "aud": "user", "jkt": JKT}}
    assert issued.expires_in == 3600


async def test_an_id_is_of_our_making(desk: Desk) -> None:
    """128 random bits each time, also for the same request: no asker can have an id twice."""
    for _ in range(100):
        await desk.ask()
    ids = {claims.token_id or "" for claims in desk.signer.signed}
    assert len(ids) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", one) for one in ids)


@pytest.mark.parametrize(
    "name",
    ["uid", "sub", "service", "svc", "iss", "claims", "developer_claims", "ms", "jti", "token_id", "expires_in", "aud"],
)
@pytest.mark.parametrize("body", [fresh(), bound()], ids=["fresh", "proof"])
async def test_what_is_not_known_is_refused(desk: Desk, name: str, body: dict[str, Any]) -> None:
    """Nobody chooses a name, an id or claims, nor believes to have done so."""
    refusal = await desk.refusal(body | {name: "user"})
    assert (refusal.status, refusal.code) == (400, "request_invalid")
    assert name in str(refusal.detail)
    assert desk.signer.signed == []


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"mode": "fresh"}, "audience"),
        ({"audience": "product"}, "mode"),
        ({}, "audience"),
        (fresh("Product"), "audience"),
        (fresh(""), "audience"),
        (fresh("product\n"), "audience"),
        (fresh("svc:product"), "audience"),
        (fresh("p" * 64), "audience"),
        (fresh(audience=None), "audience"),
        (fresh(audience=7), "audience"),
        (fresh(audience=["product"]), "audience"),
        (fresh(audience={"product": True}), "audience"),
        (fresh(mode="FRESH"), "mode"),
        (fresh(mode=""), "mode"),
        (fresh(mode=None), "mode"),
        (fresh(mode=["fresh"]), "mode"),
        (fresh(mode=True), "mode"),
        (fresh(jkt=JKT), "jkt"),
        (fresh(jkt=""), "jkt"),
        (fresh(jkt=7), "jkt"),
        ({"audience": "product", "mode": "proof"}, "jkt"),
        (bound(jkt=None), "jkt"),
        (bound(jkt=""), "jkt"),
        (bound(jkt=JKT[:-1]), "jkt"),
        (bound(jkt=JKT + "="), "jkt"),
        (bound(jkt=JKT + "\n"), "jkt"),
        (bound(jkt="+" + JKT[1:]), "jkt"),
        (bound(jkt=[JKT]), "jkt"),
        (bound(jkt=7), "jkt"),
    ],
)
async def test_a_request_says_what_is_wanted(desk: Desk, body: dict[str, Any], place: str) -> None:
    """An audience, a mode, and a key's thumbprint just where it belongs; the detail says where something is wrong."""
    refusal = await desk.refusal(body)
    assert (refusal.status, refusal.code) == (400, "request_invalid")
    assert place in str(refusal.detail)
    assert problem_details(refusal)["detail"] == refusal.detail
    assert desk.signer.signed == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"product"',
        b"7",
        b"audience=product&mode=fresh",
        b"\xff\xfe",
        b'{"audience": "\\ud800", "mode": "fresh"}',
        json.dumps(fresh()).encode("utf-16"),
        json.dumps(fresh()).encode() * 2,
        json.dumps(fresh()).encode().ljust(MAX_BODY_BYTES + 1),
        b"[" * MAX_BODY_BYTES,
        b'{"audience":' * 300,
        b'{"audience":' + b"[" * 1000 + b"]" * 1000 + b"}",
        b'{"audience":"product","mode":"fresh","jkt":' + b"9" * 4_000 + b"}",
    ],
)
async def test_a_body_that_is_no_request(desk: Desk, body: bytes) -> None:
    """Anything but one JSON object of at most 4 KiB is a 400, however deep or long it is."""
    assert (await desk.refusal(body)).code == "request_invalid"


async def test_the_longest_body(desk: Desk) -> None:
    """4096 bytes will do."""
    assert (await desk.ask(json.dumps(fresh()).encode().ljust(MAX_BODY_BYTES))).custom_token == "custom-token-1"


@settings(deadline=None)
@given(
    body=st.binary()
    | st.text().map(str.encode)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(["product", "fresh", "proof", JKT]),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["audience", "mode", "jkt"]) | st.text(), inner)
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_body(body: bytes) -> None:
    """Whatever a known service writes is a request or is refused as none, or for its audience."""
    desk = Desk()
    try:
        status = 200 if asyncio.run(desk.ask(body)) else 0
    except Refusal as refusal:
        status = refusal.status
    assert status in (200, 400, 403)
    assert len(desk.signer.signed) == (status == 200)


@pytest.mark.parametrize("audience", ["delivery", "billing", "stranger", "token"])
@pytest.mark.parametrize("make", [fresh, bound])
async def test_an_audience_outside_of_policy(desk: Desk, audience: str, make: Any) -> None:
    """Whoever is known may call whom policy says, and nobody else, itself included."""
    refusal = await desk.refusal(make(audience))
    assert (refusal.status, refusal.code) == (403, "audience_not_allowed")
    assert refusal.challenges("token") == ()
    assert desk.signer.signed == []


async def test_who_is_asking_comes_first(desk: Desk) -> None:
    """A stranger is told nothing of what is wrong with a body, nor of the policy."""
    bad = desk.assertion(aud="https://elsewhere.example")
    for body in (b"no JSON", fresh("delivery"), fresh()):
        assert (await desk.refusal(body, bad)).code == "credential_untrusted"
    with pytest.raises(Refusal) as caught:
        await desk.service.issue([], b"no JSON")
    assert caught.value.code == "credential_missing"


async def test_spending_comes_last(desk: Desk) -> None:
    """What is refused with 400 or 403 burns nothing: the same assertion is still good for a better request."""
    desk.store.down = True
    assertion = desk.assertion()
    assert (await desk.refusal(b"no JSON", assertion)).status == 400
    assert (await desk.refusal(fresh("delivery"), assertion)).status == 403
    assert (await desk.refusal(fresh(), assertion)).code == "verifier_unavailable"
    desk.store.down = False
    assert (await desk.ask(fresh(), assertion)).custom_token == "custom-token-1"
    assert (await desk.refusal(fresh(), assertion)).code == "credential_replayed"
    assert len(desk.signer.signed) == 1


async def test_nothing_is_signed_for_an_assertion_twice(desk: Desk) -> None:
    """It is spent before anything is signed, so of many requests at once one gets a token."""
    assertion = desk.assertion()
    outcomes = await asyncio.gather(*(desk.ask(assertion=assertion) for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(outcome, Issued) for outcome in outcomes) == len(desk.signer.signed) == 1


@pytest.mark.parametrize("fault", SIGN_IN_ERRORS, ids=lambda fault: type(fault).__name__)
async def test_a_signer_that_fails(desk: Desk, fault: SignInError) -> None:
    """It is an outage, whose reason no stranger learns; the next assertion may have better luck."""
    desk.signer.fault = fault
    assertion = desk.assertion()
    refusal = await desk.refusal(assertion=assertion)
    assert isinstance(refusal, IssuerUnavailable)
    assert (refusal.status, refusal.code, refusal.reason) == (503, "issuer_unavailable", fault.reason)
    assert fault.reason not in json.dumps([problem_details(refusal), dict(problem_headers(refusal, "token"))])
    assert problem_headers(refusal, "token")["Retry-After"] == "1"
    desk.signer.fault = None
    assert (await desk.refusal(assertion=assertion)).code == "credential_replayed"
    assert (await desk.ask()).custom_token == "custom-token-1"


def audited(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The audit lines, all that each of them says."""
    return [vars(record) for record in caplog.records if record.name == "mstoken.audit"]


def facts(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in ("service", "proven_by", "audience", "mode", "token_id", "verdict")}


@pytest.mark.parametrize("body", [fresh(), bound()], ids=["fresh", "proof"])
async def test_each_token_is_one_audit_line(desk: Desk, caplog: pytest.LogCaptureFixture, body: dict[str, Any]) -> None:
    """Who asked, proven by what, for whom, and the digest of the id or thumbprint; no token and no assertion."""
    caplog.set_level(logging.INFO)
    assertion = desk.assertion()
    issued = await desk.ask(body, assertion)
    (claims,) = desk.signer.signed
    (line,) = audited(caplog)
    identified_by = claims.token_id or claims.key_thumbprint or ""
    assert facts(line) == {
        "service": "billing",
        "proven_by": f"key {thumbprint(JWK)}",
        "audience": "product",
        "mode": body["mode"],
        "token_id": sha256(identified_by.encode()).hexdigest()[:8],
        "verdict": "issued",
    }
    assert (line["levelno"], line["message"]) == (logging.INFO, "token")
    written = str([vars(record) for record in caplog.records])
    assert not any(secret in written for secret in (*assertion.split("."), issued.custom_token, identified_by))


async def test_an_account_is_in_the_audit_line(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Who is proven by Google is written down with the account."""
    caplog.set_level(logging.INFO)
    await desk.service.issue([f"Bearer {desk.identity_token()}"], json.dumps(fresh()).encode())
    (line,) = audited(caplog)
    assert (line["service"], line["proven_by"]) == ("billing", f"account {ACCOUNT}")


async def test_what_somebody_typed_is_not_in_the_audit_line(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Of a credential that is none, the line says only that."""
    caplog.set_level(logging.INFO)
    with pytest.raises(Refusal):
        await desk.service.issue(["Bearer typed-by-accident"], b"")
    (line,) = audited(caplog)
    assert facts(line) == dict.fromkeys(facts(line)) | {"verdict": "credential_malformed"}
    assert line["levelno"] == logging.WARNING
    assert "typed-by-accident" not in str(line)


@pytest.mark.parametrize(
    ("body", "claims", "expected"),
    [
        (fresh(), {"aud": "https://elsewhere.example"}, {"verdict": "credential_untrusted"}),
        (fresh(), {"iat": 0}, {"verdict": "credential_expired"}),
        (fresh(uid="svc:user"), {}, {"service": "billing", "verdict": "request_invalid"}),
        (
            fresh("delivery"),
            {},
            {"service": "billing", "audience": "delivery", "mode": "fresh", "verdict": "audience_not_allowed"},
        ),
        (
            bound("stranger"),
            {},
            {"service": "billing", "audience": "stranger", "mode": "proof", "verdict": "audience_not_allowed"},
        ),
    ],
)
async def test_each_refusal_is_one_audit_line(
    desk: Desk,
    caplog: pytest.LogCaptureFixture,
    body: dict[str, Any],
    claims: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    """As much of who, for whom and how as was known by then, and the code of the refusal; no id was made yet."""
    caplog.set_level(logging.INFO)
    assertion = desk.assertion(**claims)
    await desk.refusal(body, assertion)
    (line,) = audited(caplog)
    known = dict.fromkeys(facts(line)) | expected
    if "service" in expected:
        known["proven_by"] = f"key {thumbprint(JWK)}"
    assert facts(line) == known
    assert (line["levelno"], line["message"]) == (logging.WARNING, "token")
    assert not any(part in str(line) for part in assertion.split("."))


async def test_a_replay_is_one_audit_line(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads the log sees whose assertion was used again, and for whom."""
    caplog.set_level(logging.INFO)
    assertion = desk.assertion()
    await desk.ask(assertion=assertion)
    await desk.refusal(assertion=assertion)
    issued, refused = map(facts, audited(caplog))
    assert refused == issued | {"token_id": None, "verdict": "credential_replayed"}


@pytest.mark.parametrize("fault", SIGN_IN_ERRORS, ids=lambda fault: type(fault).__name__)
async def test_a_signer_that_fails_is_one_audit_line(
    desk: Desk, caplog: pytest.LogCaptureFixture, fault: SignInError
) -> None:
    """Like every refusal; and why it failed is in the log as well, for operators."""
    caplog.set_level(logging.INFO)
    desk.signer.fault = fault
    await desk.refusal()
    assert fault.reason in str([vars(record) for record in caplog.records])
    (line,) = audited(caplog)
    assert facts(line)["service"] == "billing"
    assert facts(line)["audience"] == "product"
    assert facts(line)["verdict"] == "issuer_unavailable"


async def test_why_nothing_can_be_verified_is_in_the_log(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """The answer does not say it, and a function has no /readyz: so it is in the log or nowhere."""
    caplog.set_level(logging.INFO)
    desk.store.down = True
    refusal = await desk.refusal()
    assert "detail" not in problem_details(refusal)
    assert "The store is away." in str([vars(record) for record in caplog.records])


async def test_it_lives_in_an_event_loop(desk: Desk) -> None:
    """Opened, it has Google's certificates before anybody asks; closed, it lets go of the store."""
    async with desk.service:
        desk.certificates.ready()
        assert not desk.store.closed
    assert desk.store.closed


def test_it_knows_its_own_url() -> None:
    """Without it no credential could be told from one for somebody else."""
    with pytest.raises(SettingsError, match="MSTOKEN_TOKEN_SERVICE_URL"):
        TokenService(POLICY, Settings(project_id="demo-test", emulator_host=None), signer=FakeSigner())


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none are given."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "No Project")
    with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT"):
        TokenService(POLICY, signer=FakeSigner())
