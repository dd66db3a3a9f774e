"""Custom tokens from the token service: what it is asked, what its answers mean, and who asks it."""

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

from mstoken import ServiceIdentity, Settings
from mstoken.caller.broker import BrokerMinter
from mstoken.caller.exchange import LONGEST_BACKOFF_SECONDS
from mstoken.claims import ServiceClaims
from mstoken.errors import SettingsError, SignInError, SignInRefused, SignInUnavailable
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from mstoken.strict_jwt import base64url, unverified
from mstoken.testing import FakeFirebase
from tests.mstoken.caller.fakes import DEADLINE_SECONDS, Scripted, claims_of, ids_of

ROOT = Path(__file__).parents[3]
URL = "https://tokens.example/token"
FRESH = ServiceClaims.fresh("billing", "product")
BOUND = ServiceClaims.bound("billing", "product", "t" * 43)
PROOF_OF_IDENTITY = "assertion"


class Numbered:
    """A credential whose assertions are others every time; it counts how often it was refused."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refusals = 0
        self.fault: SignInError | None = None

    async def assertion(self, uid: str) -> str:
        if self.fault is not None:
            raise self.fault
        self.asked.append(uid)
        return f"{PROOF_OF_IDENTITY}-{len(self.asked)}"

    def refused(self) -> None:
        self.refusals += 1


class Broker(Scripted):
    """A token service that gives these answers in turn, and whoever asks it as svc:billing, without losing time."""

    def __init__(self, *answers: httpx.Response | httpx.HTTPError) -> None:
        super().__init__(answers)
        self.credential = Numbered()
        self.pauses: list[float] = []
        self._minter = BrokerMinter(settings(), "billing", credential=self.credential, sleep=self._sleep)

    async def mint(self, claims: ServiceClaims = FRESH) -> str:
        async with httpx.AsyncClient(transport=httpx.MockTransport(self)) as client:
            return await self._minter.mint(client, claims)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


def settings(**others: Any) -> Settings:
    """A service's in production."""
    ours = {"project_id": "real-shop", "emulator_host": None, "api_key": "web-key", "token_service_url": URL}
    return Settings(**(ours | others))


def custom_token(**payload: Any) -> str:
    """As the token service makes one, but for the signature."""
    return ".".join(base64url(json.dumps(part).encode()) for part in ({"alg": "RS256"}, payload)) + ".c2lnbmVk"


def minted(token: object) -> httpx.Response:
    return httpx.Response(200, json={"custom_token": token})


def refusal(status: int, code: str = "audience_not_allowed") -> httpx.Response:
    """As the token service refuses: with problem details (RFC 9457)."""
    return httpx.Response(status, json={"status": status, "code": code, "detail": "Policy does not let billing."})


CUSTOM_TOKEN = custom_token(uid="svc:billing")


async def test_a_fresh_token_is_asked_for_by_audience_and_mode() -> None:
    """In a POST of JSON that proves who asks; the id is the token service's to choose, so ours is not sent."""
    broker = Broker(minted(CUSTOM_TOKEN))
    await broker.mint(FRESH)
    (request,) = broker.requests
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.headers["Authorization"] == "Bearer assertion-1"
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.content) == {"audience": "product", "mode": "fresh"}
    assert set(request.extensions["timeout"].values()) == {5.0}


async def test_a_bound_token_is_asked_for_with_the_keys_thumbprint() -> None:
    """So that it is worth nothing without the key."""
    broker = Broker(minted(CUSTOM_TOKEN))
    await broker.mint(BOUND)
    (request,) = broker.requests
    assert json.loads(request.content) == {"audience": "product", "mode": "proof", "jkt": "t" * 43}


async def test_the_custom_token_comes_back_as_it_is() -> None:
    """Whatever else the token service says."""
    broker = Broker(httpx.Response(200, json={"custom_token": CUSTOM_TOKEN, "expires_in": 3600}))
    assert await broker.mint() == CUSTOM_TOKEN
    assert (broker.credential.asked, broker.credential.refusals) == (["svc:billing"], 0)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_every_attempt_has_an_assertion_of_its_own(status: int) -> None:
    """The token service takes each one once."""
    broker = Broker(refusal(status), refusal(status), minted(CUSTOM_TOKEN))
    assert await broker.mint() == CUSTOM_TOKEN
    assert [request.headers["Authorization"] for request in broker.requests] == [
        "Bearer assertion-1",
        "Bearer assertion-2",
        "Bearer assertion-3",
    ]
    assert len(broker.pauses) == 2
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
async def test_a_refusal_is_final(status: int, code: str) -> None:
    """It is told with its code, and the credential is told, too: it may have another one next time."""
    broker = Broker(refusal(status, code))
    with pytest.raises(SignInRefused, match=rf"the token service answered {status} {code}$") as caught:
        await broker.mint()
    assert caught.value.identity == "svc:billing"
    assert (len(broker.requests), broker.credential.refusals) == (1, 1)


