"""Measures what it costs to verify a call: in our two modes, with firebase-admin alone, and with auth0-api-python."""

import asyncio
import hashlib
import os
import secrets
import time
import warnings
from pathlib import Path
from typing import Any

from firebase_admin import auth

from bench.issuer import KEY_ID, PROJECT, BenchFirebase, Issuer
from bench.measure import ROUNDS, measured, on_one_core
from bench.results import CPU, Measurement, Plan
from mstoken import Settings, TokenVerifier, strict_jwt
from mstoken.callee.callers import Admission, Call
from mstoken.callee.firebase import AdminFirebase
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.claims import ServiceClaims
from mstoken.proof import ProofKey, ProofVerifier

URL = "https://product.example.com/products"
ISSUER = "https://bench.example.com/"
REPETITIONS = 200
TITLE = "Verifying a call"
BILLING = Admission.of(False, {"billing"})

PLAIN_ADMIN = "firebase-admin verify_id_token, unchanged"
FRESH = "mstoken, fresh: verify, check, spend (SQLite)"
FRESH_IN_MEMORY = "mstoken, fresh, spent ids in memory"
PROOF = "mstoken, proof: known token, proof, spend (SQLite)"
AUTH0 = "auth0-api-python, token and proof; spends nothing"
FIRST = "mstoken, proof: the first call with a token"


class _Calls:
    """The calls to measure, made in advance."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._key = ProofKey()
        self.made_at = time.time()
        self.bound_token = self._bound()
        number = REPETITIONS * (ROUNDS + 1)
        fresh = [self._with_fresh_token() for _ in range(number)]
        self.plain = iter([call.service_tokens[0] for call in fresh])
        self.fresh, self.fresh_again = iter(fresh), iter(fresh)
        self.with_proof = iter([self._with_proof(self.bound_token) for _ in range(number)])
        self.first_with_proof = iter([self._with_proof(self._bound(number)) for number in range(number)])
        auth0_claims = {
            "iss": ISSUER,
            "aud": "product",
            "sub": "billing",
            "iat": int(time.time()),
            "exp": int(time.time()) + 3600,
        }
        self.auth0_token = issuer.signed(auth0_claims | {"cnf": {"jkt": self._key.thumbprint}})
        self.auth0_proof = self._proof(self.auth0_token)

    def _bound(self, number: int = 0) -> str:
        claims = _bound_claims(self._key)
        return self._issuer.id_token("svc:billing", claims | ({"number": number} if number else {}))

    def _with_fresh_token(self) -> Call:
        claims = ServiceClaims.fresh("billing", "product", minted_at=time.time())
        token = self._issuer.id_token("svc:billing", claims.as_developer_claims())
        return Call("GET", "/products", [token], [], [])

    def _with_proof(self, token: str) -> Call:
        return Call("GET", "/products", [token], [self._proof(token)], [])

    def _proof(self, token: str) -> str:
        return self._key.proof("GET", URL, token, issued_at=time.time())


def _bound_claims(key: ProofKey) -> dict[str, Any]:
    """Return the developer claims of a token that is bound to `key`."""
    return ServiceClaims.bound("billing", "product", key.thumbprint, minted_at=time.time()).as_developer_claims()


def measure(plan: Plan) -> list[Measurement]:
    """Measure the ways to verify a call, and the parts of ours."""
    with on_one_core():
        whole, parts = asyncio.run(_verifications(plan.folder))
    return [Measurement(case, CPU, "µs", values) for case, values in (whole | parts).items()]


async def _verifications(folder: Path) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Measure the ways to verify a call, and the parts of ours. Return microseconds of processor time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Its library warns about another one that it uses.
        from auth0_api_python import ApiClient, ApiClientOptions
    issuer = Issuer()
    os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(issuer.credentials_file(folder))
    settings = Settings(
        project_id=PROJECT,
        emulator_host=None,
        base_url="https://product.example.com",
        certificates_file=issuer.certificates_file(folder),
    )
    # With this clock the memory of the store began a minute ago, so the tokens and proofs are not too old for it.
    store = SQLiteReplayStore(folder / "spent.db", clock=lambda: time.time() - 60)
    app = issuer.plain_admin_app()
    auth0 = ApiClient(ApiClientOptions(domain="bench.example.com", audience="product", custom_fetch=_fetch(issuer)))
    calls = _Calls(issuer)
    # All proofs were made in advance. So the verifiers' clock stands still, and no proof becomes too old.
    product = TokenVerifier(
        "product", settings, firebase=BenchFirebase(settings), replay=store, clock=lambda: calls.made_at + 10
    )
    in_memory = TokenVerifier(
        "product",
        settings,
        firebase=BenchFirebase(settings),
        replay=MemoryReplayStore(),
        clock=lambda: calls.made_at + 10,
    )
    async with product, in_memory:

        async def plain_admin() -> None:
            auth.verify_id_token(next(calls.plain), app)

        async def fresh() -> None:
            await product.authorize(BILLING, next(calls.fresh))

        async def fresh_in_memory() -> None:
            await in_memory.authorize(BILLING, next(calls.fresh_again))

        async def proof() -> None:
            await product.authorize(BILLING, next(calls.with_proof))

        async def first() -> None:
            await product.authorize(BILLING, next(calls.first_with_proof))

        async def auth0_checks() -> None:
            await auth0.verify_access_token(calls.auth0_token)
            await auth0.verify_dpop_proof(calls.auth0_token, calls.auth0_proof, "GET", URL)

        works = {
            PLAIN_ADMIN: plain_admin,
            FRESH: fresh,
            FRESH_IN_MEMORY: fresh_in_memory,
            PROOF: proof,
            FIRST: first,
            AUTH0: auth0_checks,
        }
        whole = await measured(works, REPETITIONS)
        parts = await measured(_parts(issuer, store, BenchFirebase(settings)), REPETITIONS)
    return whole, parts


def _fetch(issuer: Issuer) -> Any:
    """Return a function from which auth0-api-python gets the issuer's metadata and keys, without a network."""

    async def fetch(url: str, *_arguments: Any, **_more: Any) -> dict[str, Any]:
        metadata = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}.well-known/jwks.json"}
        return issuer.jwks() if url.endswith("jwks.json") else metadata

    return fetch


