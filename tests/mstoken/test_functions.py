"""The adapter for Firebase functions: callers of a function, the token service as one, and what threads share."""

import json
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Request, Response
from jwt.algorithms import ECAlgorithm
from werkzeug.test import EnvironBuilder

from emulator.local.keys import Key
from mstoken import Caller, ServiceCaller, Settings, TokenVerifier
from mstoken.callee.certificates import CertificateCache, Fetched
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.claims import ServiceClaims
from mstoken.errors import PolicyError, SettingsError, VerifierUnavailable
from mstoken.functions import Callee, TokenEndpoint
from mstoken.issuer.policy import Policy
from mstoken.issuer.service import TokenService
from mstoken.problem import Problem
from mstoken.testing import FakeFirebase

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


def sent(
    path: str = "/",
    headers: httpx.Headers | dict[str, str] | list[tuple[str, str]] | None = None,
    *,
    method: str = "GET",
    body: bytes = b"",
    without: tuple[str, ...] = (),
) -> Request:
    """A request as a server hands it on, in WSGI's words, but what it is `without`."""
    lines = headers if isinstance(headers, list) else list((headers or {}).items())
    builder = EnvironBuilder(path, method=method, headers=lines, data=body)
    made = builder.get_environ()
    builder.close()
    return Request({name: value for name, value in made.items() if name not in without})


def told(response: Response) -> Any:
    """What the JSON of an answer says."""
    return json.loads(response.get_data())


class Delivery:
    """A function of Delivery's for users and for Billing, and which callers have reached it."""

    def __init__(self, firebase: FakeFirebase, **admission: Any) -> None:
        self.callers: list[Caller] = []
        callee = Callee("delivery", lambda: firebase.verifier("delivery"))

        @callee.allow(**(admission or {"users": True, "services": {"billing"}}))
        def estimate(request: Request, caller: Caller) -> Response:
            """How long a delivery takes."""
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
    """What Billing sends with a call of Delivery at `url`, in proof mode."""
    auth = firebase.service_auth("billing", to="delivery", mode="proof")
    return next(auth.sync_auth_flow(httpx.Request("GET", url))).headers


def test_a_caller_reaches_the_function(firebase: FakeFirebase, delivery: Delivery) -> None:
    """With the request and who it is; what the function answers is the answer."""
    billing = firebase.service_headers("billing", to="delivery")
    response = delivery.estimate(sent("/?country=US", billing))
    assert (response.status_code, response.get_data(as_text=True)) == (200, "svc:billing asks for US")
    assert delivery.estimate(sent(headers=firebase.user_headers("anna"))).status_code == 200
    assert [str(caller) for caller in delivery.callers] == ["svc:billing", "user:anna"]


def test_a_service_acts_for_a_user(firebase: FakeFirebase, delivery: Delivery) -> None:
    """Both header fields are read."""
    headers = firebase.service_headers("billing", to="delivery") | firebase.user_headers("anna")
    delivery.estimate(sent(headers=headers))
    (caller,) = delivery.callers
    assert isinstance(caller, ServiceCaller)
    assert caller.user is not None
    assert caller.user.uid == "anna"


def test_a_decorated_function_keeps_its_name(delivery: Delivery) -> None:
    """The platform goes by it."""
    assert delivery.estimate.__name__ == "estimate"
    assert delivery.estimate.__doc__ == "How long a delivery takes."


class CountryUnknown(Problem):
    """An application's own problem."""

    status = 422
    code = "country_unknown"
    title = "The country is not known"


def test_a_problem_that_the_function_raises_is_answered(firebase: FakeFirebase) -> None:
    """A function that raises a `Problem` of its own is answered with problem details, as a refused call is."""
    callee = Callee("delivery", lambda: firebase.verifier("delivery"))

    @callee.allow(services={"billing"})
    def estimate(request: Request, caller: Caller) -> Response:
        raise CountryUnknown("Send two letters.")

    response = estimate(sent(headers=firebase.service_headers("billing", to="delivery")))
    assert (response.status_code, response.headers["Content-Type"]) == (422, "application/problem+json")
    assert told(response) == {
        "type": "about:blank",
        "title": "The country is not known",
        "status": 422,
        "code": "country_unknown",
        "detail": "Send two letters.",
    }


