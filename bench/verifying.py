"""What it costs to verify a call: in our two modes with each store of spent ids, and with what people use today.

Nothing here needs a network. Google's certificates come from memory, through the caches of each library. Redis and
PostgreSQL run on this machine, on another core if there is one.
"""

import asyncio
import hashlib
import secrets
import sqlite3
import time
import warnings
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cachecontrol
import firebase_admin
import jwt
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from firebase_admin import app_check, auth
from google.auth.transport.requests import Request
from google.oauth2 import id_token
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import RSAKey
from joserfc.jwt import JWTClaimsRegistry

from bench import servers
from bench.issuer import KEY_ID, PROJECT, BenchFirebase, Issuer
from bench.measure import Costs, Work, measured, on_one_core, peaks, until_it_remembers
from bench.results import CPU, ELAPSED, MEMORY, Measurement, Plan
from mstoken import Settings, TokenVerifier, strict_jwt
from mstoken.callee.callers import Admission, Call
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.replay.postgresql import PostgreSQLReplayStore
from mstoken.callee.replay.redis import RedisReplayStore
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.callee.replay.store import ReplayStore
from mstoken.claims import ServiceClaims
from mstoken.proof import ProofKey, ProofVerifier

TITLE = "Verifying a call"

FRESH = "mstoken, fresh, SQLite"
FRESH_IN_MEMORY = "mstoken, fresh, memory"
FRESH_REDIS = "mstoken, fresh, Redis"
FRESH_POSTGRESQL = "mstoken, fresh, PostgreSQL"
PROOF = "mstoken, proof, SQLite"
PROOF_IN_MEMORY = "mstoken, proof, memory"
PROOF_REDIS = "mstoken, proof, Redis"
PROOF_POSTGRESQL = "mstoken, proof, PostgreSQL"
FIRST_PROOF = "mstoken, proof, SQLite: the first call with a token"
PLAIN_ADMIN = "firebase-admin as it comes"
GOOGLE_AUTH = "google-auth, certificates in CacheControl"
PYJWT = "PyJWT, key in hand"
PYJWT_SPEND = "PyJWT, key in hand, and one insert in SQLite"
JOSERFC = "joserfc, key in hand"
AUTH0 = "auth0-api-python, token and proof"
APP_CHECK = "App Check with consume, Google 120 ms away"
RSA_CHECK = "floor: one RSA-2048 check"
P256_CHECK = "floor: one P-256 check"

PART = "part: "
READ_TOKEN = "part: read the token"
ADMIN_VERIFY = "part: firebase-admin's checks, keys in memory"
HASH_TOKEN = "part: SHA-256 of the token"
READ_PROOF = "part: read the proof"
CHECK_PROOF = "part: all checks of the proof"
SPEND = "part: spend an id, SQLite"
PARTS = (READ_TOKEN, ADMIN_VERIFY, HASH_TOKEN, READ_PROOF, CHECK_PROOF, SPEND)
"""Parts of our verification, each measured by itself."""

QUICK = (FRESH, PROOF, PLAIN_ADMIN, PYJWT_SPEND, AUTH0, RSA_CHECK, P256_CHECK)
"""What `make bench-quick` measures."""
SUMMARY = (FRESH, PROOF, PLAIN_ADMIN, GOOGLE_AUTH, PYJWT_SPEND, AUTH0)
"""What the chart of the README shows."""
WITH_A_SERVER = ("Redis", "PostgreSQL", "App Check")
"""Of these the elapsed time counts too, because a call waits for a server."""

GOOGLE_SECONDS = 0.12
URL = "https://product.example.com/products"
ISSUER = "https://bench.example.com/"
BILLING = Admission.of(False, {"billing"})
ROUNDS, QUICK_ROUNDS = 25, 11


def measure(plan: Plan) -> list[Measurement]:
    """Measure all ways to verify a call, and the parts of ours."""
    with ExitStack() as stack:
        stores: dict[str, str] = {}
        if not plan.is_quick:  # The servers start before this process keeps to one core.
            if redis := stack.enter_context(servers.redis(plan, "Spent ids in Redis")):
                stores["Redis"] = redis.url
            if postgresql := stack.enter_context(servers.postgresql(plan, "Spent ids in PostgreSQL")):
                stores["PostgreSQL"] = postgresql.url(driver="postgresql")
        stack.enter_context(on_one_core())
        return asyncio.run(_measure(plan, stores))


