"""The adapter for Firebase functions: calls of functions, the token service as a function, and threads."""

import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Request, Response
from jwt.algorithms import ECAlgorithm
from typing_extensions import override
from werkzeug.test import EnvironBuilder

from mstoken import Caller, ServiceCaller, Settings, TokenVerifier
from mstoken.callee.certificates import CertificateCache
from mstoken.callee.nonces import RENEWAL_AGE_SECONDS
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.status import StatusCache
from mstoken.claims import ServiceClaims
from mstoken.emulator.keys import Key
from mstoken.errors import PolicyError, SettingsError, VerifierUnavailable
from mstoken.functions import Callee, TokenEndpoint
from mstoken.issuer.policy import Policy
from mstoken.issuer.service import TokenService
from mstoken.problem import Problem
from mstoken.testing import FakeFirebase, FirebaseProject
from tests.clock import FakeClock
from tests.mstoken.adapter_contract import ADMISSIONS, AdapterContract, Body, Lines, Site
from tests.mstoken.issuer.fakes import FakeSource

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "functions"
PLATFORM = "https://functions.example"
URL = f"{PLATFORM}/token"
THREADS = 8
DEADLINE_SECONDS = 30.0
GOOGLE_KEY = Key("federated-signon.system.gserviceaccount.com")
KEY = ec.generate_private_key(ec.SECP256R1())
JWK = ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
POLICY = f"""\
[services.billing]
calls = ["product"]
keys = [{{ jwk = {{ kty = "EC", crv = "P-256", x = "{JWK["x"]}", y = "{JWK["y"]}" }} }}]

[services.product]
"""


def request_to(
    path: str = "/",
    headers: httpx.Headers | dict[str, str] | list[tuple[str, str]] | None = None,
    *,
    method: str = "GET",
    body: bytes = b"",
    without: tuple[str, ...] = (),
) -> Request:
    """Return a request as a WSGI server passes it on, without the variables of the environment in `without`."""
    lines = headers if isinstance(headers, list) else list((headers or {}).items())
    builder = EnvironBuilder(path, method=method, headers=lines, data=body)
    made = builder.get_environ()
    builder.close()
    return Request({name: value for name, value in made.items() if name not in without})


def body_of(response: Response) -> Any:
    """Return the JSON of an answer."""
    return json.loads(response.get_data())


class Delivery:
    """A function of the service Delivery, for users and for Billing, and the callers that have reached it."""

    def __init__(self, firebase: FakeFirebase, **admission: Any) -> None:
        self.callers: list[Caller] = []
        callee = Callee(firebase.verifier("delivery"))

        @callee.allow(**(admission or {"users": True, "services": {"billing"}}))
        def estimate(request: Request, caller: Caller) -> Response:
            """Estimate the days that a delivery takes."""
            self.callers.append(caller)
            return Response(f"{caller} asks for {request.args.get('country')}")

        self.estimate = estimate


@pytest.fixture
def firebase() -> FakeFirebase:
    return FakeFirebase(base_url=PLATFORM)


@pytest.fixture
def delivery(firebase: FakeFirebase) -> Delivery:
    return Delivery(firebase)


def with_proof(firebase: FakeFirebase, url: str) -> httpx.Headers:
    """Return the headers of a call from Billing to `url`, in proof mode."""
    auth = firebase.service_auth("billing", to="delivery", mode="proof")
    request = httpx.Request("GET", url)
    next(auth.sync_auth_flow(request))
    return request.headers


def test_a_caller_reaches_the_function(firebase: FakeFirebase, delivery: Delivery) -> None:
    """The function gets the request and its caller, and its answer is returned."""
    billing = firebase.service_headers("billing", to="delivery")
    response = delivery.estimate(request_to("/?country=US", billing))
    assert (response.status_code, response.get_data(as_text=True)) == (200, "svc:billing asks for US")
    assert delivery.estimate(request_to(headers=firebase.user_headers("anna"))).status_code == 200
    assert [str(caller) for caller in delivery.callers] == ["svc:billing", "user:anna"]


