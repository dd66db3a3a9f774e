"""Every object that a module may hold works in two event loops, in twelve threads, and before and after a fork.

A module is imported once for a process: for all its threads, for tests that have a loop each, for a server that forks.
"""

import asyncio
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import aiohttp
import httpx
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from flask import Flask, Request, Response
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import mstoken.flask as flask_adapter
import mstoken.starlette as starlette_adapter
from mstoken import ServiceIdentity, Settings, TokenVerifier
from mstoken.aiohttp import AiohttpAuth
from mstoken.callee.callers import Admission, Call, Caller
from mstoken.callee.certificates import CertificateCache, CertificateFile
from mstoken.callee.firebase import AdminDirectory, IdentityStatus
from mstoken.callee.nonces import Nonces
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.callee.status import StatusCache
from mstoken.caller.admin_minter import AdminMinter
from mstoken.caller.connections import Connections
from mstoken.caller.credentials import PrivateKeyCredential
from mstoken.caller.minting import BrokerMinter
from mstoken.claims import ServiceClaims
from mstoken.emulator.signed_auth import KeyRing
from mstoken.errors import Refusal, StoreIsNew
from mstoken.fastapi import allow, protect
from mstoken.functions import Callee
from mstoken.issuer.policy import Policy
from mstoken.issuer.service import TokenService
from mstoken.jwk import public_jwk
from mstoken.proof import ProofKey, ProofVerifier
from mstoken.requests import RequestsAuth
from mstoken.strict_jwt import unverified
from mstoken.testing import FakeFirebase
from mstoken.wire import SERVICE_TOKEN_HEADER, Mode
from tests.elsewhere import in_forked_child, in_own_loop
from tests.mstoken.issuer.policies import inline
from tests.mstoken.production import PROJECT, Issuer, KnownIdentities, service_token, write_service_account
from tests.mstoken.test_functions import request_to
from tests.mstoken.test_settings import environment

THREADS = 12
TOKEN_SERVICE = "https://tokens.example.com/token"
BASE_URL = "https://product.example.com"

Use: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Uses an object once, and fails if it does not do what it should."""


class Surroundings:
    """What the objects need: a production project without Google, a fake project, and a file of spent ids."""

    def __init__(self, folder: Path, keys: KeyRing, account: Path, echo_url: str) -> None:
        """`echo_url` answers with the service token of the request."""
        self.echo_url = echo_url
        self.folder = folder
        self.issuer = Issuer(keys, folder / "certificates.json")
        self.account = account
        self.firebase = FakeFirebase()
        self.end = ExitStack()
        """Closes at the end of the test what a module never closes, and other tests would see."""

    def identity(self) -> ServiceIdentity:
        """A new identity of Billing."""
        identity = self.firebase.identity("billing")
        self.end.callback(identity.close)
        return identity

    def settings(self, **settings: Any) -> Settings:
        """Settings of the production project. Each verifier has a file of spent ids of its own."""
        url = f"sqlite:///{self.folder}/{secrets.token_hex(4)}.db"
        certificates = self.folder / "certificates.json"
        return Settings(project_id=PROJECT, certificates_file=certificates, replay_url=url, **settings)

    def store(self) -> SQLiteReplayStore:
        """A store whose memory began a minute ago."""
        path = self.folder / f"{secrets.token_hex(4)}.db"
        asyncio.run(_begin(SQLiteReplayStore(path, clock=lambda: time.time() - 60)))
        return SQLiteReplayStore(path)

    def verifier(self, store: SQLiteReplayStore) -> TokenVerifier:
        settings = self.settings()
        return TokenVerifier("product", settings, firebase=KnownIdentities(settings), replay=store)

    def new_token(self) -> str:
        return service_token(self.issuer.keys, "billing", "product")


async def _begin(store: SQLiteReplayStore) -> None:
    with suppress(StoreIsNew):
        await store.ready()
    await store.aclose()


def certificates(around: Surroundings) -> Use:
    cache = CertificateCache(CertificateFile(around.folder / "certificates.json"))

    async def use() -> None:
        await cache.ensure_key(around.issuer.keys.signing.key_id)
        assert cache("https://certificates").status == 200

    return use


def identity_status(around: Surroundings) -> Use:
    cache = StatusCache(around.firebase)
    around.firebase.issue("svc:billing", provider="custom")

    async def use() -> None:
        assert await cache.is_alive("svc:billing", int(time.time()))
        cache.forget("svc:billing")

    return use


def firebase_admin(around: Surroundings) -> Use:
    firebase = KnownIdentities(around.settings())

    async def use() -> None:
        claims = await firebase.verify(unverified(around.new_token()), around.issuer.keys.signing.key_id)
        assert claims["sub"] == "svc:billing"

    return use


def verifier(around: Surroundings) -> Use:
    """A verifier that nothing opens."""
    return _using(around, around.verifier(around.store()))


def opened_verifier(around: Surroundings) -> Use:
    """A verifier that each loop opens and leaves open."""
    verifier = around.verifier(around.store())
    authorize = _using(around, verifier)

    async def use() -> None:
        await verifier.open()
        await authorize()

    return use


def verifier_in_blocks(around: Surroundings) -> Use:
    """A verifier that each loop opens and closes."""
    verifier = around.verifier(around.store())
    authorize = _using(around, verifier)

    async def use() -> None:
        async with verifier:
            await authorize()

    return use


def _using(around: Surroundings, verifier: TokenVerifier) -> Use:
    async def use() -> None:
        call = Call("GET", "/", [around.new_token()], proofs=[], authorizations=[])
        assert str(await verifier.authorize(Admission.of(False, {"billing"}), call)) == "svc:billing"
        with pytest.raises(Refusal) as caught:
            await verifier.authorize(Admission.of(False, {"billing"}), call)
        assert caught.value.code == "token_replayed"

    return use


def an_app(around: Surroundings) -> FastAPI:
    app = FastAPI()
    protect(app, around.verifier(around.store()))

    @app.get("/products")
    async def list_products(caller: Annotated[Caller, Depends(allow(services={"billing"}))]) -> str:
        return str(caller)

    return app


def app(around: Surroundings) -> Use:
    """An app without its lifespan: Starlette's test client has a new loop for each request then."""
    held = an_app(around)
    client = TestClient(held)

    async def use() -> None:
        await asyncio.to_thread(_call_app, client, around.new_token())

    return use


