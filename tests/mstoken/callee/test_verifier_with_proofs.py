"""The callee in proof mode: a bound token counts with a proof for each call, and each proof once."""

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from mstoken import ServiceCaller
from mstoken.callee.callers import Admission, Call, Caller
from mstoken.callee.nonces import NONCE_SECONDS
from mstoken.callee.verifier import MAX_REMEMBERED_TOKENS, TokenVerifier
from mstoken.claims import ServiceClaims
from mstoken.errors import ProofNonceRequired, Refusal
from mstoken.jwk import thumbprint
from mstoken.proof import ProofKey
from mstoken.strict_jwt import base64url
from mstoken.testing import FakeFirebase
from mstoken.wire import CLOCK_SKEW_SECONDS, PROOF_MAX_AGE_SECONDS
from tests.clock import FakeClock
from tests.mstoken.callee.replay.fakes import ForgetfulReplayStore

BILLING = Admission.of(False, {"billing"})
BILLING_WITH_PROOF = Admission.of(False, {"billing"}, proof=True)
ANYBODY = Admission.of(True, {"billing"})
URL = "https://product.example.com"


class CountingFirebase(FakeFirebase):
    """Counts how many tokens it was asked to verify."""

    verifications = 0

    async def verify(self, token: str, key_id: str) -> dict[str, Any]:
        self.verifications += 1
        return await super().verify(token, key_id)


class Pair:
    """The service product, and Billing with a key and a token that is bound to it; a test may move the clock."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.firebase = CountingFirebase(clock=self.clock, base_url=URL, **settings)
        self.product = self.firebase.verifier("product")
        self.key = ProofKey()
        self.token = self.bound_token()

    def bound_token(self, service: str = "billing", audience: str = "product", **claims: Any) -> str:
        ms = ServiceClaims.bound(service, audience, self.key.thumbprint).as_developer_claims()
        return self.firebase.issue(f"svc:{service}", **{"provider": "custom", **ms, **claims})

    def proof(self, method: str = "GET", path: str = "/products", nonce: str | None = None) -> str:
        return self.key.proof(method, URL + path, self.token, issued_at=self.clock(), nonce=nonce)

    def call(self, method: str = "GET", path: str = "/products", **proof: Any) -> Call:
        """A call as Billing makes it."""
        return Call(method, path, [self.token], [self.proof(method, path, **proof)], authorizations=[])

    async def code(self, call: Call, *, at: TokenVerifier | None = None, admission: Admission = BILLING) -> str:
        """The code of the refusal, or "accepted"."""
        try:
            await (at or self.product).authorize(admission, call)
        except Refusal as refusal:
            return refusal.code
        return "accepted"


@pytest.fixture
def pair() -> Pair:
    return Pair()


async def test_a_call_with_a_proof(pair: Pair) -> None:
    """A bound token with a proof gives its caller, whose one-time id is the proof's, with its key's thumbprint."""
    pair.clock.advance(3000)
    caller: Caller = await pair.product.authorize(BILLING, pair.call())
    assert isinstance(caller, ServiceCaller)
    assert (caller.service, caller.mode, caller.issued_at) == ("billing", "proof", int(pair.clock()))
    assert caller.one_time_id.startswith(f"{pair.key.thumbprint}.")


async def test_a_captured_call(pair: Pair) -> None:
    """Sent again, elsewhere, otherwise or a minute later it is refused, each time for what it is."""
    call = pair.call("POST", "/reservations")
    user = pair.firebase.verifier("user", base_url="https://user.example.com")
    assert await pair.code(call) == "accepted"
    assert await pair.code(call) == "proof_replayed"
    assert await pair.code(replace(call, path="/products")) == "proof_invalid"
    assert await pair.code(replace(call, method="DELETE")) == "proof_invalid"
    assert await pair.code(call, at=user, admission=BILLING) == "token_wrong_audience"
    pair.clock.advance(60)
    assert await pair.code(call) == "proof_invalid"


async def test_a_call_that_was_caught_on_its_way(pair: Pair) -> None:
    """One that never arrived counts once, but not a minute later."""
    soon, late = pair.call(), pair.call()
    pair.clock.advance(PROOF_MAX_AGE_SECONDS)
    assert await pair.code(soon) == "accepted"
    pair.clock.advance(30)
    assert await pair.code(late) == "proof_invalid"


async def test_a_spent_proof_is_kept_for_as_long_as_any_worker_accepts_it(pair: Pair) -> None:
    """A proof is refused as replayed until every worker refuses it as too old, however far the clocks are apart.

    The clock of the caller is ahead of this worker's by the largest difference that is allowed, and the clock of
    another worker is behind by as much.
    """
    store = ForgetfulReplayStore(pair.clock)
    here = pair.firebase.verifier("product", replay=store)
    elsewhere = TokenVerifier(
        "product",
        pair.firebase.settings(),
        firebase=pair.firebase,
        replay=store,
        clock=lambda: pair.clock() - CLOCK_SKEW_SECONDS,
    )
    proof = pair.key.proof("GET", f"{URL}/products", pair.token, issued_at=pair.clock() + CLOCK_SKEW_SECONDS)
    call = replace(pair.call(), proofs=[proof])
    assert await pair.code(call, at=here) == "accepted"
    codes = []
    for _ in range(2 * (PROOF_MAX_AGE_SECONDS + 3 * CLOCK_SKEW_SECONDS)):
        codes.append(await pair.code(call, at=elsewhere))
        pair.clock.advance(0.5)
    assert [code for code, _ in groupby(codes)] == ["proof_invalid", "proof_replayed", "proof_invalid"]


async def test_a_stolen_token(pair: Pair) -> None:
    """Without the key a bound token is worth nothing: neither alone, nor with a proof of the thief's key."""
    thief = ProofKey().proof("GET", f"{URL}/products", pair.token, issued_at=pair.clock())
    assert await pair.code(replace(pair.call(), proofs=[])) == "proof_missing"
    assert await pair.code(replace(pair.call(), proofs=[thief])) == "proof_invalid"