def test_a_service_acts_for_a_user(firebase: FakeFirebase) -> None:
    """If the function admits that, both headers are read, and the caller is the service, for the user."""
    delivery = Delivery(firebase, services={"billing"}, acting_for_user=True)
    headers = firebase.service_headers("billing", to="delivery") | firebase.user_headers("anna")
    delivery.estimate(request_to(headers=headers))
    (caller,) = delivery.callers
    assert isinstance(caller, ServiceCaller)
    assert caller.user is not None
    assert caller.user.uid == "anna"


def test_a_foreign_authorization_beside_a_service_token_does_not_matter(
    firebase: FakeFirebase, delivery: Delivery
) -> None:
    """It belongs to a proxy or to another library, and is not looked at, although the function admits users too."""
    user = firebase.user_headers("anna")["Authorization"]
    for foreign in "Basic YTpi", "Bearer a.b.SIGNATURE_REMOVED_BY_GOOGLE", user:
        headers = firebase.service_headers("billing", to="delivery") | {"Authorization": foreign}
        assert delivery.estimate(request_to(headers=headers)).status_code == 200
    assert {caller.user if isinstance(caller, ServiceCaller) else caller for caller in delivery.callers} == {None}


def test_a_decorated_function_keeps_its_name(delivery: Delivery) -> None:
    """The platform uses the name of the function."""
    assert delivery.estimate.__name__ == "estimate"
    assert delivery.estimate.__doc__ == "Estimate the days that a delivery takes."


class CountryUnknown(Problem):
    """An error of an application."""

    status = 422
    code = "country_unknown"
    title = "The country is not known"


def test_a_problem_that_the_function_raises_is_answered(firebase: FakeFirebase) -> None:
    """The application's own `Problem` is answered with problem details, as a refusal is."""
    callee = Callee(firebase.verifier("delivery"))

    @callee.allow(services={"billing"})
    def estimate(request: Request, caller: Caller) -> Response:
        raise CountryUnknown("Send two letters.")

    response = estimate(request_to(headers=firebase.service_headers("billing", to="delivery")))
    assert (response.status_code, response.headers["Content-Type"]) == (422, "application/problem+json")
    assert body_of(response) == {
        "type": "about:blank",
        "title": "The country is not known",
        "status": 422,
        "code": "country_unknown",
        "detail": "Send two letters.",
    }


def test_a_401_is_a_problem_with_a_challenge(firebase: FakeFirebase, delivery: Delivery) -> None:
    """The body is as in RFC 9457, the challenge as in RFC 9110, and the function is not called."""
    billing = firebase.service_headers("billing", to="delivery")
    assert delivery.estimate(request_to(headers=billing)).status_code == 200
    response = delivery.estimate(request_to(headers=billing))
    assert response.status_code == 401
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["WWW-Authenticate"] == 'MsToken realm="delivery", error="token_replayed"'
    assert response.headers["Cache-Control"] == "no-store"
    assert body_of(response) == {
        "type": "about:blank",
        "title": "The service token has been used before",
        "status": 401,
        "code": "token_replayed",
    }
    assert len(delivery.callers) == 1


@pytest.mark.parametrize(
    ("headers", "code", "challenge"),
    [
        ({}, "token_missing", 'MsToken realm="delivery", Bearer realm="delivery"'),
        ({"X-MS-TOKEN": ""}, "token_malformed", 'MsToken realm="delivery", error="token_malformed"'),
        ({"X-MS-TOKEN": "a.b.c"}, "token_malformed", 'MsToken realm="delivery", error="token_malformed"'),
        (
            {"Authorization": "Basic YTpi"},
            "user_token_invalid",
            'Bearer realm="delivery", error="invalid_token", error_description="The user\'s token is not valid"',
        ),
    ],
)
def test_a_call_without_a_valid_token_is_refused(
    delivery: Delivery, headers: dict[str, str], code: str, challenge: str
) -> None:
    """The challenges name the tokens that the function accepts."""
    response = delivery.estimate(request_to(headers=headers))
    assert (response.status_code, body_of(response)["code"]) == (401, code)
    assert response.headers["WWW-Authenticate"] == challenge
    assert delivery.callers == []


