"""Custom tokens that the token service issues."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typing_extensions import override

from mstoken import ServiceIdentity, Settings
from mstoken.caller.connections import Connections
from mstoken.caller.credentials import Credential
from mstoken.caller.minting import BrokerMinter
from mstoken.caller.signin import LONGEST_PAUSE_SECONDS
from mstoken.claims import ServiceClaims
from mstoken.errors import SettingsError, SignInError, SignInRefused, SignInUnavailable
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from mstoken.strict_jwt import base64url, unverified
from mstoken.testing import FakeFirebase
from mstoken.wire import Mode
from tests.mstoken.caller.fakes import DEADLINE_SECONDS, RecordedSleep, Scripted, claims_of, ids_of

ROOT = Path(__file__).parents[3]
URL = "https://tokens.example/token"
FRESH = ServiceClaims.fresh("billing", "product", minted_at=0)
BOUND = ServiceClaims.bound("billing", "product", "t" * 43, minted_at=0)
CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
SIGNER = "signer@real-shop.iam.gserviceaccount.com"


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


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
        with pytest.raises(
            SignInUnavailable, match=r"the token service could not be reached at tokens.example \(ConnectTimeout\)$"
        ):
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
            ServiceIdentity("billing", without_key).prepare()

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