async def test_a_refusal_after_an_outage_is_told_to_the_credential_too() -> None:
    """What the second attempt is told counts."""
    broker = Broker(refusal(503), refusal(401, "credential_expired"))
    with pytest.raises(SignInRefused, match="credential_expired"):
        await broker.mint()
    assert (len(broker.requests), broker.credential.refusals) == (2, 1)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(403, text="<html>"),
        httpx.Response(403, json=[]),
        httpx.Response(403, json={"code": None}),
        httpx.Response(403),
    ],
)
async def test_a_refusal_that_explains_nothing_is_no_obstacle(response: httpx.Response) -> None:
    """An answer of something in between, such as Cloud Run's own, is reported as well."""
    with pytest.raises(SignInRefused, match=r"the token service answered 403 without a code$"):
        await Broker(response).mint()


async def test_a_code_does_not_fill_the_log() -> None:
    """Of a long one the beginning will do."""
    with pytest.raises(SignInRefused) as caught:
        await Broker(refusal(403, "x" * 10_000)).mint()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_outage_is_told_after_three_attempts(status: int) -> None:
    """It says nothing of the credential."""
    broker = Broker(*[refusal(status, "issuer_unavailable")] * 3)
    with pytest.raises(SignInUnavailable, match=rf"the token service answered {status} issuer_unavailable$"):
        await broker.mint()
    assert (len(broker.requests), len(broker.pauses), broker.credential.refusals) == (3, 2, 0)


async def test_a_long_retry_after_is_handed_on() -> None:
    """As in signing in."""
    broker = Broker(httpx.Response(503, headers={"Retry-After": "30"}))
    with pytest.raises(SignInUnavailable) as caught:
        await broker.mint()
    assert (caught.value.retry_after_seconds, len(broker.requests)) == (30.0, 1)


@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadTimeout])
async def test_a_token_service_out_of_reach_is_unavailable(kind: type[httpx.RequestError]) -> None:
    """It says nothing of the credential."""
    broker = Broker(kind("x"))
    with pytest.raises(SignInUnavailable, match=rf"the token service could not be reached \({kind.__name__}\)$"):
        await broker.mint()
    assert broker.credential.refusals == 0


@pytest.mark.parametrize("kind", [SignInRefused, SignInUnavailable])
async def test_who_cannot_prove_itself_asks_for_nothing(kind: type[SignInError]) -> None:
    """The credential's own error comes out."""
    broker = Broker()
    broker.credential.fault = kind("svc:billing", "there is nothing to prove it with")
    with pytest.raises(kind) as caught:
        await broker.mint()
    assert caught.value is broker.credential.fault
    assert broker.requests == []


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, json={}),
        httpx.Response(200, json={"custom_token": None}),
        httpx.Response(200, json=CUSTOM_TOKEN),
        httpx.Response(200, text=CUSTOM_TOKEN),
        httpx.Response(200, text="<html>"),
    ],
)
async def test_an_answer_without_a_custom_token_is_none(response: httpx.Response) -> None:
    """200 alone is not enough."""
    with pytest.raises(SignInUnavailable, match=r"the token service answered 200 without a member custom_token$"):
        await Broker(response).mint()


@pytest.mark.parametrize(
    "uid", ["svc:product", "svc:billing ", "SVC:BILLING", "billing", "alice", "", None, 7, ["svc:billing"]]
)
async def test_a_custom_token_for_somebody_else_is_told(uid: object) -> None:
    """The token service goes by the credentials of this process: whoever deployed it gave it another's."""
    with pytest.raises(SignInRefused) as caught:
        await Broker(minted(custom_token(uid=uid))).mint()
    assert caught.value.identity == "svc:billing"
    assert caught.value.reason == f"to the token service this process is {uid}"


@pytest.mark.parametrize("token", [custom_token(), "custom-secret", "a.b.c", "e30.e30", "\ud800", "x" * 10_000])
async def test_a_custom_token_for_nobody_is_told(token: str) -> None:
    """What is none would not sign anybody in; the text does not repeat it."""
    response = httpx.Response(200, content=json.dumps({"custom_token": token}).encode())
    with pytest.raises(SignInRefused, match="to the token service this process is None") as caught:
        await Broker(response).mint()
    assert token not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        minted(custom_token(uid="svc:product")),
        minted(None),
        refusal(403),
        refusal(503),
        httpx.ConnectError(PROOF_OF_IDENTITY),
    ],
)
async def test_texts_hold_no_token(answer: httpx.Response | httpx.HTTPError) -> None:
    """Neither the one that was sent nor the one that came back."""
    with pytest.raises(SignInError) as caught:
        await Broker(*[answer] * 3).mint()
    text = f"{caught.value} {caught.value!r}"
    assert PROOF_OF_IDENTITY not in text
    assert ".c2lnbmVk" not in text