async def test_a_proof_goes_with_one_token(pair: Pair) -> None:
    """The proof of another call does not go with a newer token of the same key."""
    call = pair.call()
    pair.clock.advance(1)
    assert await pair.code(replace(call, service_tokens=[pair.bound_token()])) == "proof_invalid"


@pytest.mark.parametrize("proofs", [["{0}", "{0}"], ["{0},{0}"], [""], ["no proof"]])
async def test_one_proof(pair: Pair, proofs: Sequence[str]) -> None:
    """Exactly one proof, on one header line."""
    proof = pair.proof()
    call = replace(pair.call(), proofs=[line.format(proof) for line in proofs])
    assert await pair.code(call) == "proof_invalid"


async def test_a_proof_needs_a_bound_token(pair: Pair) -> None:
    """With a fresh token, or a user's, a proof proves nothing, and is refused."""
    fresh = pair.firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
    user = pair.firebase.user_headers("maya")["Authorization"]
    assert await pair.code(replace(pair.call(), service_tokens=[fresh])) == "proof_invalid"
    with_user = Call("GET", "/products", [], [pair.proof()], [user])
    assert await pair.code(with_user, admission=ANYBODY) == "proof_invalid"


async def test_a_callee_takes_both_modes(pair: Pair) -> None:
    """Unless it insists on proofs, a fresh token does as well."""
    fresh = pair.firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
    assert await pair.code(Call("GET", "/products", [fresh], [], [])) == "accepted"


async def test_insisting_on_proofs() -> None:
    """For one route, or throughout, a fresh token does not do; and is not spent by being refused."""
    relaxed, strict = Pair(), Pair(require_proof=True)
    for pair, admission in (relaxed, BILLING_WITH_PROOF), (strict, BILLING):
        fresh = pair.firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
        call = Call("GET", "/products", [fresh], [], [])
        assert await pair.code(call, admission=admission) == "proof_missing"
        assert await pair.code(pair.call(), admission=admission) == "accepted"
        assert await pair.code(call, at=pair.firebase.verifier("product", require_proof=False)) == "accepted"


async def test_users_need_no_proof() -> None:
    """Insisting on proofs is about services."""
    pair = Pair(require_proof=True)
    user = Call("GET", "/products", [], [], [pair.firebase.user_headers("maya")["Authorization"]])
    assert await pair.code(user, admission=Admission.of(True, {"billing"}, proof=True)) == "accepted"


async def test_without_a_base_url_there_is_no_telling(pair: Pair) -> None:
    """A callee that does not know its own address cannot check proofs: an outage, and no attack."""
    lost = pair.firebase.verifier("product", base_url=None)
    assert await pair.code(pair.call(), at=lost) == "verifier_unavailable"


async def test_what_a_request_says_of_its_host_does_not_count(pair: Pair) -> None:
    """A proof for another host is refused, whatever the request came as: the URL is the configured one."""
    proof = pair.key.proof("GET", "https://evil.example.com/products", pair.token, issued_at=pair.clock())
    assert await pair.code(replace(pair.call(), proofs=[proof])) == "proof_invalid"


@pytest.mark.parametrize(
    ("base_url", "path", "called"),
    [
        ("https://shop.example.com/product", "/products/a", "https://shop.example.com/product/products/a"),
        ("https://shop.example.com/product/", "/products/a", "https://shop.example.com/product/products/a"),
        ("HTTPS://Shop.Example.com:443", "/products/a%2fb%7e", "https://shop.example.com/products/a%2Fb~"),
    ],
)
async def test_the_url_of_a_call(pair: Pair, base_url: str, path: str, called: str) -> None:
    """It is the base URL with the path as it was sent, normalized."""
    product = pair.firebase.verifier("product", base_url=base_url)
    proof = pair.key.proof("GET", called, pair.token, issued_at=pair.clock())
    call = Call("GET", path, [pair.token], [proof], [])
    assert await pair.code(call, at=product) == "accepted"


