"""The token service: what it signs, what it refuses and in which order, and what it writes to the audit log."""

import asyncio
import json
import logging
import re
import secrets
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from mstoken import Settings
from mstoken.callee.certificates import CertificateCache
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.status import StatusCache
from mstoken.claims import ServiceClaims
from mstoken.emulator.keys import Key, make_jws
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
from mstoken.jwk import public_jwk, thumbprint
from mstoken.problem import problem_details, problem_headers
from mstoken.strict_jwt import base64url
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock
from tests.mstoken.issuer.fakes import FakeSource

URL = "https://us-central1-demo-shop.cloudfunctions.net/token"
ACCOUNT = "billing@demo-shop.iam.gserviceaccount.com"
JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
KEY = ec.generate_private_key(ec.SECP256R1())
JWK = public_jwk(KEY.public_key())
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
    SignInUnavailable("svc:billing", "signBlob-does-not-answer"),
]


class FakeSigner:
    """Records the claims of each custom token instead of signing it. It fails while `error` is set."""

    def __init__(self) -> None:
        self.signed: list[ServiceClaims] = []
        self.error: SignInError | None = None

    async def sign(self, claims: ServiceClaims) -> str:
        if self.error:
            raise self.error
        self.signed.append(claims)
        return f"custom-token-{len(self.signed)}"


class WatchedStore(MemoryReplayStore):
    """A replay store that does not answer while it is `down`, and records whether it was closed."""

    down = closed = False

    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        if self.down:
            raise VerifierUnavailable("The store does not answer.")
        return await super().spend(one_time_id, issued_at=issued_at, expires_at=expires_at)

    async def aclose(self) -> None:
        self.closed = True


class Harness:
    """A token service with a fake signer, a replay store and a clock that a test can move. Billing is its caller."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.signer = FakeSigner()
        self.firebase = FakeFirebase(clock=self.clock)
        self.store = WatchedStore(clock=self.clock)
        self.certificates = CertificateCache(FakeSource(GOOGLE_KEY))
        self.service = TokenService(
            POLICY,
            Settings(project_id="demo-test", emulator_host=None, token_service_url=URL),
            sign=self.signer.sign,
            status=StatusCache(self.firebase, clock=self.clock),
            certificates=self.certificates,
            replay=self.store,
            clock=self.clock,
        )

    def assertion(self, **claims: Any) -> str:
        """Return a new assertion of Billing, with these claims changed."""
        now = int(self.clock())
        usual = {
            "iss": "billing",
            "sub": "billing",
            "aud": URL,
            "jti": secrets.token_hex(8),
            "iat": now,
            "exp": now + 60,
        }
        return jwt.encode(usual | claims, KEY, "ES256")

    def identity_token(self) -> str:
        """Return an identity token of Billing's account. Set the clock to the real time, which google-auth reads."""
        now = int(time.time())
        self.clock.now = float(now)
        claims = {"iss": "https://accounts.google.com", "aud": URL, "iat": now, "exp": now + 3_600}
        payload = json.dumps(claims | {"email": ACCOUNT, "email_verified": True}).encode()
        return make_jws(GOOGLE_KEY.header, base64url(payload), GOOGLE_KEY)

    async def ask(self, body: bytes | dict[str, Any] | None = None, assertion: str | None = None) -> Issued:
        """Return what the service issues for a body. The default body requests a fresh token for Product."""
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
def harness() -> Harness:
    return Harness()


async def test_a_fresh_token(harness: Harness) -> None:
    """The custom token has the name of the caller and the audience. The caller can sign in with it for an hour."""
    issued = await harness.ask()
    (claims,) = harness.signer.signed
    assert (claims.uid, claims.service, claims.audience) == ("svc:billing", "billing", "product")
    common = {"v": 1, "svc": "billing", "aud": "product", "iat": int(harness.clock())}
    assert claims.as_developer_claims() == {"ms": common | {"jti": claims.token_id}}
    assert issued.model_dump() == {"custom_token": "custom-token-1", "expires_in": 3600}


async def test_a_bound_token(harness: Harness) -> None:
    """The custom token has the thumbprint of the key, and no id."""
    issued = await harness.ask(bound("user"))
    (claims,) = harness.signer.signed
    assert claims.uid == "svc:billing"
    common = {"v": 1, "svc": "billing", "aud": "user", "iat": int(harness.clock())}
    assert claims.as_developer_claims() == {"ms": common | {"jkt": JKT}}
    assert issued.expires_in == 3600


async def test_the_id_of_a_fresh_token_is_random(harness: Harness) -> None:
    """It has 128 random bits, also for the same request: no caller can get the same id twice."""
    for _ in range(100):
        await harness.ask()
    ids = {claims.token_id or "" for claims in harness.signer.signed}
    assert len(ids) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", one) for one in ids)