def app_with_lifespan(around: Surroundings) -> Use:
    """An app that is started and stopped for each use, as tests do."""
    held = an_app(around)

    def call() -> None:
        with TestClient(held) as client:
            _call_app(client, around.new_token())

    async def use() -> None:
        await asyncio.to_thread(call)

    return use


def _call_app(client: TestClient, token: str) -> None:
    answers = [client.get("/products", headers={SERVICE_TOKEN_HEADER: token}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 401]
    assert answers[1].json()["code"] == "token_replayed"


def starlette_app(around: Surroundings) -> Use:
    """An app of Starlette, without its lifespan."""

    @starlette_adapter.allow(services={"billing"})
    async def list_products(request: StarletteRequest, caller: Caller) -> PlainTextResponse:
        return PlainTextResponse(str(caller))

    held = Starlette(routes=[Route("/products", list_products)])
    starlette_adapter.protect(held, around.verifier(around.store()))
    client = TestClient(held)

    async def use() -> None:
        await asyncio.to_thread(_call_app, client, around.new_token())

    return use


def flask_app(around: Surroundings) -> Use:
    """An app of Flask, whose verifier runs in a background thread."""
    held = Flask("product")
    flask_adapter.protect(held, around.verifier(around.store()))

    @held.get("/products")
    @flask_adapter.allow(services={"billing"})
    def list_products(caller: Caller) -> str:
        return str(caller)

    def call() -> None:
        headers = {SERVICE_TOKEN_HEADER: around.new_token()}
        assert [held.test_client().get("/products", headers=headers).status_code for _ in range(2)] == [200, 401]

    async def use() -> None:
        await asyncio.to_thread(call)

    return use


def function(around: Surroundings) -> Use:
    """A Firebase function."""
    callee = Callee(around.verifier(around.store()))

    @callee.allow(services={"billing"})
    def estimate(request: Request, caller: Caller) -> Response:
        return Response(str(caller))

    async def use() -> None:
        headers = {SERVICE_TOKEN_HEADER: around.new_token()}
        statuses = [(await asyncio.to_thread(estimate, request_to(headers=headers))).status_code for _ in range(2)]
        assert statuses == [200, 401]

    return use


def signer(around: Surroundings) -> Use:
    """The minter that signs in this process."""
    with environment(GOOGLE_APPLICATION_CREDENTIALS=str(around.account)):
        minter = AdminMinter(Settings(project_id=PROJECT))

    async def use() -> None:
        token = unverified(await minter.sign(ServiceClaims.fresh("billing", "product", minted_at=0)))
        assert token.payload["uid"] == "svc:billing"

    return use


def token_service_client(around: Surroundings) -> Use:
    """The minter that asks the token service, with a private key."""
    path = around.folder / "billing.pem"
    private = ec.generate_private_key(ec.SECP256R1())
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private.private_bytes(*formats))
    minter = BrokerMinter(
        around.settings(token_service_url=TOKEN_SERVICE),
        "billing",
        credential=PrivateKeyCredential("billing", TOKEN_SERVICE, path),
    )
    claims = ServiceClaims.fresh("billing", "product", minted_at=0)
    network = httpx.MockTransport(lambda _: httpx.Response(200, json={"custom_token": around.firebase.mint(claims)}))

    async def use() -> None:
        async with Connections(transport=network) as connections:
            assert unverified(await minter.mint(connections, claims)).payload["uid"] == "svc:billing"

    return use


