"""Custom tokens: signed in this process by firebase-admin, or issued by the token service."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typing_extensions import override

from mstoken import ServiceIdentity, Settings
from mstoken.caller.connections import Connections
from mstoken.caller.credentials import Credential
from mstoken.caller.minting import AdminMinter, BrokerMinter
from mstoken.caller.signin import LONGEST_PAUSE_SECONDS
from mstoken.claims import ServiceClaims
from mstoken.errors import SettingsError, SignInError, SignInRefused, SignInUnavailable
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from mstoken.strict_jwt import base64url, unverified
from mstoken.testing import FakeFirebase
from mstoken.wire import Mode
from tests.clock import FakeClock
from tests.mstoken.caller.fakes import DEADLINE_SECONDS, RecordedSleep, Scripted, claims_of, ids_of
from tests.silent_server import SilentServer

ROOT = Path(__file__).parents[3]
URL = "https://tokens.example/token"
FRESH = ServiceClaims.fresh("billing", "product", minted_at=0)
BOUND = ServiceClaims.bound("billing", "product", "t" * 43, minted_at=0)
CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
SIGNER = "signer@real-shop.iam.gserviceaccount.com"


def pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Machine:
    """The environment of a service: its Google credentials, and where its requests go."""

    def __init__(self, folder: Path, variables: pytest.MonkeyPatch) -> None:
        self._file = folder / "credentials.json"
        self._variables = variables
        variables.delenv(AUTH_EMULATOR_VARIABLE, raising=False)
        variables.setenv(CREDENTIALS_VARIABLE, str(self._file))

    def set_credentials(self, **credentials: Any) -> None:
        """Write Application Default Credentials. Before that, the file does not exist."""
        self._file.write_text(json.dumps(credentials))

    def set_proxy(self, *, https: int) -> None:
        """Send https requests, which go to Google, to a port of this machine."""
        self._variables.setenv("https_proxy", f"http://127.0.0.1:{https}")
        for variable in ("no_proxy", "NO_PROXY", "http_proxy"):
            self._variables.delenv(variable, raising=False)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        yield port


@pytest.fixture(scope="module")
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


ACCESS_TOKEN = '{"access_token": "access-secret", "expires_in": 3600, "token_type": "Bearer"}'


@asynccontextmanager
async def token_server(status: int, body: str) -> AsyncIterator[int]:
    """Run a server of access tokens that gives this answer to every request. Yield its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"POST /token" in await reader.readuntil(b"\r\n\r\n")
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
        writer.write(f"HTTP/1.1 {status} x\r\n{length}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        yield port


def service_account(key: rsa.RSAPrivateKey, token_port: int) -> dict[str, str]:
    """Return the key file of a service account that gets access tokens at `token_port`."""
    return {
        "type": "service_account",
        "project_id": "real-shop",
        "client_email": SIGNER,
        "private_key_id": "1",
        "private_key": pem(key).decode(),
        "token_uri": f"http://127.0.0.1:{token_port}/token",
    }


def impersonated(key: rsa.RSAPrivateKey, token_port: int) -> dict[str, Any]:
    """Return credentials that sign through IAM, with access tokens from `token_port`."""
    return {
        "type": "impersonated_service_account",
        "source_credentials": service_account(key, token_port),
        "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
        f"{SIGNER}:generateAccessToken",
        "delegates": [],
        "quota_project_id": "real-shop",
    }


USER = {
    "type": "authorized_user",
    "client_id": "gcloud",
    "client_secret": "made-up",
    "refresh_token": "made-up",
    "quota_project_id": "real-shop",
}
"""The credentials of a person who has logged in with gcloud. They cannot sign."""


def admin_minter(project_id: str) -> AdminMinter:
    """Return a minter for production."""
    return AdminMinter(Settings(project_id=project_id, emulator_host=None))


class TestAdminMinter:
    """Custom tokens that firebase-admin signs in this process."""

    async def test_a_custom_token_for_the_emulator(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        """It has the uid and the developer claims. The emulator needs no signature."""
        monkeypatch.setenv(AUTH_EMULATOR_VARIABLE, "127.0.0.1:9099")
        minter = AdminMinter(Settings(project_id="demo-minting"), clock=FakeClock(1_800_000_000.9))
        token = unverified(await minter.sign(FRESH))
        assert token.payload["uid"] == "svc:billing"
        assert token.payload["claims"] == FRESH.with_minted_at(1_800_000_000).as_developer_claims()
        assert token.signature == b""

    async def test_the_signer_says_when_a_token_was_minted(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is the time of its own clock, whatever the claims say, and the same claims can be signed again later."""
        monkeypatch.setenv(AUTH_EMULATOR_VARIABLE, "127.0.0.1:9099")
        clock = FakeClock()
        minter = AdminMinter(Settings(project_id="demo-minting"), clock=clock)
        for _ in range(2):
            claims = unverified(await minter.sign(BOUND)).payload["claims"]
            assert claims == BOUND.with_minted_at(clock()).as_developer_claims()
            clock.advance(3600)

    async def test_a_service_account_signs_with_its_key(
        self, machine: Machine, refusing_port: int, signing_key: rsa.RSAPrivateKey
    ) -> None:
        """A key file needs no request to sign."""
        machine.set_credentials(**service_account(signing_key, refusing_port))
        token = await admin_minter("real-shop-with-key").sign(FRESH)
        audience = unverified(token).payload["aud"]
        expected = {"issuer": SIGNER, "audience": audience, "subject": SIGNER}
        claims = jwt.decode(token, signing_key.public_key(), ["RS256"], **expected)
        assert claims["uid"] == "svc:billing"
        assert claims["claims"] == FRESH.with_minted_at(claims["claims"]["ms"]["iat"]).as_developer_claims()
        assert 0 <= time.time() - claims["claims"]["ms"]["iat"] < DEADLINE_SECONDS

    @pytest.mark.parametrize("content", [None, "{", json.dumps(USER)], ids=["no file", "no JSON", "of a person"])
    def test_credentials_that_cannot_sign_are_reported_at_once(
        self, machine: Machine, tmp_path: Path, content: str | None
    ) -> None:
        """The program does not start. firebase-admin would ask for a metadata server first, which is not there."""
        if content is not None:
            (tmp_path / "credentials.json").write_text(content)
        with pytest.raises(SettingsError, match=r"credentials\.json"):
            admin_minter("real-shop-without-credentials")
        with pytest.raises(SettingsError):
            ServiceIdentity("billing", Settings(project_id="real-shop", emulator_host=None, api_key="web-key"))

    def test_the_emulator_needs_no_credentials(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the emulator, the credentials of a person are fine."""
        monkeypatch.setenv(AUTH_EMULATOR_VARIABLE, "127.0.0.1:9099")
        machine.set_credentials(**USER)
        AdminMinter(Settings(project_id="demo-minting"))

    async def test_an_outage_of_iam(self, machine: Machine, refusing_port: int, signing_key: rsa.RSAPrivateKey) -> None:
        """IAM's signBlob may answer the next attempt."""
        async with token_server(200, ACCESS_TOKEN) as port:
            machine.set_credentials(**impersonated(signing_key, port))
            machine.set_proxy(https=refusing_port)
            with pytest.raises(SignInUnavailable, match=r"could not be signed \(TokenSignError\)"):
                await admin_minter("real-shop-without-iam").sign(FRESH)

    async def test_a_signature_has_a_deadline(self, machine: Machine, signing_key: rsa.RSAPrivateKey) -> None:
        """A server that never answers is an outage, and the call does not wait for it."""
        with SilentServer() as server:
            machine.set_credentials(**impersonated(signing_key, server.port))
            minter = AdminMinter(Settings(project_id="real-shop-silent", emulator_host=None), deadline_seconds=0.1)
            with pytest.raises(SignInUnavailable, match=r"the custom token could not be signed within 0\.1 s"):
                await asyncio.wait_for(minter.sign(FRESH), DEADLINE_SECONDS)
            server.wait_for_request()

    async def test_minting_does_not_block_the_event_loop(
        self, machine: Machine, refusing_port: int, signing_key: rsa.RSAPrivateKey
    ) -> None:
        """A token server in the same event loop can answer."""
        async with token_server(403, "{}") as port:
            machine.set_credentials(**impersonated(signing_key, port))
            machine.set_proxy(https=refusing_port)
            with pytest.raises(SignInError):
                await asyncio.wait_for(admin_minter("real-shop-without-signer").sign(FRESH), DEADLINE_SECONDS)

    def test_environment_and_settings_must_name_the_same_emulator(self, machine: Machine) -> None:
        """firebase-admin reads the environment, so it could sign for the emulator what is meant for production."""
        with pytest.raises(SettingsError, match="both must be the same"):
            AdminMinter(Settings(project_id="demo-minting-elsewhere", emulator_host="127.0.0.1:9099"))


class NumberedAssertions(Credential):
    """A credential with a new assertion each time. It counts refusals, and raises `error` while that is set."""

    def __init__(self) -> None:
        self.uids: list[str] = []
        self.refusals = 0
        self.error: SignInError | None = None

    @override
    async def assertion(self, uid: str) -> str:
        if self.error is not None:
            raise self.error
        self.uids.append(uid)
        return f"assertion-{len(self.uids)}"

    @override
    def refused(self) -> None:
        self.refusals += 1


class Broker(Scripted):
    """A token service that gives these answers in turn, and a minter that asks it as svc:billing."""

    def __init__(self, *answers: httpx.Response | httpx.HTTPError) -> None:
        super().__init__(answers)
        self.credential = NumberedAssertions()
        self._minter = BrokerMinter(settings(), "billing", credential=self.credential, sleep=RecordedSleep())

    async def mint(self, claims: ServiceClaims = FRESH) -> str:
        async with Connections(transport=httpx.MockTransport(self)) as connections:
            return await self._minter.mint(connections, claims)


def settings(**changes: Any) -> Settings:
    """Return the settings of a service in production."""
    values = {"project_id": "real-shop", "emulator_host": None, "api_key": "web-key", "token_service_url": URL}
    return Settings(**(values | changes))


def custom_token(**payload: Any) -> str:
    """Return a custom token as the token service issues it, with a made-up signature."""
    return ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "RS256"}, payload)) + ".c2lnbmVk"