async def test_firebase_verifies_a_token_once(pair: Pair) -> None:
    """A hundred calls with one token, each with a proof of its own, cost one verification; a fresh one is not kept."""
    assert [await pair.code(pair.call()) for _ in range(100)] == ["accepted"] * 100
    assert pair.firebase.verifications == 1
    fresh = pair.firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
    for _ in range(2):
        await pair.code(Call("GET", "/products", [fresh], [], []))
    assert pair.firebase.verifications == 3


async def test_a_remembered_token_expires(pair: Pair) -> None:
    """To remember a token does not lengthen its hour."""
    assert await pair.code(pair.call()) == "accepted"
    pair.clock.advance(3605)
    assert await pair.code(pair.call()) == "token_expired"


@pytest.mark.parametrize("act", [FakeFirebase.disable, FakeFirebase.revoke])
async def test_a_remembered_token_can_be_revoked(pair: Pair, act: Any) -> None:
    """The status of its identity counts for each call, once it is known here."""
    assert await pair.code(pair.call()) == "accepted"
    act(pair.firebase, "svc:billing")
    pair.product.forget("svc:billing")
    assert await pair.code(pair.call()) == "identity_disabled"


async def test_the_number_of_remembered_tokens_is_bounded(pair: Pair) -> None:
    """Beyond it, the one that was used longest ago is verified anew."""
    users = Admission.of(True, ())

    async def come(uid: str) -> None:
        token = tokens.setdefault(uid, pair.firebase.user_headers(uid)["Authorization"])
        await pair.product.authorize(users, Call("GET", "/", [], [], [token]))

    tokens: dict[str, str] = {}
    await come("first")
    await come("second")
    await come("first")
    for number in range(MAX_REMEMBERED_TOKENS - 1):
        await come(str(number))
    before = pair.firebase.verifications
    await come("first")
    assert pair.firebase.verifications == before
    await come("second")
    assert pair.firebase.verifications == before + 1


async def test_one_of_fifty(pair: Pair) -> None:
    """Of 50 calls that race with one proof one comes in."""
    call = pair.call()
    codes = await asyncio.gather(*(pair.code(call) for _ in range(50)))
    assert sorted(codes) == ["accepted"] + ["proof_replayed"] * 49


async def test_a_refused_call_burns_no_proof(pair: Pair) -> None:
    """A proof that the route refused is still good for the call."""
    call = pair.call()
    assert await pair.code(call, admission=Admission.of(False, {"user"})) == "caller_not_allowed"
    assert await pair.code(call) == "accepted"


async def test_two_keys_may_use_one_id(pair: Pair) -> None:
    """What is spent is the id of a key: nobody can spend another's."""

    def call_with_id(proof_id: str) -> Call:
        key = ec.generate_private_key(ec.SECP256R1())
        jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        ms = ServiceClaims.bound("billing", "product", thumbprint(jwk)).as_developer_claims()
        token = pair.firebase.issue("svc:billing", provider="custom", **ms)
        ath = base64url(hashlib.sha256(token.encode()).digest())
        claims = {"jti": proof_id, "htm": "GET", "htu": f"{URL}/products", "iat": int(pair.clock()), "ath": ath}
        proof = jwt.encode(claims, key, "ES256", headers={"typ": "dpop+jwt", "jwk": jwk})
        return Call("GET", "/products", [token], [proof], [])

    assert await pair.code(call_with_id("one")) == "accepted"
    assert await pair.code(call_with_id("one")) == "accepted"


async def test_a_nonce() -> None:
    """With a secret for nonces a proof needs one of this service's, which the refusal hands out, for some minutes."""
    pair = Pair(nonce_secret="s" * 32)
    with pytest.raises(ProofNonceRequired) as caught:
        await pair.product.authorize(BILLING, pair.call())
    nonce = caught.value.nonce
    assert caught.value.headers() == {"DPoP-Nonce": nonce}
    assert await pair.code(pair.call(nonce=nonce)) == "accepted"
    assert await pair.code(pair.call(nonce=nonce)) == "accepted"
    assert await pair.code(pair.call(nonce="made-up")) == "use_dpop_nonce"
    another_worker = pair.firebase.verifier("product")
    assert await pair.code(pair.call(nonce=nonce), at=another_worker) == "accepted"
    pair.clock.advance(NONCE_SECONDS + 1)
    assert await pair.code(pair.call(nonce=nonce)) == "use_dpop_nonce"


async def test_each_call_is_one_log_line(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    """Who called whom, in which mode, how old the proof was, and the verdict; neither token nor proof."""
    caplog.set_level(logging.INFO, "mstoken.calls")
    call = pair.call()
    pair.clock.advance(2)
    assert await pair.code(call) == "accepted"
    assert await pair.code(replace(call, path="/other")) == "proof_invalid"
    accepted, refused = (vars(record) for record in caplog.records)
    expected = {"caller": "svc:billing", "audience": "product", "mode": "proof", "verdict": "accepted"}
    assert expected.items() <= accepted.items()
    assert 2 <= accepted["age_seconds"] < 3
    assert {"caller": None, "mode": "proof", "verdict": "proof_invalid"}.items() <= refused.items()
    for line in str(accepted), str(refused):
        assert pair.token not in line
        assert call.proofs[0] not in line