def token_service(around: Surroundings) -> Use:
    """The token service, with a registered key."""
    private = ec.generate_private_key(ec.SECP256R1())
    path = around.folder / "warehouse.pem"
    formats = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private.private_bytes(*formats))
    policy = Policy.parse(
        f'[services.warehouse]\nkeys = [{{ jwk = {inline(public_jwk(private.public_key()))} }}]\ncalls = ["product"]\n'
        "[services.product]\n",
        "policy.toml",
    )
    with environment(GOOGLE_APPLICATION_CREDENTIALS=str(around.account)):
        service = TokenService(
            policy,
            around.settings(token_service_url=TOKEN_SERVICE),
            status=StatusCache(around.firebase),
            replay=around.store(),
        )
    credential = PrivateKeyCredential("warehouse", TOKEN_SERVICE, path)

    async def use() -> None:
        authorization = f"Bearer {await credential.assertion('svc:warehouse')}"
        body = b'{"audience": "product", "mode": "fresh"}'
        issued = await service.issue([authorization], body)
        assert unverified(issued.custom_token).payload["uid"] == "svc:warehouse"
        with pytest.raises(Refusal):
            await service.issue([authorization], body)

    return use


def identity(around: Surroundings, mode: Mode = "fresh") -> Use:
    """A service identity in fresh mode, whose calls each get a token of their own."""
    held = around.identity()
    auth = held.to("product", mode)
    seen: set[str] = set()

    def answer(request: httpx.Request) -> httpx.Response:
        token = request.headers[SERVICE_TOKEN_HEADER]
        assert mode == "proof" or token not in seen
        seen.add(token)
        return httpx.Response(200, text=request.headers.get("DPoP", ""))

    transport = httpx.MockTransport(answer)

    async def use() -> None:
        async with httpx.AsyncClient(transport=transport, auth=auth) as client:
            proofs = [(await client.get("https://product/products")).text for _ in range(2)]
        assert (proofs[0] != proofs[1]) is (mode == "proof")
        assert await asyncio.to_thread(held.token_sync, "product", mode)

    return use


def identity_with_proofs(around: Surroundings) -> Use:
    """A service identity in proof mode, whose calls each get a proof of their own."""
    return identity(around, "proof")


def requests_adapter(around: Surroundings) -> Use:
    """The adapter for requests, in a session that a module holds too."""
    session = requests.Session()
    session.auth = RequestsAuth(around.identity(), "product")

    async def use() -> None:
        tokens = [(await asyncio.to_thread(session.get, around.echo_url)).text for _ in range(2)]
        assert unverified(tokens[0]).payload["sub"] == "svc:billing"
        assert tokens[0] != tokens[1]

    return use


def aiohttp_adapter(around: Surroundings) -> Use:
    """The adapter for aiohttp. A session of aiohttp belongs to one event loop, and the adapter to none."""
    auth = AiohttpAuth(around.identity(), "product")

    async def use() -> None:
        async with aiohttp.ClientSession(middlewares=[auth]) as session:
            tokens = [await (await session.get(around.echo_url)).text() for _ in range(2)]
        assert unverified(tokens[0]).payload["sub"] == "svc:billing"
        assert tokens[0] != tokens[1]

    return use