def test_a_caller_that_is_not_admitted_is_refused(firebase: FakeFirebase) -> None:
    """A known service or user that is not admitted gets 403. A token for another service gets 401."""
    delivery = Delivery(firebase, users={"admin"}, services={"billing"})
    for headers in (firebase.service_headers("product", to="delivery"), firebase.user_headers("anna")):
        response = delivery.estimate(request_to(headers=headers))
        assert (response.status_code, body_of(response)["code"]) == (403, "caller_not_allowed")
        assert "WWW-Authenticate" not in response.headers
    response = delivery.estimate(request_to(headers=firebase.service_headers("billing", to="product")))
    assert (response.status_code, body_of(response)["code"]) == (401, "token_wrong_audience")
    assert delivery.callers == []


def test_an_outage_is_a_503_without_a_detail(firebase: FakeFirebase, delivery: Delivery) -> None:
    """The answer says when to retry, and not what is broken."""
    firebase.down = True
    response = delivery.estimate(request_to(headers=firebase.service_headers("billing", to="delivery")))
    assert (response.status_code, body_of(response)["code"]) == (503, "verifier_unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    assert "detail" not in body_of(response)
    assert delivery.callers == []


def test_a_repeated_header_line_is_refused(firebase: FakeFirebase, delivery: Delivery) -> None:
    """WSGI joins two lines with a comma, with or without a space. Neither of the two tokens is accepted."""
    token = firebase.service_headers("billing", to="delivery")["X-MS-TOKEN"]
    bearer = firebase.user_headers("anna")["Authorization"]
    twice: list[tuple[Request, str]] = [
        (request_to(headers=[("X-MS-TOKEN", token), ("x-ms-token", token)]), "token_malformed"),
        (request_to(headers=[("X-MS-TOKEN", token), ("X-MS-TOKEN", "")]), "token_malformed"),
        (request_to(headers={"X-MS-TOKEN": f"{token},{token}"}), "token_malformed"),
        (request_to(headers=[("Authorization", bearer), ("authorization", bearer)]), "user_token_invalid"),
    ]
    for request, code in twice:
        refusal = body_of(delivery.estimate(request))
        assert (refusal["code"], refusal["detail"][:25]) == (code, "The request has more than")
    headers = with_proof(firebase, f"{PLATFORM}/estimate")
    proofs = [(name, headers[name]) for name in ("X-MS-TOKEN", "DPoP", "DPoP")]
    assert body_of(delivery.estimate(request_to(headers=proofs)))["code"] == "proof_invalid"
    assert delivery.callers == []


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/estimate", "/"),
        ("/estimate?country=US", "/?country=US"),
        ("/estimate/of/a", "/of/a"),
        ("/estimate/of/a%2520b%20c%2Fd?q=%20", "/of/a%2520b%20c%2Fd?q=%20"),
        ("/estimate/of/%C3%B6", "/of/%C3%B6"),
        ("/estimate/of/a:b@c", "/of/a:b@c"),
    ],
)
@pytest.mark.parametrize("without", [("REQUEST_URI",), ("RAW_URI",)], ids=["gunicorn", "mod_wsgi"])
def test_a_proof_is_for_the_functions_url(
    firebase: FakeFirebase, delivery: Delivery, url: str, path: str, without: tuple[str, ...]
) -> None:
    """The URL is `MSTOKEN_BASE_URL`, the name of the function, and the rest of the path as it was sent."""
    response = delivery.estimate(request_to(path, with_proof(firebase, PLATFORM + url), without=without))
    assert response.status_code == 200, body_of(response)


@pytest.mark.parametrize("path", ["/", "/of/a", "/of/a%2520b%20c", "/of/%C3%B6", "/of/a:b@c;d=e,f!$&'()*+~-._"])
def test_a_proof_behind_a_server_that_removes_escapes(firebase: FakeFirebase, delivery: Delivery, path: str) -> None:
    """If the server passes on only the decoded path, the path is escaped again."""
    headers = with_proof(firebase, f"{PLATFORM}/estimate{path.rstrip('/')}")
    response = delivery.estimate(request_to(path, headers, without=("RAW_URI", "REQUEST_URI")))
    assert response.status_code == 200, body_of(response)


