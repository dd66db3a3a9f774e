"""The test vectors of docs/protocol.md, on our own callee, token service and caller, with firebase-admin.

Only two things are not as in production: the clock, and the status of identities, which comes from the file.
"""

import datetime
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import google.auth._helpers
import httpx
import pytest
from fastapi import Depends, FastAPI
from jwt.algorithms import ECAlgorithm
from pydantic import SecretStr
from typing_extensions import override

from emulator.attacks.smuggling import SMUGGLING
from mstoken import Caller, ServiceCaller, Settings, TokenVerifier
from mstoken.callee import admin_verification
from mstoken.callee.certificates import CertificateCache, CertificateFile
from mstoken.callee.firebase import AdminFirebase, IdentityStatus
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.status import StatusCache
from mstoken.caller.auth import ServiceAuth
from mstoken.claims import ServiceClaims
from mstoken.errors import Refusal
from mstoken.fastapi import allow, protect
from mstoken.issuer.policy import Policy
from mstoken.issuer.service import TokenService
from mstoken.jwk import thumbprint
from mstoken.proof import ProofKey
from mstoken.strict_jwt import unverified
from mstoken.testing import FakeFirebase
from mstoken.testing.proof_flaws import PROOF_FLAWS
from mstoken.testing.token_flaws import FLAWS, SERVICE_FLAWS
from tests.clock import FakeClock
from tests.mstoken.test_settings import environment
from tests.protocol import make_vectors

VECTORS: dict[str, Any] = json.loads(make_vectors.FILE.read_text())
Case = dict[str, Any]


def name(case: Case) -> str:
    """Return the id of a case. Names of attacks may contain brackets, which pytest does not show well."""
    return re.sub(r"[^\w ,.-]+", "", f"{case.get('group', '')} {case['name']}").strip()


