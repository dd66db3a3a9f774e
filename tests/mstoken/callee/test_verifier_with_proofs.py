"""The callee in proof mode: a bound token is accepted with a proof for each call, and each proof once."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from mstoken import ServiceCaller
from mstoken.callee.callers import Admission, Call, Caller
from mstoken.callee.nonces import NONCE_SECONDS, RENEWAL_AGE_SECONDS
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.verifier import TokenVerifier
from mstoken.claims import ServiceClaims
from mstoken.errors import ProofNonceRequired
from mstoken.jwk import thumbprint
from mstoken.proof import ProofKey
from mstoken.strict_jwt import base64url
from mstoken.wire import BOUND_TOKEN_MAX_AGE_SECONDS, CLOCK_SKEW_SECONDS, PROOF_MAX_AGE_SECONDS
from tests.mstoken.callee.harness import BILLING, URL, USERS_AND_BILLING, ProductWithProofs
from tests.mstoken.callee.replay.fakes import ForgetfulReplayStore

BILLING_WITH_PROOF = Admission.of(False, {"billing"}, proof=True)


async def test_a_call_with_a_proof(bound: ProductWithProofs) -> None:
    """The caller's one-time id consists of the thumbprint of the key and the id of the proof."""
    bound.clock.advance(3000)
    caller: Caller = await bound.verifier.authorize(BILLING, bound.call())
    assert isinstance(caller, ServiceCaller)
    assert (caller.service, caller.mode, caller.issued_at) == ("billing", "proof", int(bound.clock()))
    assert caller.one_time_id.startswith(f"{bound.key.thumbprint}.")


async def test_a_captured_call_is_refused(bound: ProductWithProofs) -> None:
    """It is refused if it is sent again, to another path, with another method, to another service, or later."""
    call = bound.call("POST", "/reservations")
    user = bound.firebase.verifier("user", base_url="https://user.example.com")
    assert await bound.code(call) == "accepted"
    assert await bound.code(call) == "proof_replayed"
    assert await bound.code(replace(call, path="/products")) == "proof_invalid"
    assert await bound.code(replace(call, method="DELETE")) == "proof_invalid"
    assert await bound.code(call, at=user, admission=BILLING) == "token_wrong_audience"
    bound.clock.advance(60)
    assert await bound.code(call) == "proof_invalid"


async def test_a_captured_call_that_never_arrived_is_accepted_for_thirty_seconds(bound: ProductWithProofs) -> None:
    """It is accepted once, and not a minute later."""
    soon, late = bound.call(), bound.call()
    bound.clock.advance(PROOF_MAX_AGE_SECONDS)
    assert await bound.code(soon) == "accepted"
    bound.clock.advance(30)
    assert await bound.code(late) == "proof_invalid"


async def test_a_spent_proof_is_kept_for_as_long_as_any_worker_accepts_it(bound: ProductWithProofs) -> None:
    """A proof is refused as replayed until every worker refuses it as too old, however far the clocks are apart.

    The clock of the caller is ahead of this worker's by the largest difference that is allowed, and the clock of
    another worker is behind by as much.
    """
    store = ForgetfulReplayStore(bound.clock)
    here = bound.firebase.verifier("product", replay=store)
    elsewhere = TokenVerifier(
        "product",
        bound.firebase.settings(),
        firebase=bound.firebase,
        replay=store,
        clock=lambda: bound.clock() - CLOCK_SKEW_SECONDS,
    )
    proof = bound.key.proof("GET", f"{URL}/products", bound.token, issued_at=bound.clock() + CLOCK_SKEW_SECONDS)
    call = replace(bound.call(), proofs=[proof])
    assert await bound.code(call, at=here) == "accepted"
    codes = []
    for _ in range(2 * (PROOF_MAX_AGE_SECONDS + 3 * CLOCK_SKEW_SECONDS)):
        codes.append(await bound.code(call, at=elsewhere))
        bound.clock.advance(0.5)
    assert [code for code, _ in groupby(codes)] == ["proof_invalid", "proof_replayed", "proof_invalid"]