def _parts(issuer: Issuer, store: SQLiteReplayStore, firebase: AdminFirebase) -> dict[str, Any]:
    """Return the parts of a call's verification."""
    key, verifier = ProofKey(), ProofVerifier()
    token = issuer.id_token("svc:billing", _bound_claims(key))
    proof = key.proof("GET", URL, token, issued_at=time.time())
    sha256 = hashlib.sha256(token.encode()).digest()

    async def verifying() -> None:
        await firebase.verify(strict_jwt.unverified(token), KEY_ID)

    async def reading_token() -> None:
        strict_jwt.unverified(token)

    async def reading() -> None:
        strict_jwt.unverified(proof)

    async def checking() -> None:
        verifier.verify(
            [proof],
            method="GET",
            url=URL,
            token_sha256=sha256,
            key_thumbprint=key.thumbprint,
            now=time.time(),
            clock_skew_seconds=5,
        )

    async def hashing() -> None:
        hashlib.sha256(token.encode()).digest()

    async def spending() -> None:
        now = time.time()
        await store.spend(secrets.token_urlsafe(16), issued_at=now, expires_at=now + 40)

    return {
        "fresh: parse the token": reading_token,
        "fresh: firebase-admin verify_id_token, keys in memory": verifying,
        "proof: SHA-256 of the token": hashing,
        "proof: parse the proof": reading,
        "proof: all checks of the proof, parsing included": checking,
        "both: spend the id (SQLite)": spending,
    }