class KnownIdentities(AdminFirebase):
    """firebase-admin in a project whose identities are listed."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.identities: dict[str, dict[str, Any]] = {}

    @override
    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        return {uid: IdentityStatus(**self.identities[uid]) for uid in uids if uid in self.identities}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The time of the requests. google-auth cannot be given a clock, so what it gets the time from is replaced.

    In the callee that is a function of ours, in the token service one of google-auth.
    """
    clock = FakeClock(make_vectors.NOW)

    def utcnow() -> datetime.datetime:
        return datetime.datetime.fromtimestamp(clock(), datetime.UTC).replace(tzinfo=None)

    monkeypatch.setattr(admin_verification, "time", SimpleNamespace(time=clock))
    monkeypatch.setattr(google.auth._helpers, "utcnow", utcnow)
    return clock


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a callee in production, which cannot reach Google: its certificates are in a file."""
    folder = tmp_path_factory.mktemp("vectors")
    account, certificates = folder / "account.json", folder / "certificates.json"
    account.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": VECTORS["project"],
                "private_key": make_vectors.KEYS["attacker"]["private_key"],
                "client_email": f"product@{VECTORS['project']}.iam.gserviceaccount.com",
                "token_uri": "http://127.0.0.1:9/token",
            }
        )
    )
    certificates.write_text(json.dumps(VECTORS["certificates"]))
    with environment(GOOGLE_APPLICATION_CREDENTIALS=str(account)):
        yield Settings(project_id=VECTORS["project"], certificates_file=certificates, base_url=VECTORS["base_url"])


@pytest.fixture(scope="module")
def firebase(settings: Settings) -> KnownIdentities:
    """firebase-admin for all cases, because reading its credentials takes longer than a case."""
    return KnownIdentities(settings)


def callee(case: Case, settings: Settings, firebase: KnownIdentities, clock: FakeClock) -> FastAPI:
    """Return the service of a case. Its one route answers with the caller."""
    firebase.identities = VECTORS["identities"] | case.get("identities", {})
    replay = MemoryReplayStore(complete_since=case.get("spent_ids_since", 0), clock=clock)
    if nonces := case.get("nonces"):
        settings = settings.model_copy(update={"nonce_secret": SecretStr(nonces["secret"])})
    verifier = TokenVerifier(VECTORS["service"], settings, firebase=firebase, replay=replay, clock=clock)
    admits = case.get("admits", VECTORS["admits"])
    app = FastAPI()
    protect(app, verifier)

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def route(caller: Annotated[Caller, Depends(allow(**admits))]) -> dict[str, Any]:
        if not isinstance(caller, ServiceCaller):
            return {"caller": str(caller)}
        user = {"user": caller.user.uid} if caller.user else {}
        return {"caller": str(caller), "mode": caller.mode} | user

    return app


async def answer(app: FastAPI, request: dict[str, Any]) -> httpx.Response:
    """Return the answer to a request whose header lines and path are exactly these."""
    path, _, query = request["path"].partition("?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": request["method"],
        "scheme": "http",
        "path": httpx.URL(f"http://product{path}").path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(key.lower().encode(), value.encode("latin-1")) for key, value in request["headers"]],
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=sent[1]["body"])


def verdict(response: httpx.Response) -> dict[str, Any]:
    """Return an answer in the form in which the vectors state a verdict."""
    found: dict[str, Any] = {"status": response.status_code, **response.json()}
    if response.is_success:
        return found
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        assert int(response.headers["Retry-After"]) > 0
    challenges = [
        {"scheme": scheme} | dict(re.findall(r'(error)="(\w+)"', parameters))
        for scheme, parameters in re.findall(
            r'(\w+) (realm="product"(?:, \w+="[^"]*")*)', response.headers.get("WWW-Authenticate", "")
        )
    ]
    has_nonce = {"has_nonce": True} if response.headers.get("DPoP-Nonce") else {}
    return (
        {"status": found["status"], "code": found["code"]}
        | ({"challenges": challenges} if challenges else {})
        | has_nonce
    )


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", VECTORS["cases"], ids=name)
async def test_the_callee_gives_the_expected_verdicts(
    case: Case, settings: Settings, firebase: KnownIdentities, clock: FakeClock
) -> None:
    """Each request of each case gets the status, the code and the challenges that the file says, in its order."""
    app = callee(case, settings, firebase, clock)
    for request in case["requests"]:
        clock.now = request["clock"]
        assert verdict(await answer(app, request)) == request["expect"]


def test_every_attack_is_a_vector() -> None:
    """Each row of the attack tables is a case, except for those that an application cannot see as a request."""
    rows = {flaw.name for flaw in FLAWS + SERVICE_FLAWS} | {flaw.name for flaw in PROOF_FLAWS}
    rows |= {row.name for row in SMUGGLING} - make_vectors.NOT_ONE_REQUEST
    assert rows <= {case["name"] for case in VECTORS["cases"]}


def test_the_file_is_what_the_script_makes() -> None:
    """Whoever runs the script again gets the same file: no key, no id, no time and no signature is random."""
    assert make_vectors.text() == make_vectors.FILE.read_text()


def test_every_case_has_a_name_of_its_own() -> None:
    """A report that names a case is clear."""
    names = [(case["group"], case["name"]) for case in VECTORS["cases"]]
    assert sorted(set(names)) == sorted(names)


@pytest.fixture
async def token_service(settings: Settings, clock: FakeClock, tmp_path: Path) -> TokenService:
    """The token service of the vectors. In place of a custom token, it returns the claims that it would sign."""
    part = VECTORS["token_service"]
    certificates = tmp_path / "google.json"
    certificates.write_text(json.dumps(part["google_certificates"]))

    async def sign(claims: ServiceClaims) -> str:
        return json.dumps({"uid": claims.uid, **claims.with_minted_at(clock()).as_developer_claims()})

    return TokenService(
        Policy.model_validate({"services": _with_key_tables(part["policy"])}),
        settings.model_copy(update={"token_service_url": part["url"]}),
        sign=sign,
        status=StatusCache(FakeFirebase(clock=clock)),
        certificates=CertificateCache(CertificateFile(certificates), clock=clock),
        replay=MemoryReplayStore(clock=clock),
        clock=clock,
    )


def _with_key_tables(policy: dict[str, Any]) -> dict[str, Any]:
    """Return the services of a policy, with each key in a table as in functions/policy.toml."""
    keys = {service: [{"jwk": jwk} for jwk in table.get("keys", ())] for service, table in policy.items()}
    return {service: table | {"keys": keys[service]} for service, table in policy.items()}


@pytest.mark.parametrize("case", VECTORS["token_service"]["cases"], ids=name)
async def test_the_token_service_gives_the_expected_answers(
    case: Case, token_service: TokenService, clock: FakeClock
) -> None:
    """Each request gets the claims of a custom token, or the status and the code that the file says."""
    for request in case["requests"]:
        clock.now = request["clock"]
        try:
            issued = await token_service.issue([value for _, value in request["headers"]], request["body"].encode())
        except Refusal as refusal:
            found: dict[str, Any] = {"status": refusal.status, "code": refusal.code}
        else:
            claims = json.loads(issued.custom_token)
            has_jti = claims["ms"].pop("jti", None) is not None
            found = {"status": 200, "uid": claims["uid"], "ms": claims["ms"], "has_jti": has_jti}
        assert found == request["expect"]


class KnownKey(ProofKey):
    """The proof key of the caller in the vectors."""

    def __init__(self) -> None:
        super().__init__()
        jwk = VECTORS["caller"]["key"]
        self._key = ECAlgorithm.from_jwk(jwk)  # type: ignore[assignment]
        self.thumbprint = thumbprint(jwk)


def test_the_thumbprint_of_a_key() -> None:
    """It is that of RFC 7638."""
    assert KnownKey().thumbprint == VECTORS["caller"]["thumbprint"]


@pytest.mark.parametrize("proof", VECTORS["caller"]["proofs"], ids=lambda proof: proof["url"])
def test_the_caller_makes_the_expected_proofs(proof: dict[str, Any]) -> None:
    """The claims are those of the file, apart from the random id."""
    encoded = KnownKey().proof(
        proof["method"], proof["url"], VECTORS["caller"]["token"], issued_at=make_vectors.NOW, nonce=proof["nonce"]
    )
    assert unverified(encoded).payload | {"jti": "any id"} == proof["claims"]


class RecordingTokens:
    """A source of tokens that records which of them were new or refused, and the nonces of the proofs."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.refusals: list[str] = []
        self.nonces: list[str | None] = []

    async def token(self, audience: str, mode: str, *, new: bool = False) -> str:
        return self.token_sync(audience, mode, new=new)

    def token_sync(self, audience: str, mode: str, *, new: bool = False) -> str:
        self.asked.append(new)
        return f"token {len(self.asked)}"

    def proof(self, method: str, url: str, token: str, nonce: str | None) -> str:
        self.nonces.append(nonce)
        return f"proof {len(self.nonces)}"

    def refused(self, audience: str, mode: str, token: str, *, is_revoked: bool) -> bool:
        self.refusals.append(token)
        return True


@pytest.mark.parametrize("case", VECTORS["caller"]["answers"], ids=name)
def test_the_caller_reacts_as_expected(case: Case) -> None:
    """It sends a call again, asks for a new token, or takes a nonce, as the file says."""
    tokens = RecordingTokens()
    auth = ServiceAuth(tokens, "product", case["mode"])
    flow = auth.sync_auth_flow(httpx.Request("GET", "http://product/products"))
    next(flow)
    again = True
    try:
        flow.send(httpx.Response(case["status"], headers=case["headers"]))
    except StopIteration:
        again = False
    is_new = bool(tokens.refusals) or (again and case["mode"] == "fresh" and tokens.asked[-1])
    next(auth.sync_auth_flow(httpx.Request("GET", "http://product/products")))
    nonce = tokens.nonces[-1] if tokens.nonces else None
    assert {"again": again, "new_token": is_new, "nonce": nonce} == case["reaction"]