@pytest.mark.parametrize("old", ["minted_at", "auth_time"])
async def test_a_bound_token_ends_an_hour_after_its_minting_and_its_sign_in(bound: ProductWithProofs, old: str) -> None:
    """A later sign-in with the custom token, and a refresh of the session, do not make it last longer."""
    now = int(bound.clock())
    oldest = now - BOUND_TOKEN_MAX_AGE_SECONDS - CLOCK_SKEW_SECONDS

    async def code(time: int) -> str:
        times = {"minted_at": now, "auth_time": now} | {old: time}
        bound.token = bound.bound_token(minted_at=times["minted_at"], auth_time=times["auth_time"])
        return await bound.code(bound.call())

    assert await code(oldest) == "accepted"
    assert await code(oldest - 1) == "token_expired"
    assert await code(oldest - 365 * 86_400) == "token_expired"


async def test_a_bound_token_that_is_used_all_the_time_ends_too(bound: ProductWithProofs) -> None:
    """The callee remembers a bound token, and checks its age at every call."""
    codes = []
    for _ in range(75):
        codes.append(await bound.code(bound.call()))
        bound.clock.advance(50)
    assert [code for code, _ in groupby(codes)] == ["accepted", "token_expired"]
    assert codes.count("accepted") == (BOUND_TOKEN_MAX_AGE_SECONDS + CLOCK_SKEW_SECONDS) // 50 + 1


async def test_a_bound_token_from_the_future_is_refused(bound: ProductWithProofs) -> None:
    """The clock of the signer may be ahead by 5 s."""
    latest = int(bound.clock()) + CLOCK_SKEW_SECONDS
    bound.token = bound.bound_token(minted_at=latest)
    assert await bound.code(bound.call()) == "accepted"
    bound.token = bound.bound_token(minted_at=latest + 1)
    assert await bound.code(bound.call()) == "token_untrusted"


async def test_a_proof_that_is_older_than_a_new_store_is_refused(bound: ProductWithProofs) -> None:
    """It may have been used. The refusal is that of an outage, and a new proof of the same token is accepted."""
    store = MemoryReplayStore(complete_since=bound.clock(), clock=bound.clock)
    bound.verifier = bound.firebase.verifier("product", replay=store)
    early = bound.call()
    assert await bound.code(early) == "verifier_unavailable"
    bound.clock.advance(CLOCK_SKEW_SECONDS + 1)
    assert await bound.code(early) == "verifier_unavailable"
    call = bound.call()
    assert await bound.code(call) == "accepted"
    assert await bound.code(call) == "proof_replayed"


async def test_a_stolen_token_is_refused_without_its_key(bound: ProductWithProofs) -> None:
    """It is refused alone, and with a proof of the thief's own key."""
    thief = ProofKey().proof("GET", f"{URL}/products", bound.token, issued_at=bound.clock())
    assert await bound.code(replace(bound.call(), proofs=[])) == "proof_missing"
    assert await bound.code(replace(bound.call(), proofs=[thief])) == "proof_invalid"


async def test_a_proof_is_for_one_token(bound: ProductWithProofs) -> None:
    """A proof is refused with a newer token that is bound to the same key."""
    call = bound.call()
    bound.clock.advance(1)
    assert await bound.code(replace(call, service_tokens=[bound.bound_token()])) == "proof_invalid"


@pytest.mark.parametrize("proofs", [["{0}", "{0}"], ["{0},{0}"], [""], ["no proof"]])
async def test_a_call_needs_exactly_one_proof(bound: ProductWithProofs, proofs: Sequence[str]) -> None:
    """Two proofs, on two lines or joined by a comma, and text that is not a proof are refused."""
    proof = bound.proof()
    call = replace(bound.call(), proofs=[line.format(proof) for line in proofs])
    assert await bound.code(call) == "proof_invalid"