@pytest.mark.parametrize(
    ("url", "path", "method"),
    [
        (f"{PLATFORM}/track", "/", "GET"),
        (f"{PLATFORM}/", "/", "GET"),
        (f"{PLATFORM}/estimate/of/a", "/", "GET"),
        (f"{PLATFORM}/estimate/of/a%20b", "/of/a%2520b", "GET"),
        (f"{PLATFORM}/estimate", "/", "POST"),
        ("https://elsewhere.example/estimate", "/", "GET"),
    ],
)
def test_a_proof_for_another_call_is_refused(
    firebase: FakeFirebase, delivery: Delivery, url: str, path: str, method: str
) -> None:
    """A proof for one function, path and method is not accepted for another."""
    response = delivery.estimate(request_to(path, with_proof(firebase, url), method=method))
    assert (response.status_code, body_of(response)["code"]) == (401, "proof_invalid")
    assert delivery.callers == []


def test_the_base_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`MSTOKEN_BASE_URL` is the part of the URLs that all functions of the service share."""
    monkeypatch.setenv("MSTOKEN_BASE_URL", "https://us-central1-demo-shop.cloudfunctions.net/")
    firebase = FakeFirebase()
    headers = with_proof(firebase, "https://us-central1-demo-shop.cloudfunctions.net/estimate")
    assert Delivery(firebase).estimate(request_to(headers=headers)).status_code == 200


def test_a_function_can_require_proofs(firebase: FakeFirebase) -> None:
    """A function with `proof=True` refuses fresh tokens."""
    delivery = Delivery(firebase, services={"billing"}, proof=True)
    response = delivery.estimate(request_to(headers=firebase.service_headers("billing", to="delivery")))
    assert body_of(response)["code"] == "proof_missing"
    assert response.headers["WWW-Authenticate"] == 'DPoP realm="delivery", algs="ES256"'
    assert delivery.estimate(request_to(headers=with_proof(firebase, f"{PLATFORM}/estimate"))).status_code == 200


def test_a_refusal_can_have_a_nonce() -> None:
    """The caller retries with the nonce of the refusal (RFC 9449, section 8)."""
    firebase = FakeFirebase(base_url=PLATFORM, nonce_secret="n" * 32)
    delivery = Delivery(firebase)
    auth = firebase.service_auth("billing", to="delivery", mode="proof")
    flow = auth.sync_auth_flow(httpx.Request("GET", f"{PLATFORM}/estimate"))
    refused = delivery.estimate(request_to(headers=next(flow).headers))
    assert body_of(refused)["code"] == "use_dpop_nonce"
    again = flow.send(httpx.Response(401, headers=list(refused.headers.items())))
    assert delivery.estimate(request_to(headers=again.headers)).status_code == 200


def test_an_answer_can_have_the_next_nonce() -> None:
    """A caller that goes on calling gets it in time (RFC 9449, section 8.2)."""
    clock = FakeClock()
    firebase = FakeFirebase(clock=clock, base_url=PLATFORM, nonce_secret="n" * 32)
    delivery = Delivery(firebase)
    auth = firebase.service_auth("billing", to="delivery", mode="proof")
    answers: list[tuple[int, bool]] = []

    def deliver(request: httpx.Request) -> httpx.Response:
        answer = delivery.estimate(request_to(headers=request.headers))
        answers.append((answer.status_code, "DPoP-Nonce" in answer.headers))
        return httpx.Response(answer.status_code, headers=list(answer.headers.items()))

    with httpx.Client(transport=httpx.MockTransport(deliver), auth=auth) as client:
        for _ in range(3):
            client.get(f"{PLATFORM}/estimate")
            clock.advance(RENEWAL_AGE_SECONDS)
    assert answers == [(401, True), (200, False), (200, True), (200, True)]


def test_a_function_that_admits_no_caller_is_an_error() -> None:
    """The error is raised when the function is made, as is that about an invalid service name."""
    with pytest.raises(ValueError, match="refuse every caller"):
        Callee(TokenVerifier("delivery")).allow()
    with pytest.raises(ValueError, match="must be sets of names"):
        Callee(TokenVerifier("delivery")).allow(services="billing")
    with pytest.raises(ValueError, match="not a service name"):
        Callee(TokenVerifier("Delivery"))


def test_other_errors_of_a_function_are_not_caught(firebase: FakeFirebase) -> None:
    """An exception that is not a `Problem` is left to the platform."""
    callee = Callee(firebase.verifier("delivery"))

    @callee.allow(users=True)
    def breaks(request: Request, caller: Caller) -> Response:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaks(request_to(headers=firebase.user_headers("anna")))


def test_settings_are_read_at_the_first_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Functions can be imported without settings, as firebase-tools does. Wrong ones leave no thread behind."""
    before = threading.active_count()
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "No Project")
    (tmp_path / "policy.toml").write_text(POLICY)

    @Callee(TokenVerifier("delivery")).allow(users=True)
    def estimate(request: Request, caller: Caller) -> Response:
        raise AssertionError("unreachable: no caller is verified")

    token = TokenEndpoint(str(tmp_path / "policy.toml"))
    with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT"):
        estimate(request_to())
    with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT"):
        token(request_to(method="POST"))
    assert threading.active_count() == before