def issued(token: object) -> httpx.Response:
    return httpx.Response(200, json={"custom_token": token})


def refusal(status: int, code: str = "audience_not_allowed") -> httpx.Response:
    """Return a refusal of the token service: problem details (RFC 9457)."""
    return httpx.Response(status, json={"status": status, "code": code, "detail": "The policy does not let billing."})


CUSTOM_TOKEN = custom_token(uid="svc:billing")


class TestBrokerMinter:
    """Custom tokens from the token service."""

    async def test_the_request_for_a_fresh_token(self) -> None:
        """It has audience, mode and assertion. The id is not sent, because the token service makes one."""
        broker = Broker(issued(CUSTOM_TOKEN))
        await broker.mint(FRESH)
        (request,) = broker.requests
        assert (request.method, str(request.url)) == ("POST", URL)
        assert request.headers["Authorization"] == "Bearer assertion-1"
        assert request.headers["Content-Type"] == "application/json"
        assert json.loads(request.content) == {"audience": "product", "mode": "fresh"}
        assert set(request.extensions["timeout"].values()) == {5.0}

    async def test_the_request_for_a_bound_token(self) -> None:
        """It also has the thumbprint of the key."""
        broker = Broker(issued(CUSTOM_TOKEN))
        await broker.mint(BOUND)
        (request,) = broker.requests
        assert json.loads(request.content) == {"audience": "product", "mode": "proof", "jkt": "t" * 43}

    async def test_the_custom_token_is_returned(self) -> None:
        """The other members of the answer are ignored."""
        broker = Broker(httpx.Response(200, json={"custom_token": CUSTOM_TOKEN, "expires_in": 3600}))
        assert await broker.mint() == CUSTOM_TOKEN
        assert (broker.credential.uids, broker.credential.refusals) == (["svc:billing"], 0)

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    async def test_each_attempt_has_an_assertion_of_its_own(self, status: int) -> None:
        """The token service accepts each assertion once."""
        broker = Broker(refusal(status), refusal(status), issued(CUSTOM_TOKEN))
        assert await broker.mint() == CUSTOM_TOKEN
        assert [request.headers["Authorization"] for request in broker.requests] == [
            f"Bearer assertion-{number}" for number in (1, 2, 3)
        ]
        assert broker.credential.refusals == 0

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (400, "request_invalid"),
            (401, "credential_expired"),
            (401, "credential_unknown"),
            (403, "audience_not_allowed"),
            (404, "not_found"),
        ],
    )
    async def test_a_refusal_is_final(self, status: int, code: str) -> None:
        """The error has the code of the refusal. The credential is told, because it may get another assertion."""
        broker = Broker(refusal(status, code))
        with pytest.raises(SignInRefused, match=rf"the token service answered {status} {code}$") as caught:
            await broker.mint()
        assert caught.value.identity == "svc:billing"
        assert (len(broker.requests), broker.credential.refusals) == (1, 1)

    async def test_a_refusal_after_an_outage_is_final(self) -> None:
        """The credential is told if the second attempt is refused."""
        broker = Broker(refusal(503), refusal(401, "credential_expired"))
        with pytest.raises(SignInRefused, match="credential_expired"):
            await broker.mint()
        assert (len(broker.requests), broker.credential.refusals) == (2, 1)

    @pytest.mark.parametrize("status", [429, 500, 503])
    async def test_an_outage(self, status: int) -> None:
        """After three attempts the service is unavailable. An outage is not a refusal of the credential."""
        broker = Broker(*[refusal(status, "issuer_unavailable")] * 3)
        with pytest.raises(SignInUnavailable, match=rf"the token service answered {status} issuer_unavailable$"):
            await broker.mint()
        assert (len(broker.requests), broker.credential.refusals) == (3, 0)

    async def test_a_network_error(self) -> None:
        """A network error is not a refusal of the credential."""
        broker = Broker(httpx.ConnectTimeout("x"))
        with pytest.raises(SignInUnavailable, match=r"the token service could not be reached \(ConnectTimeout\)$"):
            await broker.mint()
        assert broker.credential.refusals == 0

    @pytest.mark.parametrize("kind", [SignInRefused, SignInUnavailable])
    async def test_without_an_assertion_nothing_is_sent(self, kind: type[SignInError]) -> None:
        """The error of the credential is raised as it is."""
        broker = Broker()
        broker.credential.error = kind("svc:billing", "no assertion")
        with pytest.raises(kind) as caught:
            await broker.mint()
        assert caught.value is broker.credential.error
        assert broker.requests == []

    @pytest.mark.parametrize(
        "response",
        [
            httpx.Response(200, json={}),
            httpx.Response(200, json={"custom_token": None}),
            httpx.Response(200, json=CUSTOM_TOKEN),
            httpx.Response(200, text=CUSTOM_TOKEN),
        ],
    )
    async def test_an_answer_without_a_custom_token(self, response: httpx.Response) -> None:
        """A 200 without a custom token is an outage."""
        with pytest.raises(SignInUnavailable, match=r"the token service answered 200 without a member custom_token$"):
            await Broker(response).mint()

    @pytest.mark.parametrize(
        "uid", ["svc:product", "svc:billing ", "SVC:BILLING", "billing", "alice", "", None, 7, ["svc:billing"]]
    )
    async def test_a_custom_token_for_another_identity(self, uid: object) -> None:
        """The process has the credential of another service. The error names the identity of the custom token."""
        with pytest.raises(SignInRefused) as caught:
            await Broker(issued(custom_token(uid=uid))).mint()
        assert caught.value.identity == "svc:billing"
        assert caught.value.reason.startswith(f"the token service issued a custom token for {uid}: ")

    @pytest.mark.parametrize("token", [custom_token(), "custom-secret", "a.b.c", "e30.e30", "\ud800", "x" * 10_000])
    async def test_a_malformed_custom_token(self, token: str) -> None:
        """It is refused, and the error does not repeat it."""
        response = httpx.Response(200, content=json.dumps({"custom_token": token}).encode())
        with pytest.raises(SignInRefused, match="the token service issued a custom token for None") as caught:
            await Broker(response).mint()
        assert token not in str(caught.value)

    @pytest.mark.parametrize(
        "answer",
        [
            issued(custom_token(uid="svc:product")),
            issued(None),
            refusal(403),
            refusal(503),
            httpx.ConnectError("assertion-1"),
        ],
    )
    async def test_errors_never_contain_a_token(self, answer: httpx.Response | httpx.HTTPError) -> None:
        """Neither the assertion nor the custom token is in the text of an error."""
        with pytest.raises(SignInError) as caught:
            await Broker(*[answer] * 3).mint()
        text = f"{caught.value} {caught.value!r}"
        assert "assertion-" not in text
        assert ".c2lnbmVk" not in text

    def test_the_settings_must_name_a_token_service(self) -> None:
        """A missing URL is reported when the program starts."""
        with pytest.raises(SettingsError, match="MSTOKEN_TOKEN_SERVICE_URL is not set"):
            BrokerMinter(settings(token_service_url=None), "billing", credential=NumberedAssertions())

    def test_the_key_must_be_readable(self, tmp_path: Path) -> None:
        """A missing key is reported when the program starts, also by `ServiceIdentity`."""
        without_key = settings(private_key_file=tmp_path / "missing.pem")
        with pytest.raises(SettingsError, match="MSTOKEN_PRIVATE_KEY_FILE"):
            BrokerMinter(without_key, "billing")
        with pytest.raises(SettingsError, match="MSTOKEN_PRIVATE_KEY_FILE"):
            ServiceIdentity("billing", without_key)

    def test_without_a_key_nothing_is_requested_at_the_start(self) -> None:
        """The identity token of the platform is fetched at the first call."""
        BrokerMinter(settings(), "billing")