async def test_a_proof_needs_a_bound_token(bound: ProductWithProofs) -> None:
    """A proof beside a fresh token or a user's token is refused."""
    fresh = bound.firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
    user = bound.firebase.user_headers("maya")["Authorization"]
    assert await bound.code(replace(bound.call(), service_tokens=[fresh])) == "proof_invalid"
    with_user = Call("GET", "/products", [], [bound.proof()], [user])
    assert await bound.code(with_user, admission=USERS_AND_BILLING) == "proof_invalid"


async def test_a_callee_accepts_both_modes(bound: ProductWithProofs) -> None:
    """Unless it requires proofs, it also accepts fresh tokens."""
    fresh = bound.firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
    assert await bound.code(Call("GET", "/products", [fresh], [], [])) == "accepted"


async def test_a_route_or_a_service_can_require_proofs() -> None:
    """Then a fresh token is refused, and not spent."""
    relaxed, strict = ProductWithProofs(), ProductWithProofs(require_proof=True)
    for bound, admission in (relaxed, BILLING_WITH_PROOF), (strict, BILLING):
        fresh = bound.firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
        call = Call("GET", "/products", [fresh], [], [])
        assert await bound.code(call, admission=admission) == "proof_missing"
        assert await bound.code(bound.call(), admission=admission) == "accepted"
        assert await bound.code(call, at=bound.firebase.verifier("product", require_proof=False)) == "accepted"


async def test_users_need_no_proof() -> None:
    """Requiring proofs affects services only."""
    bound = ProductWithProofs(require_proof=True)
    user = Call("GET", "/products", [], [], [bound.firebase.user_headers("maya")["Authorization"]])
    assert await bound.code(user, admission=Admission.of(True, {"billing"}, proof=True)) == "accepted"


async def test_without_a_base_url_proofs_cannot_be_checked(bound: ProductWithProofs) -> None:
    """The refusal says that the callee cannot verify, not that the proof is bad."""
    lost = bound.firebase.verifier("product", base_url=None)
    assert await bound.code(bound.call(), at=lost) == "verifier_unavailable"


async def test_a_proof_for_another_host_is_refused(bound: ProductWithProofs) -> None:
    """The URL of the proof is compared with the configured one, never with the request's Host header."""
    proof = bound.key.proof("GET", "https://evil.example.com/products", bound.token, issued_at=bound.clock())
    assert await bound.code(replace(bound.call(), proofs=[proof])) == "proof_invalid"


@pytest.mark.parametrize(
    ("base_url", "path", "called"),
    [
        ("https://shop.example.com/product", "/products/a", "https://shop.example.com/product/products/a"),
        ("https://shop.example.com/product/", "/products/a", "https://shop.example.com/product/products/a"),
        ("HTTPS://Shop.Example.com:443", "/products/a%2fb%7e", "https://shop.example.com/products/a%2Fb~"),
    ],
)
async def test_a_proof_is_for_the_url_of_its_call(
    bound: ProductWithProofs, base_url: str, path: str, called: str
) -> None:
    """The URL is the base URL and the path as it was sent, normalized."""
    product = bound.firebase.verifier("product", base_url=base_url)
    proof = bound.key.proof("GET", called, bound.token, issued_at=bound.clock())
    call = Call("GET", path, [bound.token], [proof], [])
    assert await bound.code(call, at=product) == "accepted"


@pytest.mark.parametrize("path", ["/products/..", "/products/%2e%2E", "/a/./products", "/a%2f..%2fproducts"])
async def test_a_path_with_dot_segments_is_refused(bound: ProductWithProofs, path: str) -> None:
    """A proof is for a normalized URL. A server that routes on the decoded path would serve another one."""
    call = bound.call("GET", path)
    assert await bound.code(call) == "proof_invalid"
    fresh = bound.firebase.service_headers("billing", to="product")["X-MS-TOKEN"]
    assert await bound.code(Call("GET", path, [fresh], [], [])) == "accepted"