@pytest.mark.process
def test_importing_the_shops_functions_needs_no_settings() -> None:
    """The import needs no variable and no network, and starts no thread."""
    script = "import main, threading; print(threading.active_count(), main.token.__name__, main.estimate.__name__)"
    python = FUNCTIONS / "venv/bin/python"
    found = subprocess.run([python, "-B", "-c", script], cwd=FUNCTIONS, env={}, capture_output=True, text=True)
    assert (found.stdout, found.returncode) == ("1 token estimate\n", 0), found.stderr


class Slow:
    """Delays the making of an object until all of `threads` threads have asked for it. Counts how often it is made."""

    def __init__(self, threads: int) -> None:
        self.made = 0
        self._asking = threading.Barrier(threads)
        self._begun = threading.Semaphore(0)
        self._threads = threads

    def ask(self) -> None:
        """Wait until all threads are about to ask. Each thread calls this just before it asks."""
        self._asking.wait(DEADLINE_SECONDS)
        self._begun.release()

    def wait(self) -> None:
        self.made += 1
        if self.made == 1:
            for _ in range(self._threads):
                assert self._begun.acquire(timeout=DEADLINE_SECONDS)


class SlowToOpen(FakeFirebase):
    """A Firebase that is not open until all threads have asked for it."""

    def __init__(self, slow: Slow) -> None:
        super().__init__()
        self._slow = slow

    @override
    async def open(self) -> None:
        self._slow.wait()


def test_all_threads_share_one_verifier() -> None:
    """If many threads need it at once, it is opened once."""
    slow = Slow(THREADS)
    firebase = SlowToOpen(slow)

    @Callee(firebase.verifier("delivery")).allow(services={"billing"})
    def estimate(request: Request, caller: Caller) -> Response:
        return Response()

    headers = firebase.service_headers("billing", to="delivery")

    def call() -> int:
        slow.ask()
        return estimate(request_to(headers=headers)).status_code

    with ThreadPoolExecutor(THREADS) as threads:
        statuses = [future.result() for future in [threads.submit(call) for _ in range(THREADS)]]
    assert slow.made == 1
    assert sorted(statuses) == [200] + [401] * (THREADS - 1)


def test_the_functions_of_a_service_share_one_verifier(firebase: FakeFirebase) -> None:
    """A token that one function has accepted is refused by all of them."""
    callee = Callee(firebase.verifier("delivery"))
    one, other = (callee.allow(services={"billing"})(lambda request, caller: Response()) for _ in range(2))
    headers = firebase.service_headers("billing", to="delivery")
    assert [one(request_to(headers=headers)).status_code, other(request_to(headers=headers)).status_code] == [200, 401]