class Network(httpx.AsyncBaseTransport):
    """A network with a token service, which knows Billing's public key, and with Identity Toolkit.

    While `refusal` is set, the token service answers it. `sleep` returns at once for the pauses between attempts.
    """

    def __init__(self, public_key: ec.EllipticCurvePublicKey) -> None:
        self.firebase = FakeFirebase("real-shop")
        self.refusal: httpx.Response | None = None
        self.hosts: list[str] = []
        self.assertions: list[str] = []
        self.pauses: list[float] = []
        self._public_key = public_key

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if seconds > LONGEST_PAUSE_SECONDS:
            await asyncio.Event().wait()  # The sleep until the next renewal must not end, or renewals would spin.

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.hosts.append(request.url.host)
        content = json.loads(request.content)
        return self._issue(request, content) if request.url == URL else self._sign_in(content)

    def _issue(self, request: httpx.Request, content: dict[str, str]) -> httpx.Response:
        if self.refusal is not None:
            return self.refusal
        assertion = jwt.decode(
            request.headers["Authorization"].removeprefix("Bearer "), self._public_key, ["ES256"], audience=URL
        )
        self.assertions.append(assertion["jti"])
        service, audience = assertion["iss"], content["audience"]
        claims = (
            ServiceClaims.bound(service, audience, content["jkt"], minted_at=0)
            if content["mode"] == "proof"
            else ServiceClaims.fresh(service, audience, minted_at=0)
        )
        return issued(self.firebase.mint(claims))

    def _sign_in(self, content: dict[str, str]) -> httpx.Response:
        custom = unverified(content["token"]).payload
        token = self.firebase.issue(custom["uid"], provider="custom", **custom["claims"])
        return httpx.Response(200, json={"idToken": token})


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def network(key: ec.EllipticCurvePrivateKey) -> Network:
    return Network(key.public_key())