class TestSettings:
    """What is wrong with a program is said when it starts."""

    def test_there_must_be_a_token_service(self) -> None:
        """Without a URL there is nobody to ask."""
        with pytest.raises(SettingsError, match="MSTOKEN_TOKEN_SERVICE_URL is not set"):
            BrokerMinter(settings(token_service_url=None), "billing", credential=Numbered())

    def test_a_key_must_be_readable(self, tmp_path: Path) -> None:
        """At the start, not at the first call."""
        with pytest.raises(SettingsError, match="MSTOKEN_PRIVATE_KEY_FILE"):
            BrokerMinter(settings(private_key_file=tmp_path / "missing.pem"), "billing")

    def test_an_identity_says_so_too(self, tmp_path: Path) -> None:
        """Whoever makes one learns it."""
        with pytest.raises(SettingsError, match="MSTOKEN_PRIVATE_KEY_FILE"):
            ServiceIdentity("billing", settings(private_key_file=tmp_path / "missing.pem"))

    def test_what_the_platform_gave_is_looked_for_later(self) -> None:
        """Without a key nothing is asked before the first call."""
        BrokerMinter(settings(), "billing")


class Internet(httpx.AsyncBaseTransport):
    """The token service, which knows Billing's public key, and Identity Toolkit; both keep what they were asked.

    While there is a `refusal`, the token service answers so. Who sleeps between two attempts loses no time.
    """

    def __init__(self, billing: ec.EllipticCurvePublicKey) -> None:
        self.firebase = FakeFirebase("real-shop")
        self.refusal: httpx.Response | None = None
        self.hosts: list[str] = []
        self.assertions: list[str] = []
        self.pauses: list[float] = []
        self._billing = billing

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if seconds > LONGEST_BACKOFF_SECONDS:
            await asyncio.Event().wait()  # Until the next renewal: a loop of those would spin.

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.hosts.append(request.url.host)
        content = json.loads(request.content)
        return self._token(request, content) if request.url == URL else self._sign_in(content)

    def _token(self, request: httpx.Request, content: dict[str, str]) -> httpx.Response:
        if self.refusal is not None:
            return self.refusal
        assertion = request.headers["Authorization"].removeprefix("Bearer ")
        self.assertions.append(jwt.decode(assertion, self._billing, ["ES256"], audience=URL)["jti"])
        service, audience = jwt.decode(assertion, options={"verify_signature": False})["iss"], content["audience"]
        claims = (
            ServiceClaims.bound(service, audience, content["jkt"])
            if content["mode"] == "proof"
            else ServiceClaims.fresh(service, audience)
        )
        return minted(self.firebase.mint(claims))

    def _sign_in(self, content: dict[str, str]) -> httpx.Response:
        custom = unverified(content["token"]).payload
        return httpx.Response(
            200, json={"idToken": self.firebase.issue(custom["uid"], provider="custom", **custom["claims"])}
        )


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def internet(key: ec.EllipticCurvePrivateKey) -> Internet:
    return Internet(key.public_key())


@pytest.fixture
def billing(key: ec.EllipticCurvePrivateKey, internet: Internet, tmp_path: Path) -> Iterator[ServiceIdentity]:
    """Billing, as it is in production, where no platform vouches for it."""
    file = tmp_path / "billing.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    identity = ServiceIdentity("billing", settings(private_key_file=file), transport=internet, sleep=internet.sleep)
    with identity:
        yield identity


TOKENS, TOOLKIT = "tokens.example", "identitytoolkit.googleapis.com"