@pytest.mark.parametrize(
    "name",
    [
        *("uid", "sub", "service", "svc", "iss", "claims", "developer_claims", "ms", "jti", "token_id", "expires_in"),
        *("aud", "iat", "minted_at"),
    ],
)
@pytest.mark.parametrize("body", [fresh(), bound()], ids=["fresh", "proof"])
async def test_unknown_members_are_refused(harness: Harness, name: str, body: dict[str, Any]) -> None:
    """A caller cannot choose a name, an id or claims, and is told so."""
    refusal = await harness.refusal(body | {name: "user"})
    assert (refusal.status, refusal.code) == (400, "request_invalid")
    assert name in str(refusal.detail)
    assert harness.signer.signed == []


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
async def test_an_invalid_request_is_refused(harness: Harness, body: dict[str, Any], place: str) -> None:
    """An audience and a mode are required, and a thumbprint in proof mode only. The detail names the wrong member."""
    refusal = await harness.refusal(body)
    assert (refusal.status, refusal.code) == (400, "request_invalid")
    assert place in str(refusal.detail)
    assert problem_details(refusal)["detail"] == refusal.detail
    assert harness.signer.signed == []


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
async def test_a_body_that_is_not_a_json_object_is_refused(harness: Harness, body: bytes) -> None:
    """Anything but one JSON object of at most 4 KiB is answered with 400, however deep or long it is."""
    assert (await harness.refusal(body)).code == "request_invalid"


async def test_a_body_of_4096_bytes_is_accepted(harness: Harness) -> None:
    """This is the longest one."""
    assert (await harness.ask(json.dumps(fresh()).encode().ljust(MAX_BODY_BYTES))).custom_token == "custom-token-1"


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
    """Any body from a known service is a request, or is refused with 400 or 403."""
    harness = Harness()
    try:
        status = 200 if asyncio.run(harness.ask(body)) else 0
    except Refusal as refusal:
        status = refusal.status
    assert status in (200, 400, 403)
    assert len(harness.signer.signed) == (status == 200)


@pytest.mark.parametrize("audience", ["delivery", "billing", "stranger", "token"])
@pytest.mark.parametrize("make", [fresh, bound])
async def test_an_audience_that_the_policy_does_not_allow_is_refused(
    harness: Harness, audience: str, make: Any
) -> None:
    """A known service may call the services in its policy and no others, not even itself."""
    refusal = await harness.refusal(make(audience))
    assert (refusal.status, refusal.code) == (403, "audience_not_allowed")
    assert refusal.challenges("token") == ()
    assert harness.signer.signed == []