def test_a_401_is_a_problem_with_a_challenge(firebase: FakeFirebase, delivery: Delivery) -> None:
    """RFC 9457 for the body, RFC 9110 for the challenge, no cache keeps either, and the function is not run."""
    billing = firebase.service_headers("billing", to="delivery")
    assert delivery.estimate(sent(headers=billing)).status_code == 200
    response = delivery.estimate(sent(headers=billing))
    assert response.status_code == 401
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["WWW-Authenticate"] == 'MsToken realm="delivery", error="token_replayed"'
    assert response.headers["Cache-Control"] == "no-store"
    assert told(response) == {
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
def test_who_brings_nothing_good_does_not_come_in(
    delivery: Delivery, headers: dict[str, str], code: str, challenge: str
) -> None:
    """The answer names what would have done."""
    response = delivery.estimate(sent(headers=headers))
    assert (response.status_code, told(response)["code"]) == (401, code)
    assert response.headers["WWW-Authenticate"] == challenge
    assert delivery.callers == []


def test_who_is_not_meant_does_not_come_in(firebase: FakeFirebase) -> None:
    """403 for a known service or user whom the function is not for; a token for another service is a 401."""
    delivery = Delivery(firebase, users={"admin"}, services={"billing"})
    for headers in (firebase.service_headers("product", to="delivery"), firebase.user_headers("anna")):
        response = delivery.estimate(sent(headers=headers))
        assert (response.status_code, told(response)["code"]) == (403, "caller_not_allowed")
        assert "WWW-Authenticate" not in response.headers
    response = delivery.estimate(sent(headers=firebase.service_headers("billing", to="product")))
    assert (response.status_code, told(response)["code"]) == (401, "token_wrong_audience")
    assert delivery.callers == []


def test_an_outage_says_when_to_come_back_and_nothing_else(firebase: FakeFirebase, delivery: Delivery) -> None:
    """503 with Retry-After; what is broken inside is not told to strangers."""
    firebase.down = True
    response = delivery.estimate(sent(headers=firebase.service_headers("billing", to="delivery")))
    assert (response.status_code, told(response)["code"]) == (503, "verifier_unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    assert "detail" not in told(response)
    assert delivery.callers == []


def test_a_field_that_is_there_twice(firebase: FakeFirebase, delivery: Delivery) -> None:
    """WSGI joins two lines to one, with or without a space: neither of the two tokens counts."""
    token = firebase.service_headers("billing", to="delivery")["X-MS-TOKEN"]
    bearer = firebase.user_headers("anna")["Authorization"]
    twice: list[tuple[Request, str]] = [
        (sent(headers=[("X-MS-TOKEN", token), ("x-ms-token", token)]), "token_malformed"),
        (sent(headers=[("X-MS-TOKEN", token), ("X-MS-TOKEN", "")]), "token_malformed"),
        (sent(headers={"X-MS-TOKEN": f"{token},{token}"}), "token_malformed"),
        (sent(headers=[("Authorization", bearer), ("authorization", bearer)]), "user_token_invalid"),
    ]
    for request, code in twice:
        refusal = told(delivery.estimate(request))
        assert (refusal["code"], refusal["detail"][:22]) == (code, "There is more than one")
    headers = with_proof(firebase, f"{PLATFORM}/estimate")
    proofs = [(name, headers[name]) for name in ("X-MS-TOKEN", "DPoP", "DPoP")]
    assert told(delivery.estimate(sent(headers=proofs)))["code"] == "proof_invalid"
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
    """`MSTOKEN_BASE_URL`, the function's name, and the path behind it as it was sent, with its escapes."""
    response = delivery.estimate(sent(path, with_proof(firebase, PLATFORM + url), without=without))
    assert response.status_code == 200, told(response)


@pytest.mark.parametrize("path", ["/", "/of/a", "/of/a%2520b%20c", "/of/%C3%B6"])
def test_a_proof_where_the_server_keeps_no_escapes(firebase: FakeFirebase, delivery: Delivery, path: str) -> None:
    """A server that hands on only the path with its escapes undone has them put back."""
    headers = with_proof(firebase, f"{PLATFORM}/estimate{path.rstrip('/')}")
    response = delivery.estimate(sent(path, headers, without=("RAW_URI", "REQUEST_URI")))
    assert response.status_code == 200, told(response)


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
def test_a_proof_for_another_call(firebase: FakeFirebase, delivery: Delivery, url: str, path: str, method: str) -> None:
    """What Billing proves to one function, at one path, with one method, is worth nothing elsewhere."""
    response = delivery.estimate(sent(path, with_proof(firebase, url), method=method))
    assert (response.status_code, told(response)["code"]) == (401, "proof_invalid")
    assert delivery.callers == []


def test_the_base_url_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`MSTOKEN_BASE_URL` is what the functions' URLs have in common."""
    monkeypatch.setenv("MSTOKEN_BASE_URL", "https://us-central1-demo-shop.cloudfunctions.net/")
    firebase = FakeFirebase()
    headers = with_proof(firebase, "https://us-central1-demo-shop.cloudfunctions.net/estimate")
    assert Delivery(firebase).estimate(sent(headers=headers)).status_code == 200


def test_a_function_can_insist_on_proofs(firebase: FakeFirebase) -> None:
    """A fresh token will not do then."""
    delivery = Delivery(firebase, services={"billing"}, proof=True)
    response = delivery.estimate(sent(headers=firebase.service_headers("billing", to="delivery")))
    assert told(response)["code"] == "proof_missing"
    assert response.headers["WWW-Authenticate"] == 'DPoP realm="delivery", algs="ES256"'
    assert delivery.estimate(sent(headers=with_proof(firebase, f"{PLATFORM}/estimate"))).status_code == 200


def test_a_nonce_comes_with_the_refusal() -> None:
    """A caller that is told to use a nonce can (RFC 9449, section 8)."""
    firebase = FakeFirebase(base_url=PLATFORM, nonce_secret="n" * 32)
    delivery = Delivery(firebase)
    auth = firebase.service_auth("billing", to="delivery", mode="proof")
    flow = auth.sync_auth_flow(httpx.Request("GET", f"{PLATFORM}/estimate"))
    refused = delivery.estimate(sent(headers=next(flow).headers))
    assert told(refused)["code"] == "use_dpop_nonce"
    again = flow.send(httpx.Response(401, headers=list(refused.headers.items())))
    assert delivery.estimate(sent(headers=again.headers)).status_code == 200


def test_a_function_that_admits_no_caller_is_an_error() -> None:
    """The error is raised when the function is made, as is that about an invalid service name."""
    with pytest.raises(ValueError, match="refuse every caller"):
        Callee("delivery").allow()
    with pytest.raises(ValueError, match="must be sets of names"):
        Callee("delivery").allow(services="billing")
    with pytest.raises(ValueError, match="not a service name"):
        Callee("Delivery")


def test_a_functions_own_fault_is_its_own(firebase: FakeFirebase) -> None:
    """What a function raises goes to the platform, and is no refusal."""
    callee = Callee("delivery", lambda: firebase.verifier("delivery"))

    @callee.allow(users=True)
    def breaks(request: Request, caller: Caller) -> Response:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        breaks(sent(headers=firebase.user_headers("anna")))


def test_settings_are_read_at_the_first_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Functions can be imported where there are none, as firebase-tools does it."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "No Project")
    (tmp_path / "policy.toml").write_text(POLICY)

    @Callee("delivery").allow(users=True)
    def estimate(request: Request, caller: Caller) -> Response:
        raise AssertionError("unreachable: nobody is verified")

    token = TokenEndpoint(tmp_path / "policy.toml")
    with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT"):
        estimate(sent())
    with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT"):
        token(sent(method="POST"))


@pytest.mark.process
def test_importing_the_shops_functions_needs_no_settings() -> None:
    """No variable, no network and no thread: firebase-tools and gunicorn's parent only look at them."""
    script = "import main, threading; print(threading.active_count(), main.token.__name__, main.estimate.__name__)"
    python = FUNCTIONS / "venv/bin/python"
    found = subprocess.run([python, "-B", "-c", script], cwd=FUNCTIONS, env={}, capture_output=True, text=True)
    assert (found.stdout, found.returncode) == ("1 token estimate\n", 0), found.stderr


class Slow:
    """Makes something when all of a number of threads have asked for it; counts how often it was made."""

    def __init__(self, threads: int) -> None:
        self.made = 0
        self._asking = threading.Barrier(threads)
        self._begun = threading.Semaphore(0)
        self._threads = threads

    def ask(self) -> None:
        """Called by each thread just before it asks; returns when all do."""
        self._asking.wait(DEADLINE_SECONDS)
        self._begun.release()

    def wait(self) -> None:
        self.made += 1
        if self.made == 1:
            for _ in range(self._threads):
                assert self._begun.acquire(timeout=DEADLINE_SECONDS)


def test_all_threads_share_one_verifier(firebase: FakeFirebase) -> None:
    """It is made once, however many ask for it at once: two would each have a memory of what is spent."""
    slow = Slow(THREADS)

    def make() -> TokenVerifier:
        slow.wait()
        return firebase.verifier("delivery")

    @Callee("delivery", make).allow(services={"billing"})
    def estimate(request: Request, caller: Caller) -> Response:
        return Response()

    headers = firebase.service_headers("billing", to="delivery")

    def call() -> int:
        slow.ask()
        return estimate(sent(headers=headers)).status_code

    with ThreadPoolExecutor(THREADS) as threads:
        statuses = [future.result() for future in [threads.submit(call) for _ in range(THREADS)]]
    assert slow.made == 1
    assert sorted(statuses) == [200] + [401] * (THREADS - 1)


def test_the_functions_of_a_service_share_one_verifier(firebase: FakeFirebase) -> None:
    """A token that one of them has seen is spent for all."""
    made: list[TokenVerifier] = []

    def make() -> TokenVerifier:
        made.append(firebase.verifier("delivery"))
        return made[-1]

    callee = Callee("delivery", make)
    one, other = (callee.allow(services={"billing"})(lambda request, caller: Response()) for _ in range(2))
    assert made == []
    headers = firebase.service_headers("billing", to="delivery")
    assert [one(sent(headers=headers)).status_code, other(sent(headers=headers)).status_code] == [200, 401]
    assert len(made) == 1


@pytest.mark.process
def test_a_forked_child_has_a_verifier_of_its_own() -> None:
    """The background thread of the parent does not exist in the child, so the child starts another."""
    script = """
        import os, signal
        from flask import Response
        from mstoken.functions import Callee
        from mstoken.testing import FakeFirebase
        from tests.mstoken.test_functions import sent

        firebase = FakeFirebase()
        callee = Callee("delivery", lambda: firebase.verifier("delivery"))
        estimate = callee.allow(services={"billing"})(lambda request, caller: Response(str(os.getpid())))

        def answer():
            return estimate(sent(headers=firebase.service_headers("billing", to="delivery"))).get_data(as_text=True)

        answer()
        child = os.fork()
        if not child:
            signal.alarm(20)
        assert answer() == str(os.getpid())
        if not child:
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", dedent(script)]
    ended = subprocess.run(command, cwd=ROOT, timeout=60, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("0\n", "")


class FakeSource:
    """Publishes the certificate of one key."""

    async def fetch(self) -> Fetched:
        return Fetched({GOOGLE_KEY.key_id: GOOGLE_KEY.certificate}, 3_600)


class FakeSigner:
    """Signs by saying so."""

    async def sign(self, claims: ServiceClaims) -> str:
        return f"{claims.uid} to {claims.audience}"


def token_service(policy: Policy, certificates: CertificateCache | None = None) -> TokenService:
    return TokenService(
        policy,
        Settings(project_id="demo-test", emulator_host=None, token_service_url=URL),
        sign=FakeSigner().sign,
        certificates=certificates or CertificateCache(FakeSource()),
        replay=MemoryReplayStore(),
    )


def assertion() -> dict[str, str]:
    """The header of Billing's, with a new assertion."""
    now = int(time.time())
    claims = {"iss": "billing", "sub": "billing", "aud": URL, "jti": secrets.token_hex(8), "iat": now, "exp": now + 60}
    return {"Authorization": f"Bearer {jwt.encode(claims, KEY, 'ES256')}"}


def wanted(audience: str = "product", **members: str) -> bytes:
    return json.dumps({"audience": audience, "mode": "fresh"} | members).encode()


@pytest.fixture
def token(tmp_path: Path) -> TokenEndpoint:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return TokenEndpoint(path, token_service)


def test_a_token_is_issued(token: TokenEndpoint) -> None:
    """200 with JSON that no cache keeps, whatever the request says of the type of its body."""
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        headers = assertion() | {"Content-Type": content_type}
        response = token(sent(headers=headers, method="POST", body=wanted()))
        assert (response.status_code, response.mimetype) == (200, "application/json")
        assert response.headers["Cache-Control"] == "no-store"
        assert told(response) == {"custom_token": "svc:billing to product", "expires_in": 3600}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "request_invalid"),
        (wanted(uid="svc:user"), 400, "request_invalid"),
        (b" " * 5_000, 400, "request_invalid"),
        (wanted("billing"), 403, "audience_not_allowed"),
    ],
)
def test_a_token_is_not_issued(token: TokenEndpoint, body: bytes, status: int, code: str) -> None:
    """A refusal is a problem that no cache keeps, with no challenge where another credential would not help."""
    response = token(sent(headers=assertion(), method="POST", body=body))
    assert (response.status_code, told(response)["code"]) == (status, code)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    assert "WWW-Authenticate" not in response.headers