class TestIdentity:
    """A service whose settings name a token service asks it, and signs in with what it gives."""

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    def test_a_threads_token(self, billing: ServiceIdentity, internet: Internet, mode: Any) -> None:
        """`token_sync` gives one."""
        claims = claims_of(billing.token_sync("product", mode))
        assert (claims.service, claims.audience, claims.mode) == ("billing", "product", mode)
        assert internet.hosts == [TOKENS, TOOLKIT]

    @pytest.mark.parametrize("mode", ["fresh", "proof"])
    async def test_a_tasks_token(self, billing: ServiceIdentity, internet: Internet, mode: Any) -> None:
        """`token` does likewise."""
        claims = claims_of(await billing.token("product", mode))
        assert (claims.service, claims.audience, claims.mode) == ("billing", "product", mode)
        assert internet.hosts == [TOKENS, TOOLKIT]

    def test_a_bound_token_is_bound_to_the_key_of_this_process(self, billing: ServiceIdentity) -> None:
        """The token service is told which one that is."""
        token = billing.token_sync("product", "proof")
        jwk = unverified(billing.proof("GET", "https://product.example", token, None)).header["jwk"]
        members = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))
        digest = sha256(members.encode()).digest()
        assert claims_of(token).key_thumbprint == base64url(digest)

    async def test_no_two_tokens_are_the_same(self, billing: ServiceIdentity, internet: Internet) -> None:
        """Nor are two assertions, however many ask at once."""
        tokens = await asyncio.gather(*(billing.token("product") for _ in range(20)))
        assert len(ids_of(tokens)) == 20
        assert len(set(internet.assertions)) == len(internet.assertions) >= 20

    async def test_a_refusal_of_the_token_service_comes_out_of_the_call(
        self, billing: ServiceIdentity, internet: Internet
    ) -> None:
        """Nobody signs in then; after somebody has mended the policy, the next call is served."""
        internet.refusal = refusal(403)
        with pytest.raises(SignInRefused, match="audience_not_allowed"):
            await billing.token("product")
        with pytest.raises(SignInRefused, match="audience_not_allowed"):
            await asyncio.to_thread(billing.token_sync, "product")
        assert TOOLKIT not in internet.hosts
        internet.refusal = None
        assert await billing.token("product")

    async def test_an_outage_of_the_token_service_comes_out_of_the_call(
        self, billing: ServiceIdentity, internet: Internet
    ) -> None:
        """After its retries, which sleep as the identity does."""
        internet.refusal = refusal(503, "issuer_unavailable")
        with pytest.raises(SignInUnavailable, match="issuer_unavailable"):
            await billing.token("product")
        assert internet.hosts == [TOKENS] * 3
        assert len(internet.pauses) == 2

    async def test_without_a_token_service_tokens_are_signed_here(
        self, internet: Internet, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As on a laptop, by firebase-admin."""
        monkeypatch.setenv(AUTH_EMULATOR_VARIABLE, "127.0.0.1:9099")
        monkeypatch.delenv("MSTOKEN_TOKEN_SERVICE_URL", raising=False)
        laptop = Settings(project_id="demo-without-token-service")
        async with ServiceIdentity("billing", laptop, transport=internet) as identity:
            assert claims_of(await identity.token("product")).service == "billing"
        assert internet.hosts == ["127.0.0.1"]


def run(script: str) -> subprocess.CompletedProcess[str]:
    """What an interpreter of its own makes of `script`; that a process with threads forks is what is tried here."""
    command = [sys.executable, "-X", "dev", "-W", "ignore::DeprecationWarning", "-c", dedent(script)]
    timeout = 2 * DEADLINE_SECONDS
    return subprocess.run(command, cwd=ROOT, env=os.environ, timeout=timeout, capture_output=True, text=True)


@pytest.mark.process
def test_a_forked_child_asks_for_itself(tmp_path: Path) -> None:
    """With assertions, tokens and a key of its own, whether or not its parent goes on."""
    ended = run(
        f"""
        import json, logging, os, sys
        from pathlib import Path
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
        from mstoken import ServiceIdentity
        from tests.mstoken.caller.test_broker import Internet, settings

        logging.getLogger("asyncio").setLevel(logging.ERROR)
        key = ec.generate_private_key(ec.SECP256R1())
        file = Path({str(tmp_path)!r}) / "billing.pem"
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        internet = Internet(key.public_key())
        with ServiceIdentity("billing", settings(private_key_file=file), transport=internet) as billing:
            billing.token_sync("product")
            billing.token_sync("product", "proof")
            internet.assertions.clear()
            child = os.fork()
            tokens = [billing.token_sync("product", mode) for mode in ("fresh", "proof")]
        os.write(1, (json.dumps([tokens, internet.assertions]) + "\\n").encode())
        if child:
            _, status = os.waitpid(child, 0)
            sys.exit(os.waitstatus_to_exitcode(status))
        """
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    processes: Sequence[Any] = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(processes) == 2
    (tokens, assertions), (other_tokens, other_assertions) = processes
    assert not set(tokens) & set(other_tokens)
    assert not set(assertions) & set(other_assertions)
    keys = {claims_of(token).key_thumbprint for token in (tokens[1], other_tokens[1])}
    assert len(keys - {None}) == 2