async def test_a_disabled_identity_gets_no_token(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """A thief cannot collect custom tokens for the time after it is enabled. The audit log has the refusal."""
    harness.firebase.disable("svc:billing")
    for body in (fresh(), bound()):
        refusal = await harness.refusal(body)
        assert (refusal.status, refusal.code) == (403, "identity_disabled")
        assert refusal.challenges("token") == ()
    assert harness.signer.signed == []
    assert [facts(line)["verdict"] for line in audited(caplog)] == ["identity_disabled"] * 2


async def test_an_identity_that_has_never_signed_in_gets_a_token(harness: Harness) -> None:
    """Its first sign-in creates it."""
    assert await harness.firebase.look_up(["svc:billing"]) == {}
    assert (await harness.ask()).custom_token == "custom-token-1"


async def test_while_the_status_is_unknown_nothing_is_issued(harness: Harness) -> None:
    """The answer is 503, the assertion is not spent, and the next request succeeds when Firebase answers again."""
    assertion = harness.assertion()
    harness.firebase.down = True
    assert (await harness.refusal(assertion=assertion)).code == "verifier_unavailable"
    assert harness.signer.signed == []
    harness.firebase.down = False
    harness.clock.advance(1)
    assert (await harness.ask(assertion=assertion)).custom_token == "custom-token-1"


async def test_the_status_is_cached(harness: Harness) -> None:
    """It is looked up at most once in 10 s. A disabled identity is noticed within this time."""
    for _ in range(5):
        await harness.ask()
    assert harness.firebase.look_ups == 1
    harness.firebase.disable("svc:billing")
    harness.clock.advance(10)
    assert (await harness.refusal()).code == "identity_disabled"


async def test_just_after_an_identity_was_enabled_it_gets_no_token(harness: Harness) -> None:
    """Callees would refuse a token that is minted in the second of the revocation. The caller tries again."""
    harness.firebase.enable("svc:billing")
    for _ in range(2):
        assert (await harness.refusal()).code == "issuer_unavailable"
        harness.clock.advance(1)
    await harness.ask()
    (claims,) = harness.signer.signed
    (status,) = (await harness.firebase.look_up(["svc:billing"])).values()
    assert status.accepts(int(harness.clock()), claims.minted_at)


async def test_the_status_of_an_unauthorized_caller_is_not_looked_up(harness: Harness) -> None:
    """Only a known service that may call the audience causes a request to Firebase."""
    await harness.refusal(fresh("delivery"))
    await harness.refusal(assertion=harness.assertion(aud="https://elsewhere.example"))
    assert harness.firebase.look_ups == 0


async def test_authentication_comes_first(harness: Harness) -> None:
    """Without a valid credential, the answer says nothing about the body or the policy."""
    bad = harness.assertion(aud="https://elsewhere.example")
    for body in (b"no JSON", fresh("delivery"), fresh()):
        assert (await harness.refusal(body, bad)).code == "credential_untrusted"
    with pytest.raises(Refusal) as caught:
        await harness.service.issue([], b"no JSON")
    assert caught.value.code == "credential_missing"


async def test_spending_comes_last(harness: Harness) -> None:
    """A request that is refused with 400 or 403 spends nothing: the assertion can be used for a corrected request."""
    harness.store.down = True
    assertion = harness.assertion()
    assert (await harness.refusal(b"no JSON", assertion)).status == 400
    assert (await harness.refusal(fresh("delivery"), assertion)).status == 403
    assert (await harness.refusal(fresh(), assertion)).code == "verifier_unavailable"
    harness.store.down = False
    assert (await harness.ask(fresh(), assertion)).custom_token == "custom-token-1"
    assert (await harness.refusal(fresh(), assertion)).code == "credential_replayed"
    assert len(harness.signer.signed) == 1


async def test_an_assertion_gets_one_token(harness: Harness) -> None:
    """It is spent before anything is signed, so one of many simultaneous requests gets a token."""
    assertion = harness.assertion()
    outcomes = await asyncio.gather(*(harness.ask(assertion=assertion) for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(outcome, Issued) for outcome in outcomes) == len(harness.signer.signed) == 1


@pytest.mark.parametrize("error", SIGN_IN_ERRORS, ids=lambda error: type(error).__name__)
async def test_a_failure_to_sign_is_a_503(harness: Harness, error: SignInError) -> None:
    """The answer does not contain the reason. The assertion is spent, and the next one may succeed."""
    harness.signer.error = error
    assertion = harness.assertion()
    refusal = await harness.refusal(assertion=assertion)
    assert isinstance(refusal, IssuerUnavailable)
    assert (refusal.status, refusal.code, refusal.reason) == (503, "issuer_unavailable", error.reason)
    assert error.reason not in json.dumps([problem_details(refusal), dict(problem_headers(refusal, "token"))])
    assert problem_headers(refusal, "token")["Retry-After"] == "1"
    harness.signer.error = None
    assert (await harness.refusal(assertion=assertion)).code == "credential_replayed"
    assert (await harness.ask()).custom_token == "custom-token-1"


def audited(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the lines of the audit log, with everything that they contain."""
    return [vars(record) for record in caplog.records if record.name == "mstoken.audit"]


def facts(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in ("service", "proven_by", "audience", "mode", "token_id", "verdict")}


@pytest.mark.parametrize("body", [fresh(), bound()], ids=["fresh", "proof"])
async def test_each_token_is_one_audit_line(
    harness: Harness, caplog: pytest.LogCaptureFixture, body: dict[str, Any]
) -> None:
    """The line has the service, its proof, the audience and a digest of the id or thumbprint. It has no token."""
    caplog.set_level(logging.INFO)
    assertion = harness.assertion()
    issued = await harness.ask(body, assertion)
    (claims,) = harness.signer.signed
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
    assert (line["levelno"], line["event"]) == (logging.INFO, "token")
    assert line["message"] == f"token svc:billing → product {body['mode']} issued"
    written = str([vars(record) for record in caplog.records])
    assert not any(secret in written for secret in (*assertion.split("."), issued.custom_token, identified_by))


async def test_an_account_is_in_the_audit_line(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """For an identity token of Google, the line has the account."""
    caplog.set_level(logging.INFO)
    await harness.service.issue([f"Bearer {harness.identity_token()}"], json.dumps(fresh()).encode())
    (line,) = audited(caplog)
    assert (line["service"], line["proven_by"]) == ("billing", f"account {ACCOUNT}")


async def test_a_malformed_credential_is_not_in_the_audit_line(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    """It may be a password that was sent by mistake. The line has the code of the refusal only."""
    caplog.set_level(logging.INFO)
    with pytest.raises(Refusal):
        await harness.service.issue(["Bearer typed-by-accident"], b"")
    (line,) = audited(caplog)
    assert facts(line) == dict.fromkeys(facts(line)) | {"verdict": "credential_malformed"}
    assert line["levelno"] == logging.WARNING
    assert line["message"].startswith("token unknown → unknown unknown credential_malformed: ")
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
    harness: Harness,
    caplog: pytest.LogCaptureFixture,
    body: dict[str, Any],
    claims: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    """The line has what was known when the request was refused, and the code of the refusal. No id exists yet."""
    caplog.set_level(logging.INFO)
    assertion = harness.assertion(**claims)
    await harness.refusal(body, assertion)
    (line,) = audited(caplog)
    known = dict.fromkeys(facts(line)) | expected
    if "service" in expected:
        known["proven_by"] = f"key {thumbprint(JWK)}"
    assert facts(line) == known
    assert (line["levelno"], line["event"]) == (logging.WARNING, "token")
    assert not any(part in str(line) for part in assertion.split("."))


async def test_a_replay_is_one_audit_line(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """The line says whose assertion was used again, and for which audience."""
    caplog.set_level(logging.INFO)
    assertion = harness.assertion()
    await harness.ask(assertion=assertion)
    await harness.refusal(assertion=assertion)
    issued, refused = map(facts, audited(caplog))
    assert refused == issued | {"token_id": None, "verdict": "credential_replayed"}


@pytest.mark.parametrize("error", SIGN_IN_ERRORS, ids=lambda error: type(error).__name__)
async def test_a_failure_to_sign_is_one_audit_line(
    harness: Harness, caplog: pytest.LogCaptureFixture, error: SignInError
) -> None:
    """The line has the reason, for operators."""
    caplog.set_level(logging.INFO)
    harness.signer.error = error
    await harness.refusal()
    assert error.reason in str([vars(record) for record in caplog.records])
    (line,) = audited(caplog)
    assert facts(line)["service"] == "billing"
    assert facts(line)["audience"] == "product"
    assert facts(line)["verdict"] == "issuer_unavailable"


async def test_the_reason_of_an_outage_is_in_the_audit_log(harness: Harness, caplog: pytest.LogCaptureFixture) -> None:
    """The answer does not contain it, and a function has no /readyz."""
    caplog.set_level(logging.INFO)
    harness.store.down = True
    refusal = await harness.refusal()
    assert "detail" not in problem_details(refusal)
    assert "The store does not answer." in str([vars(record) for record in caplog.records])


async def test_it_is_opened_and_closed(harness: Harness) -> None:
    """When it is open, it has Google's certificates. When it is closed, so is the replay store."""
    async with harness.service:
        harness.certificates.ready()
        assert not harness.store.closed
    assert harness.store.closed


def test_it_needs_its_own_url() -> None:
    """Without the URL, it could not tell whether a credential is for this token service."""
    with pytest.raises(SettingsError, match="MSTOKEN_TOKEN_SERVICE_URL"):
        TokenService(POLICY, Settings(project_id="demo-test", emulator_host=None), sign=FakeSigner().sign)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read from the environment if none are passed in."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "No Project")
    with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT"):
        TokenService(POLICY, sign=FakeSigner().sign)


class TestStore:
    """The store of spent ids: only assertions, which registered keys sign, are spent."""

    def service(self, policy: Policy, replay_url: str) -> TokenService:
        settings = Settings(project_id="real-shop", emulator_host=None, token_service_url=URL, replay_url=replay_url)
        return TokenService(policy, settings, sign=FakeSigner().sign, certificates=CertificateCache(FakeSource()))

    def test_a_policy_with_keys_needs_a_store_that_instances_share(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On Cloud Run, each instance would accept the same assertion once, so the token service does not start."""
        monkeypatch.setenv("K_SERVICE", "token")
        with pytest.raises(SettingsError, match="instances there do not share a disk"):
            self.service(POLICY, "sqlite:///spent.db")

    async def test_a_policy_without_keys_needs_no_store(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Identity tokens of Google are not spent, so on Cloud Run the default settings are enough."""
        monkeypatch.setenv("K_SERVICE", "token")
        policy = Policy.parse("[services.product]\n", "policy.toml")
        await self.service(policy, "sqlite:///spent.db").aclose()

    async def test_its_memory_begins_when_the_token_service_is_opened(self, tmp_path: Path) -> None:
        """So it is a few seconds old when the first assertion comes. An outage of the store is not an error then."""
        async with self.service(POLICY, f"sqlite:///{tmp_path}/spent.db"):
            assert (tmp_path / "spent.db").exists()
        async with self.service(POLICY, f"sqlite:///{tmp_path}"):
            pass