def test_who_proves_nothing_gets_nothing(token: TokenEndpoint) -> None:
    """401 with a challenge of the realm "token"; also for two credentials at once, which WSGI joins with a comma."""
    response = token(sent(method="POST", body=wanted()))
    assert (response.status_code, told(response)["code"]) == (401, "credential_missing")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="token"'
    twice = [*assertion().items(), *assertion().items()]
    response = token(sent(headers=twice, method="POST", body=wanted()))
    assert (response.status_code, told(response)["code"]) == (401, "credential_malformed")
    assert told(response)["detail"] == "There is more than one Authorization header line."
    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="token", error="invalid_token"')


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_tokens_are_posted_for(token: TokenEndpoint, method: str) -> None:
    """Any other method is a 405 that says so (RFC 9110, section 15.5.6), and spends nothing."""
    headers = assertion()
    response = token(sent(headers=headers, body=wanted(), method=method))
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert token(sent(headers=headers, method="POST", body=wanted())).status_code == 200


def test_it_is_opened_at_the_first_request(tmp_path: Path) -> None:
    """From then on Google's certificates are kept fresh in the background, whoever asks for what."""
    (tmp_path / "policy.toml").write_text(POLICY)
    certificates = CertificateCache(FakeSource())
    token = TokenEndpoint(tmp_path / "policy.toml", lambda policy: token_service(policy, certificates))
    with pytest.raises(VerifierUnavailable):
        certificates.ready()
    assert token(sent(method="POST")).status_code == 401
    certificates.ready()


def test_all_threads_share_one_token_service(tmp_path: Path) -> None:
    """It is made once, and one assertion counts once."""
    (tmp_path / "policy.toml").write_text(POLICY)
    slow = Slow(THREADS)

    def make(policy: Policy) -> TokenService:
        slow.wait()
        return token_service(policy)

    token, headers = TokenEndpoint(tmp_path / "policy.toml", make), assertion()

    def call() -> int:
        slow.ask()
        return token(sent(headers=headers, method="POST", body=wanted())).status_code

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
    ids=["missing", "no TOML", "faulty"],
)
def test_a_wrong_policy(tmp_path: Path, write: Callable[[Path], object]) -> None:
    """There is no function with it, so that firebase-tools, which imports functions first, does not deploy them."""
    path = tmp_path / "policy.toml"
    write(path)
    with pytest.raises(PolicyError, match=r"policy\.toml"):
        TokenEndpoint(path, token_service)