@pytest.mark.process
def test_a_forked_child_opens_the_verifier_again(tmp_path: Path) -> None:
    """The background thread of the parent does not exist in the child, so the child starts another."""
    script = """
        import os, signal
        from pathlib import Path
        from flask import Response
        from mstoken.callee.replay.sqlite import SQLiteReplayStore
        from mstoken.functions import Callee
        from mstoken.testing import FakeFirebase
        from tests.mstoken.test_functions import request_to
        from tests.mstoken.test_preloaded import begin_memory

        path = Path("%s")
        begin_memory(path)
        firebase = FakeFirebase()
        callee = Callee(firebase.verifier("delivery", replay=SQLiteReplayStore(path)))
        estimate = callee.allow(services={"billing"})(lambda request, caller: Response(str(os.getpid())))

        def answer():
            headers = firebase.service_headers("billing", to="delivery")
            return estimate(request_to(headers=headers)).get_data(as_text=True)

        answer()
        child = os.fork()
        if not child:
            signal.alarm(20)
        assert answer() == str(os.getpid())
        if not child:
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", dedent(script % (tmp_path / "spent.db"))]
    ended = subprocess.run(command, cwd=ROOT, timeout=60, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("0\n", "")


class FakeSigner:
    """Returns the names of the service and the audience in place of a signed token."""

    async def sign(self, claims: ServiceClaims) -> str:
        return f"{claims.uid} to {claims.audience}"


def token_service(policy: Policy, certificates: CertificateCache | None = None) -> TokenService:
    return TokenService(
        policy,
        Settings(project_id="demo-test", emulator_host=None, token_service_url=URL),
        sign=FakeSigner().sign,
        status=StatusCache(FakeFirebase()),
        certificates=certificates or CertificateCache(FakeSource(GOOGLE_KEY)),
        replay=MemoryReplayStore(),
    )


def assertion() -> dict[str, str]:
    """Return the headers of a request of Billing with a new assertion."""
    now = int(time.time())
    claims = {"iss": "billing", "sub": "billing", "aud": URL, "jti": secrets.token_hex(8), "iat": now, "exp": now + 60}
    return {"Authorization": f"Bearer {jwt.encode(claims, KEY, 'ES256')}"}


def token_request(audience: str = "product", **members: str) -> bytes:
    return json.dumps({"audience": audience, "mode": "fresh"} | members).encode()


@pytest.fixture
def token(tmp_path: Path) -> Iterator[TokenEndpoint]:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    endpoint = TokenEndpoint(path, token_service)
    yield endpoint
    endpoint.close()


def test_a_closed_token_service_begins_anew(token: TokenEndpoint) -> None:
    """Closing ends its background thread, and the next request starts another one."""
    token.close()
    for _ in range(2):
        assert token(request_to(headers=assertion(), method="POST", body=token_request())).status_code == 200
        assert "mstoken token service" in {thread.name for thread in threading.enumerate()}
        token.close()
        assert "mstoken token service" not in {thread.name for thread in threading.enumerate()}


def test_a_token_is_issued(token: TokenEndpoint) -> None:
    """The answer is JSON that is not cached, whatever the Content-Type of the request is."""
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        headers = assertion() | {"Content-Type": content_type}
        response = token(request_to(headers=headers, method="POST", body=token_request()))
        assert (response.status_code, response.mimetype) == (200, "application/json")
        assert response.headers["Cache-Control"] == "no-store"
        assert body_of(response) == {"custom_token": "svc:billing to product", "expires_in": 3600}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "request_invalid"),
        (token_request(uid="svc:user"), 400, "request_invalid"),
        (b" " * 5_000, 400, "request_invalid"),
        (token_request("billing"), 403, "audience_not_allowed"),
    ],
)
def test_a_request_for_a_token_is_refused(token: TokenEndpoint, body: bytes, status: int, code: str) -> None:
    """The refusal is not cached. It has no challenge, because another credential would not help."""
    response = token(request_to(headers=assertion(), method="POST", body=body))
    assert (response.status_code, body_of(response)["code"]) == (status, code)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    assert "WWW-Authenticate" not in response.headers


def test_a_request_without_one_credential_is_refused(token: TokenEndpoint) -> None:
    """No credential and two credentials, which WSGI joins with a comma, get 401 with a challenge."""
    response = token(request_to(method="POST", body=token_request()))
    assert (response.status_code, body_of(response)["code"]) == (401, "credential_missing")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="token"'
    twice = [*assertion().items(), *assertion().items()]
    response = token(request_to(headers=twice, method="POST", body=token_request()))
    assert (response.status_code, body_of(response)["code"]) == (401, "credential_malformed")
    assert body_of(response)["detail"] == "The request has more than one Authorization header line."
    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="token", error="invalid_token"')


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_the_token_service_accepts_post_only(token: TokenEndpoint, method: str) -> None:
    """Another method gets 405 with `Allow` (RFC 9110, section 15.5.6), and does not spend the assertion."""
    headers = assertion()
    response = token(request_to(headers=headers, body=token_request(), method=method))
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert token(request_to(headers=headers, method="POST", body=token_request())).status_code == 200


def test_the_token_service_is_opened_at_its_first_request(tmp_path: Path) -> None:
    """From then on, Google's certificates are refreshed in the background."""
    (tmp_path / "policy.toml").write_text(POLICY)
    certificates = CertificateCache(FakeSource(GOOGLE_KEY))
    token = TokenEndpoint(tmp_path / "policy.toml", lambda policy: token_service(policy, certificates))
    with pytest.raises(VerifierUnavailable):
        certificates.ready()
    assert token(request_to(method="POST")).status_code == 401
    certificates.ready()


