"""The verifiers of the benchmark do what their cases say, and the requests are what they accept."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.fernet import Fernet, InvalidToken
from firebase_admin.auth import InvalidIdTokenError

from bench.apps import AdminInThreads, AdmitsAll, AdmitsServices, NoIdentity, SharedSecret
from bench.issuer import PROJECT, BenchFirebase, Issuer
from bench.route import BASE_URL, PATH, Calls, replay_url
from mstoken import Settings, TokenVerifier
from mstoken.callee.callers import Admission, Call, ServiceCaller
from mstoken.errors import ProofReplayed, TokenMissing, TokenReplayed, TokenUntrusted, UserTokenInvalid

BILLING = Admission.of(False, {"billing"})
BOTH = Admission.of(True, {"billing"})


@dataclass(frozen=True)
class Bench:
    """What the cases of the route share."""

    issuer: Issuer
    secret: str
    calls: Calls
    settings: Settings


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """An issuer with its calls, and the settings of a service that trusts it."""
    folder = tmp_path_factory.mktemp("bench")
    issuer, secret = Issuer(), Fernet.generate_key().decode()
    settings = Settings(
        project_id=PROJECT,
        emulator_host=None,
        base_url=BASE_URL,
        certificates_file=issuer.certificates_file(folder),
        replay_url=replay_url(folder / "spent.db"),
    )
    return Bench(issuer, secret, Calls(issuer, secret), settings)


@pytest.fixture
def credentials(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of a service account, which firebase-admin needs to start."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(bench.issuer.credentials_file(tmp_path)))


def call_of(request: bytes) -> Call:
    """Return what a callee reads of a request of the benchmark."""
    lines = [line.partition(": ") for line in request.decode().split("\r\n")[1:]]
    tokens, proofs = ([value for name, _, value in lines if name == wanted] for wanted in ("X-MS-TOKEN", "DPoP"))
    return Call("GET", PATH, tokens, proofs, [])


@asynccontextmanager
async def verifier_of(bench: Bench) -> AsyncIterator[TokenVerifier]:
    """Open the verifier of the cases in fresh and in proof mode."""
    async with TokenVerifier("product", bench.settings, firebase=BenchFirebase(bench.settings)) as verifier:
        yield verifier


@pytest.mark.usefixtures("credentials")
async def test_each_fresh_request_is_accepted_once(bench: Bench) -> None:
    """Fresh requests have a token each, which is accepted once."""
    async with verifier_of(bench) as verifier:
        calls = [call_of(request) for request in bench.calls.fresh(2)]
        for call in calls:
            caller = await verifier.authorize(BILLING, call)
            assert isinstance(caller, ServiceCaller)
            assert caller.mode == "fresh"
        with pytest.raises(TokenReplayed):
            await verifier.authorize(BILLING, calls[0])


@pytest.mark.usefixtures("credentials")
async def test_each_request_with_a_proof_is_accepted_once(bench: Bench) -> None:
    """Requests in proof mode have the same token and a proof each, which is accepted once."""
    async with verifier_of(bench) as verifier:
        calls = [call_of(request) for request in bench.calls.with_proof(2)]
        assert calls[0].service_tokens == calls[1].service_tokens
        for call in calls:
            await verifier.authorize(BILLING, call)
        with pytest.raises(ProofReplayed):
            await verifier.authorize(BILLING, calls[0])


async def test_a_shared_secret_is_decrypted_and_compared(bench: Bench) -> None:
    """The case of the shared secret accepts it, and refuses another one, and what has another key."""
    verifier = SharedSecret(bench.secret, "product", bench.settings)
    for request in bench.calls.with_secret(2):
        await verifier.authorize(BILLING, call_of(request))
    other = Fernet(bench.secret).encrypt(b"another secret").decode()
    with pytest.raises(TokenUntrusted):
        await verifier.authorize(BILLING, Call("GET", PATH, [other], [], []))
    stranger = Fernet(Fernet.generate_key()).encrypt(bench.secret.encode()).decode()
    with pytest.raises(InvalidToken):
        await verifier.authorize(BILLING, Call("GET", PATH, [stranger], [], []))


@pytest.mark.usefixtures("credentials")
async def test_firebase_admin_verifies_in_its_case(bench: Bench) -> None:
    """The case of firebase-admin verifies the signature of the token, with certificates from memory."""
    async with AdminInThreads(bench.issuer.certificates, "product", bench.settings) as verifier:
        for request in bench.calls.with_token(2):
            await verifier.authorize(BILLING, call_of(request))
        forged = Issuer().id_token("svc:billing", {})
        with pytest.raises(InvalidIdTokenError):
            await verifier.authorize(BILLING, Call("GET", PATH, [forged], [], []))


async def test_without_authentication_every_call_is_billings(bench: Bench) -> None:
    """The case without authentication looks at nothing."""
    verifier = AdmitsAll("product", bench.settings)
    call = call_of(bench.calls.plain(1)[0])
    caller = await verifier.authorize(BILLING, call)
    assert await verifier.admit(BILLING, caller, call) == caller
    assert str(caller) == "svc:billing"


@pytest.mark.usefixtures("credentials")
async def test_an_open_shop_still_verifies_its_users(bench: Bench) -> None:
    """Between services nothing is verified, and a call without a service's token needs that of a user."""
    verifier = AdmitsServices("product", bench.settings, firebase=BenchFirebase(bench.settings))
    token = await NoIdentity("billing", bench.settings).token("product")
    assert str(await verifier.authorize(BOTH, Call("GET", PATH, [token], [], []))) == "svc:billing"
    with pytest.raises(TokenMissing):
        await verifier.authorize(BOTH, Call("GET", PATH, [], [], []))
    with pytest.raises(UserTokenInvalid):
        await verifier.authorize(BOTH, Call("GET", PATH, [], [], ["Bearer a.b.c"]))