@pytest.fixture
def billing(key: ec.EllipticCurvePrivateKey, network: Network, tmp_path: Path) -> Iterator[ServiceIdentity]:
    """The identity of Billing in production, with a private key."""
    file = tmp_path / "billing.pem"
    file.write_bytes(pem(key))
    identity = ServiceIdentity("billing", settings(private_key_file=file), transport=network, sleep=network.sleep)
    with identity:
        yield identity


TOKEN_SERVICE, IDENTITY_TOOLKIT = "tokens.example", "identitytoolkit.googleapis.com"


class TestIdentity:
    """If the settings name a token service, a `ServiceIdentity` signs in with its custom tokens."""

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    def test_token_sync(self, billing: ServiceIdentity, network: Network, mode: Mode) -> None:
        """A token is a request to the token service, and a sign-in."""
        claims = claims_of(billing.token_sync("product", mode))
        assert (claims.service, claims.audience, claims.mode) == ("billing", "product", mode)
        assert network.hosts == [TOKEN_SERVICE, IDENTITY_TOOLKIT]

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    async def test_token(self, billing: ServiceIdentity, network: Network, mode: Mode) -> None:
        """The same is true in an event loop."""
        claims = claims_of(await billing.token("product", mode))
        assert (claims.service, claims.audience, claims.mode) == ("billing", "product", mode)
        assert network.hosts == [TOKEN_SERVICE, IDENTITY_TOOLKIT]

    def test_a_bound_token_is_bound_to_the_key_of_this_process(self, billing: ServiceIdentity) -> None:
        """The token has the thumbprint of the key that signs the proofs (RFC 7638)."""
        token = billing.token_sync("product", "proof")
        jwk = unverified(billing.proof("GET", "https://product.example", token, None)).header["jwk"]
        members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
        assert claims_of(token).key_thumbprint == base64url(sha256(members.encode()).digest())

    async def test_no_two_tokens_are_the_same(self, billing: ServiceIdentity, network: Network) -> None:
        """Calls at the same time get different tokens, for different assertions."""
        tokens = await asyncio.gather(*(billing.token("product") for _ in range(20)))
        assert len(ids_of(tokens)) == 20
        assert len(set(network.assertions)) == len(network.assertions) >= 20

    async def test_a_refusal_of_the_token_service(self, billing: ServiceIdentity, network: Network) -> None:
        """The call raises the error without a sign-in. Once the policy is corrected, the next call succeeds."""
        network.refusal = refusal(403)
        with pytest.raises(SignInRefused, match="audience_not_allowed"):
            await billing.token("product")
        with pytest.raises(SignInRefused, match="audience_not_allowed"):
            await asyncio.to_thread(billing.token_sync, "product")
        assert IDENTITY_TOOLKIT not in network.hosts
        network.refusal = None
        assert await billing.token("product")

    async def test_an_outage_of_the_token_service(self, billing: ServiceIdentity, network: Network) -> None:
        """The call raises the error after three attempts, with the `sleep` of the identity between them."""
        network.refusal = refusal(503, "issuer_unavailable")
        with pytest.raises(SignInUnavailable, match="issuer_unavailable"):
            await billing.token("product")
        assert network.hosts == [TOKEN_SERVICE] * 3
        assert len(network.pauses) == 2

    async def test_without_a_token_service_this_process_signs(
        self, network: Network, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On a laptop, firebase-admin makes the custom tokens."""
        monkeypatch.setenv(AUTH_EMULATOR_VARIABLE, "127.0.0.1:9099")
        monkeypatch.delenv("MSTOKEN_TOKEN_SERVICE_URL", raising=False)
        laptop = Settings(project_id="demo-without-token-service")
        async with ServiceIdentity("billing", laptop, transport=network) as identity:
            assert claims_of(await identity.token("product")).service == "billing"
        assert network.hosts == ["127.0.0.1"]


@pytest.mark.process
def test_a_forked_child_authenticates_itself(tmp_path: Path) -> None:
    """Parent and child have different assertions, tokens and keys after a fork."""
    script = f"""
        import json, logging, os, sys
        from pathlib import Path
        from cryptography.hazmat.primitives.asymmetric import ec
        from mstoken import ServiceIdentity
        from tests.mstoken.caller.test_minting import Network, pem, settings

        logging.getLogger("asyncio").setLevel(logging.ERROR)
        key = ec.generate_private_key(ec.SECP256R1())
        file = Path({str(tmp_path)!r}) / "billing.pem"
        file.write_bytes(pem(key))
        network = Network(key.public_key())
        with ServiceIdentity("billing", settings(private_key_file=file), transport=network) as billing:
            billing.token_sync("product")
            billing.token_sync("product", "proof")
            network.assertions.clear()
            child = os.fork()
            tokens = [billing.token_sync("product", mode) for mode in ("fresh", "proof")]
        os.write(1, (json.dumps([tokens, network.assertions]) + "\\n").encode())
        if child:
            _, status = os.waitpid(child, 0)
            sys.exit(os.waitstatus_to_exitcode(status))
        """
    # This process forks while it has threads, on purpose.
    command = [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", dedent(script)]
    timeout = 2 * DEADLINE_SECONDS
    ended = subprocess.run(command, cwd=ROOT, env=os.environ, timeout=timeout, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    processes: Sequence[Any] = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(processes) == 2
    (tokens, assertions), (other_tokens, other_assertions) = processes
    assert not set(tokens) & set(other_tokens)
    assert not set(assertions) & set(other_assertions)
    keys = {claims_of(token).key_thumbprint for token in (tokens[1], other_tokens[1])}
    assert len(keys - {None}) == 2