def test_all_threads_share_one_token_service(tmp_path: Path) -> None:
    """If many threads need it at once, one token service is made, and an assertion is accepted once."""
    (tmp_path / "policy.toml").write_text(POLICY)
    slow = Slow(THREADS)

    def make(policy: Policy) -> TokenService:
        slow.wait()
        return token_service(policy)

    token, headers = TokenEndpoint(tmp_path / "policy.toml", make), assertion()

    def call() -> int:
        slow.ask()
        return token(request_to(headers=headers, method="POST", body=token_request())).status_code

    with ThreadPoolExecutor(THREADS) as threads:
        statuses = [future.result() for future in [threads.submit(call) for _ in range(THREADS)]]
    assert slow.made == 1
    assert sorted(statuses) == [200] + [401] * (THREADS - 1)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: None,
        lambda path: path.write_text("[services.billing\n"),
        lambda path: path.write_text(POLICY.replace("product", "prodcut", 1)),
    ],
    ids=["missing", "not TOML", "wrong"],
)
def test_a_wrong_policy_is_an_error_at_import(tmp_path: Path, write: Callable[[Path], object]) -> None:
    """firebase-tools imports functions before it deploys them, so they are not deployed with a wrong policy."""
    path = tmp_path / "policy.toml"
    write(path)
    with pytest.raises(PolicyError, match=r"policy\.toml"):
        TokenEndpoint(path, token_service)


class FunctionsSite(Site):
    """The functions of a service. The platform chooses one by the first part of the path, and removes that."""

    def __init__(self, verifier: TokenVerifier) -> None:
        super().__init__(verifier)
        self._callee = Callee(verifier)
        self._functions: dict[str, Callable[[Request], Response]] = {"open": lambda request: Response("open")}
        for name, admissions in ADMISSIONS.items():
            function = self._function(name)
            for admission in reversed(admissions):
                function = self._callee.allow(**admission)(function)
            self._functions[name] = function

    def _function(self, name: str) -> Any:
        def function(request: Request, caller: Caller) -> Response:
            request.get_data()
            text = self.serve(name, caller)
            return Response("not found", 404) if name == "broken" else Response(text)

        function.__name__ = name
        return function

    @property
    @override
    def protected(self) -> Callee:
        return self._callee

    @override
    def send(self, method: str, path: str, lines: Lines = (), body: Body | None = None) -> httpx.Response:
        url = httpx.URL(path)
        function = self._functions.get(url.path.strip("/"))
        if function is None:
            return httpx.Response(404)
        request = request_to("/?" + url.query.decode(), list(lines), method=method)
        if body is not None:
            request.environ["wsgi.input"], request.environ["CONTENT_LENGTH"] = body, str(len(body.content))
        answer = function(request)
        content = b"" if method == "HEAD" else answer.get_data()
        return httpx.Response(answer.status_code, headers=list(answer.headers), content=content)


class TestFunctions(AdapterContract):
    """Firebase functions keep the promises of every adapter."""

    site_class = FunctionsSite
    options_status = 401


def test_the_plugin_takes_a_function(firebase: FakeFirebase, delivery: Delivery) -> None:
    """`FirebaseProject.protect` takes one function too, also under the decorator of the platform."""
    project = FirebaseProject()
    on_request = wraps(delivery.estimate)(lambda request: delivery.estimate(request))
    project.protect(on_request)
    headers = project.as_service("billing").headers()
    assert delivery.estimate(request_to(headers=headers)).status_code == 200
    project.release()
    assert (
        delivery.estimate(request_to(headers=project.as_service("billing", to="delivery").headers())).status_code == 401
    )