async def _measure(plan: Plan, stores: Mapping[str, str]) -> list[Measurement]:
    async with all_works(plan.folder, stores) as works:
        if plan.is_quick:
            works = {name: works[name] for name in QUICK}
        rounds = QUICK_ROUNDS if plan.is_quick else ROUNDS
        plan.say(f"{len(works)} cases take turns in {rounds} rounds")
        costs = await measured(works, rounds=rounds)
        found = [Measurement(name, CPU, "µs", cost.cpu) for name, cost in costs.items()]
        if plan.is_quick:
            return found
        found += _elapsed(costs)
        plan.say("the memory that each needs")
        traced = await peaks({name: work for name, work in works.items() if name not in PARTS})
        return [*found, *(Measurement(name, MEMORY, "KB at its peak", values) for name, values in traced.items())]


def _elapsed(costs: Mapping[str, Costs]) -> list[Measurement]:
    return [
        Measurement(name, ELAPSED, "µs", cost.elapsed)
        for name, cost in costs.items()
        if any(server in name for server in WITH_A_SERVER)
    ]


@asynccontextmanager
async def all_works(folder: Path, urls: Mapping[str, str]) -> AsyncIterator[dict[str, Work]]:
    """Make everything that is measured. `urls` are those of the servers that this machine has."""
    issuer = Issuer()
    calls = _Calls(issuer)
    settings = Settings(
        project_id=PROJECT,
        emulator_host=None,
        base_url="https://product.example.com",
        certificates_file=issuer.certificates_file(folder),
    )
    works: dict[str, Work] = {}
    async with AsyncExitStack() as stack:
        stack.enter_context(issuer.credentials(folder))
        firebase = await stack.enter_async_context(_open(BenchFirebase(settings)))
        stores = _stores(folder, urls)
        for name, store in stores.items():
            verifier = TokenVerifier("product", settings, firebase=BenchFirebase(settings), replay=store)
            await stack.enter_async_context(verifier)
            await until_it_remembers(store)
            authorize = partial(verifier.authorize, BILLING)
            works[f"mstoken, fresh, {name}"] = Work(authorize, calls.fresh)
            works[f"mstoken, proof, {name}"] = Work(authorize, calls.with_proof)
            if name == "SQLite":
                works[FIRST_PROOF] = Work(authorize, calls.first_with_proof)
        works |= _others(issuer, calls, stack.enter_context(issuer.plain_admin_app()))
        works |= stack.enter_context(_python_jwt(issuer, calls, folder))
        works |= _app_check(calls, stack.enter_context(issuer.app_check_app(GOOGLE_SECONDS)))
        works |= _floor(issuer) | _parts(calls, stores["SQLite"], firebase)
        yield works


@asynccontextmanager
async def _open(firebase: BenchFirebase) -> AsyncIterator[BenchFirebase]:
    await firebase.open()
    try:
        yield firebase
    finally:
        await firebase.aclose()


def _stores(folder: Path, urls: Mapping[str, str]) -> dict[str, ReplayStore]:
    """Return the stores of spent ids. No clock is ahead: all of them are that of this machine."""
    stores: dict[str, ReplayStore] = {
        "memory": MemoryReplayStore(clock_skew_seconds=0),
        "SQLite": SQLiteReplayStore(folder / "spent.db", clock_skew_seconds=0),
    }
    if "Redis" in urls:
        stores["Redis"] = RedisReplayStore(urls["Redis"], clock_skew_seconds=0)
    if "PostgreSQL" in urls:
        stores["PostgreSQL"] = PostgreSQLReplayStore(urls["PostgreSQL"], clock_skew_seconds=0)
    return stores