def proofs(around: Surroundings) -> Use:
    """A key for proofs, and the verifier of proofs and nonces."""
    key, verifier = ProofKey(), ProofVerifier()
    nonces = Nonces("a secret of 32 characters or more", "product")
    token = around.new_token()

    async def use() -> None:
        now = time.time()
        sent = key.proof("GET", f"{BASE_URL}/", token, issued_at=now, nonce=nonces.issue(now))
        proof = verifier.verify(
            [sent],
            method="GET",
            url=f"{BASE_URL}/",
            token_sha256=hashlib.sha256(token.encode()).digest(),
            key_thumbprint=key.thumbprint,
            now=now,
            clock_skew_seconds=5,
        )
        assert nonces.accepts(proof.nonce, now)

    return use


HELD: list[Callable[[Surroundings], Use]] = [
    certificates,
    identity_status,
    firebase_admin,
    verifier,
    opened_verifier,
    verifier_in_blocks,
    app,
    app_with_lifespan,
    starlette_app,
    flask_app,
    function,
    signer,
    token_service_client,
    token_service,
    identity,
    identity_with_proofs,
    requests_adapter,
    aiohttp_adapter,
    proofs,
]


@pytest.fixture(scope="module")
def keys() -> KeyRing:
    return KeyRing()


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_service_account(tmp_path_factory.mktemp("account") / "account.json")


class EchoServer(ThreadingHTTPServer):
    """A server that twelve threads can connect to at once: the default is five, and the others would wait a second."""

    request_queue_size = 2 * THREADS


class _Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers[SERVICE_TOKEN_HEADER].encode())

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def echo_url() -> Iterator[str]:
    with EchoServer(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def around(tmp_path: Path, keys: KeyRing, account: Path, echo_url: str) -> Iterator[Surroundings]:
    with environment(GOOGLE_APPLICATION_CREDENTIALS=str(account)):
        around = Surroundings(tmp_path, keys, account, echo_url)
        with around.end:
            yield around


@pytest.mark.parametrize("hold", HELD)
class TestWhatAModuleHolds:
    """An object that is made once, by a module, and used in every way that a process can."""

    def test_two_event_loops_one_after_the_other(
        self, around: Surroundings, hold: Callable[[Surroundings], Use]
    ) -> None:
        """What the first loop left behind does not disturb the second one."""
        use = hold(around)
        asyncio.run(use())
        asyncio.run(use())

    async def test_twelve_threads(self, around: Surroundings, hold: Callable[[Surroundings], Use]) -> None:
        """Twelve threads use it at the same time, each in an event loop of its own."""
        use, together = await asyncio.to_thread(hold, around), threading.Barrier(THREADS)

        async def use_together() -> None:
            together.wait(30)
            await use()

        await asyncio.gather(*(in_own_loop(use_together) for _ in range(THREADS)))

    @pytest.mark.process
    def test_before_a_fork_and_after(self, around: Surroundings, hold: Callable[[Surroundings], Use]) -> None:
        """It is used before the fork, then in the child, and in the parent again."""
        use = hold(around)
        asyncio.run(use())

        async def in_child() -> int:
            await use()
            return 1

        assert in_forked_child(in_child) == 1
        asyncio.run(use())


class IdentityToolkit(ThreadingHTTPServer):
    """Answers look-ups of identities on kept-alive connections, and records who connected."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.clients: list[int] = []


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: IdentityToolkit

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.clients.append(self.client_address[1])
        body = b'{"users": [{"localId": "svc:billing", "validSince": "7", "createdAt": "7000"}]}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.mark.process
def test_a_forked_child_has_http_connections_of_its_own() -> None:
    """Parent and child would read each other's answers on a connection that both have."""
    with IdentityToolkit() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        with environment(FIREBASE_AUTH_EMULATOR_HOST=host):
            directory = AdminDirectory(Settings(project_id="demo-forking"))

            async def look_up() -> int:
                found = await directory.look_up(["svc:billing"])
                return int(found == {"svc:billing": IdentityStatus(disabled=False, valid_since=7, created_at=7)})

            assert asyncio.run(look_up()) == 1
            assert in_forked_child(look_up) == 1
            assert asyncio.run(look_up()) == 1
        server.shutdown()
    before, in_child, after = server.clients
    assert before == after
    assert in_child != before