async def test_one_of_fifty_concurrent_calls_is_accepted(bound: ProductWithProofs) -> None:
    """Fifty calls use the same proof at the same time."""
    call = bound.call()
    codes = await asyncio.gather(*(bound.code(call) for _ in range(50)))
    assert sorted(codes) == ["accepted"] + ["proof_replayed"] * 49


async def test_a_refused_call_spends_no_proof(bound: ProductWithProofs) -> None:
    """A proof that was refused for another reason is still accepted for its call."""
    call = bound.call()
    assert await bound.code(call, admission=Admission.of(False, {"user"})) == "caller_not_allowed"
    assert await bound.code(call) == "accepted"


async def test_proofs_of_two_keys_can_have_the_same_id(bound: ProductWithProofs) -> None:
    """The id is spent together with the key, so that one caller cannot spend the ids of another."""

    def call_with_id(proof_id: str) -> Call:
        key = ec.generate_private_key(ec.SECP256R1())
        jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        ours = ServiceClaims.bound("billing", "product", thumbprint(jwk), minted_at=bound.clock())
        ms = ours.as_developer_claims()
        token = bound.firebase.issue("svc:billing", provider="custom", **ms)
        ath = base64url(hashlib.sha256(token.encode()).digest())
        claims = {"jti": proof_id, "htm": "GET", "htu": f"{URL}/products", "iat": int(bound.clock()), "ath": ath}
        proof = jwt.encode(claims, key, "ES256", headers={"typ": "dpop+jwt", "jwk": jwk})
        return Call("GET", "/products", [token], [proof], [])

    assert await bound.code(call_with_id("one")) == "accepted"
    assert await bound.code(call_with_id("one")) == "accepted"


async def test_a_callee_can_require_nonces() -> None:
    """With a nonce secret, a proof needs a nonce. The refusal has one, which is accepted for five minutes."""
    bound = ProductWithProofs(nonce_secret="s" * 32)
    with pytest.raises(ProofNonceRequired) as caught:
        await bound.verifier.authorize(BILLING, bound.call())
    nonce = caught.value.nonce
    assert caught.value.headers() == {"DPoP-Nonce": nonce}
    assert await bound.code(bound.call(nonce=nonce)) == "accepted"
    assert await bound.code(bound.call(nonce=nonce)) == "accepted"
    assert await bound.code(bound.call(nonce="made-up")) == "use_dpop_nonce"
    another_worker = bound.firebase.verifier("product")
    assert await bound.code(bound.call(nonce=nonce), at=another_worker) == "accepted"
    bound.clock.advance(NONCE_SECONDS + 1)
    assert await bound.code(bound.call(nonce=nonce)) == "use_dpop_nonce"


async def test_the_next_nonce_is_handed_out_before_the_last_one_ends() -> None:
    """A caller that goes on calling is refused for lack of a nonce only once."""
    bound = ProductWithProofs(nonce_secret="s" * 32)
    with pytest.raises(ProofNonceRequired) as caught:
        await bound.verifier.authorize(BILLING, bound.call())
    nonce = caught.value.nonce
    for _ in range(10):
        bound.clock.advance(RENEWAL_AGE_SECONDS - 1)
        caller = await bound.verifier.authorize(BILLING, bound.call(nonce=nonce))
        assert isinstance(caller, ServiceCaller)
        nonce = caller.next_nonce or nonce


async def test_a_callee_without_nonces_hands_out_none() -> None:
    """The answers have no nonce then."""
    bound = ProductWithProofs()
    caller = await bound.verifier.authorize(BILLING, bound.call(nonce="made-up"))
    assert isinstance(caller, ServiceCaller)
    assert caller.next_nonce is None