def _others(issuer: Issuer, calls: "_Calls", app: firebase_admin.App) -> dict[str, Work]:
    """Return what people use today, called as its documentation says. `app` is that of firebase-admin."""
    # The documentation of google.oauth2.id_token: a cache-aware request.
    session = cachecontrol.CacheControl(requests.session())
    session.mount("https://", issuer.cached_adapter())
    request = Request(session=session)
    with warnings.catch_warnings(record=True):  # It uses a part of Authlib that warns of its end, whatever one ignores.
        from auth0_api_python import ApiClient, ApiClientOptions
    auth0 = ApiClient(ApiClientOptions(domain="bench.example.com", audience="product", custom_fetch=_fetch(issuer)))

    async def plain_admin(token: str) -> None:
        auth.verify_id_token(token, app)

    async def google_auth(token: str) -> None:
        id_token.verify_firebase_token(token, request, audience=PROJECT)

    async def auth0_checks(proof: str) -> None:
        await auth0.verify_access_token(calls.auth0_token)
        await auth0.verify_dpop_proof(calls.auth0_token, proof, "GET", URL)

    return {
        PLAIN_ADMIN: Work(plain_admin, calls.tokens),
        GOOGLE_AUTH: Work(google_auth, calls.tokens),
        AUTH0: Work(auth0_checks, calls.auth0_proofs),
    }


def _fetch(issuer: Issuer) -> Any:
    """Return a function from which auth0-api-python gets the issuer's metadata and keys, without a network."""

    async def fetch(url: str, *_arguments: Any, **_more: Any) -> dict[str, Any]:
        metadata = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}.well-known/jwks.json"}
        return issuer.jwks() if url.endswith("jwks.json") else metadata

    return fetch


@contextmanager
def _python_jwt(issuer: Issuer, calls: "_Calls", folder: Path) -> Iterator[dict[str, Work]]:
    """Make the JWT libraries with the key in hand, and what people add to them: a table of used ids."""
    key = issuer.public_key
    joserfc_key = RSAKey.import_key(issuer.jwks()["keys"][0])
    registry = JWTClaimsRegistry(
        iss={"essential": True, "value": issuer.issuer}, aud={"essential": True, "value": PROJECT}
    )
    table = sqlite3.connect(folder / "used.db", isolation_level=None)
    table.execute("PRAGMA journal_mode = WAL")
    table.execute("PRAGMA synchronous = OFF")  # As our store.
    table.execute("CREATE TABLE used (id BLOB PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID")

    def decoded(token: str) -> dict[str, Any]:
        return jwt.decode(token, key, algorithms=["RS256"], audience=PROJECT, issuer=issuer.issuer)

    async def pyjwt(token: str) -> None:
        decoded(token)

    async def pyjwt_and_spend(token: str) -> None:
        claims = decoded(token)
        row = (claims["ms"]["jti"].encode(), claims["exp"])
        if table.execute("INSERT INTO used VALUES (?, ?) ON CONFLICT DO NOTHING", row).rowcount != 1:
            raise ValueError("The token was used before.")

    async def joserfc(token: str) -> None:
        registry.validate(joserfc_jwt.decode(token, joserfc_key, algorithms=["RS256"]).claims)

    try:
        yield {
            PYJWT: Work(pyjwt, calls.tokens),
            PYJWT_SPEND: Work(pyjwt_and_spend, calls.tokens),
            JOSERFC: Work(joserfc, calls.tokens),
        }
    finally:
        table.close()


def _app_check(calls: "_Calls", app: firebase_admin.App) -> dict[str, Work]:
    """Return App Check's `verify_token(token, consume=True)`, which asks Google about each token.

    What is simulated: Google's keys are there, and its answer comes after `GOOGLE_SECONDS`, without TLS or a socket.
    So the processor time is less than it is in production.
    """

    async def consume(token: str) -> None:
        if app_check.verify_token(token, app, consume=True)["already_consumed"]:
            raise ValueError("The token was used before.")

    return {APP_CHECK: Work(consume, calls.app_check, repetitions=2)}


def _floor(issuer: Issuer) -> dict[str, Work]:
    """Return one check of a signature of each kind. Nothing that verifies tokens can be faster."""
    message = b"x" * 700
    rsa_key, rsa_signature = issuer.public_key, issuer.signature(message)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    ec_public, ec_signature = ec_key.public_key(), ec_key.sign(message, ec.ECDSA(hashes.SHA256()))
    rsa_padding, rsa_hash, ecdsa = padding.PKCS1v15(), hashes.SHA256(), ec.ECDSA(hashes.SHA256())

    async def rsa_check(_: None) -> None:
        rsa_key.verify(rsa_signature, message, rsa_padding, rsa_hash)

    async def p256_check(_: None) -> None:
        ec_public.verify(ec_signature, message, ecdsa)

    return {RSA_CHECK: Work(rsa_check, _nothing), P256_CHECK: Work(p256_check, _nothing)}


def _nothing(number: int) -> list[None]:
    return [None] * number


def _parts(calls: "_Calls", store: ReplayStore, firebase: BenchFirebase) -> dict[str, Work]:
    """Return the parts of our verification, each by itself."""
    verifier = ProofVerifier()
    token = calls.bound_token
    sha256 = hashlib.sha256(token.encode()).digest()

    async def read(text: str) -> None:
        strict_jwt.part(strict_jwt.split(text).payload)  # The header is known.

    async def admin_verify(jwt: strict_jwt.Unverified) -> None:
        await firebase.verify(jwt, KEY_ID)

    async def hash_token(_: None) -> None:
        hashlib.sha256(token.encode()).digest()

    async def check_proof(proof: str) -> None:
        verifier.verify(
            [proof],
            method="GET",
            url=URL,
            token_sha256=sha256,
            key_thumbprint=calls.thumbprint,
            now=time.time(),
            clock_skew_seconds=5,
        )

    async def spend(_: None) -> None:
        now = time.time()
        await store.spend(secrets.token_urlsafe(16), issued_at=now, expires_at=now + 40)

    def proofs(number: int) -> list[str]:
        return [calls.proof(token) for _ in range(number)]

    def read_tokens(number: int) -> list[strict_jwt.Unverified]:
        return [strict_jwt.unverified(text) for text in calls.tokens(number)]

    return {
        READ_TOKEN: Work(read, calls.tokens),
        ADMIN_VERIFY: Work(admin_verify, read_tokens),
        HASH_TOKEN: Work(hash_token, _nothing),
        READ_PROOF: Work(read, proofs),
        CHECK_PROOF: Work(check_proof, proofs),
        SPEND: Work(spend, _nothing),
    }


class _Calls:
    """Makes the calls to verify, before the rounds in which they are measured."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._key = ProofKey()
        self.thumbprint = self._key.thumbprint
        self.bound_token = self._bound()
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": "product", "sub": "billing", "iat": now, "exp": now + 3600}
        self.auth0_token = issuer.signed(claims | {"cnf": {"jkt": self._key.thumbprint}})

    def tokens(self, number: int) -> list[str]:
        """Return service tokens of the fresh mode."""
        claims = [ServiceClaims.fresh("billing", "product", minted_at=time.time()) for _ in range(number)]
        return [self._issuer.id_token("svc:billing", each.as_developer_claims()) for each in claims]

    def fresh(self, number: int) -> list[Call]:
        """Return calls in fresh mode."""
        return [Call("GET", "/products", [token], [], []) for token in self.tokens(number)]

    def with_proof(self, number: int) -> list[Call]:
        """Return calls in proof mode, all of them with the same token."""
        return [self._with_proof(self.bound_token) for _ in range(number)]

    def first_with_proof(self, number: int) -> list[Call]:
        """Return calls in proof mode, each of them with a token of its own."""
        return [self._with_proof(self._bound()) for _ in range(number)]

    def auth0_proofs(self, number: int) -> list[str]:
        """Return proofs for auth0-api-python."""
        return [self.proof(self.auth0_token) for _ in range(number)]

    def proof(self, token: str) -> str:
        """Return a proof for a call with `token`."""
        return self._key.proof("GET", URL, token, issued_at=time.time())

    def app_check(self, number: int) -> list[str]:
        """Return limited-use tokens of App Check."""
        now = int(time.time())
        claims = {
            "iss": "https://firebaseappcheck.googleapis.com/1",
            "aud": [f"projects/{PROJECT}"],
            "sub": "1:1:web:bench",
            "iat": now,
            "exp": now + 300,
        }
        return [self._issuer.signed(claims | {"jti": secrets.token_urlsafe(16)}) for _ in range(number)]

    def _bound(self) -> str:
        claims = ServiceClaims.bound("billing", "product", self._key.thumbprint, minted_at=time.time())
        return self._issuer.id_token("svc:billing", claims.as_developer_claims() | {"unlike": secrets.token_urlsafe(8)})

    def _with_proof(self, token: str) -> Call:
        return Call("GET", "/products", [token], [self.proof(token)], [])
