"""What a process with Billing's credentials gets from the token service, and what it is refused."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from emulator.demo.calls import log_lines
from emulator.run.stack import Stack
from mstoken.claims import ServiceClaims
from mstoken.emulator.keys import Key, make_jws
from mstoken.emulator.metadata import IDENTITY_PATH
from mstoken.proof import ProofKey
from mstoken.strict_jwt import base64url, unverified

TIMEOUT_SECONDS = 60
PRODUCT = {"audience": "product", "mode": "fresh"}

Ask = Callable[..., httpx.Response]


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=TIMEOUT_SECONDS) as client:
        yield client


@pytest.fixture
def identity(emulators: Stack, client: httpx.Client) -> Callable[..., str]:
    """Fetches identity tokens, as any process on a service's machine can."""

    def token(service: str = "billing", audience: str | None = None) -> str:
        host = emulators.identity_environment(service)["GCE_METADATA_HOST"]
        params = {"audience": audience or emulators.function_url("token"), "format": "full"}
        answer = client.get(f"http://{host}{IDENTITY_PATH}", params=params, headers={"Metadata-Flavor": "Google"})
        return answer.raise_for_status().text

    return token


@pytest.fixture
def ask(emulators: Stack, client: httpx.Client, identity: Callable[..., str]) -> Ask:
    """Sends a request to the token service, with Billing's identity token unless another credential is given."""

    def ask(content: dict[str, Any], credential: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {credential or identity()}"}
        return client.post(emulators.function_url("token"), json=content, headers=headers)

    return ask


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Return the status and the code of a refusal, after checking its form."""
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "custom_token" not in answer.text
    return answer.status_code, answer.json()["code"]


def test_billing_gets_a_token_for_its_own_name(emulators: Stack, client: httpx.Client, ask: Ask) -> None:
    """Billing gets a custom token for svc:billing. Signing in with it gives a fresh ID token for Product."""
    answer = ask(PRODUCT)
    assert answer.status_code == 200
    assert answer.json()["expires_in"] == 3600
    custom = unverified(answer.json()["custom_token"]).payload
    assert custom["uid"] == "svc:billing"
    url = f"{emulators.settings.identity_toolkit_url}/accounts:signInWithCustomToken?key=any"
    signed_in = client.post(url, json={"token": answer.json()["custom_token"], "returnSecureToken": True}).json()
    claims = ServiceClaims.parse(unverified(signed_in["idToken"]).payload)
    assert (claims.service, claims.audience, claims.mode) == ("billing", "product", "fresh")


def test_no_two_tokens_have_the_same_id(ask: Ask) -> None:
    """The token service gives each token a new id."""
    ids = {unverified(ask(PRODUCT).json()["custom_token"]).payload["claims"]["ms"]["jti"] for _ in range(5)}
    assert len(ids) == 5


def test_a_bound_token_is_for_the_key_that_was_named(ask: Ask) -> None:
    """The claim of a bound token has the key's thumbprint, and no id."""
    thumbprint = ProofKey().thumbprint
    before = int(time.time())
    answer = ask({"audience": "product", "mode": "proof", "jkt": thumbprint})
    claims = unverified(answer.json()["custom_token"]).payload["claims"]
    minted_at = claims["ms"]["iat"]
    assert before <= minted_at <= time.time()
    assert claims == ServiceClaims.bound("billing", "product", thumbprint, minted_at=minted_at).as_developer_claims()


@pytest.mark.parametrize(
    "more",
    [
        {"uid": "svc:user"},
        {"service": "user"},
        {"sub": "svc:user"},
        {"svc": "user"},
        {"iss": "user"},
        {"claims": {"ms": {"v": 1, "svc": "user", "aud": "product", "jti": "x" * 22}}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_billing_cannot_get_a_token_as_user(ask: Ask, more: dict[str, Any]) -> None:
    """A request cannot name another service: the token service refuses members that it does not know."""
    assert refusal(ask(PRODUCT | more)) == (400, "request_invalid")


def test_a_process_with_billings_credentials_cannot_be_user(emulators: Stack) -> None:
    """A process that calls itself User but has Billing's credentials gets no token."""
    script = """
from mstoken import ServiceIdentity
from mstoken.errors import SignInRefused
with ServiceIdentity("user") as user:
    try:
        user.token_sync("product")
    except SignInRefused as error:
        print(error.reason)
"""
    environment = emulators.identity_environment("billing") | {
        "GOOGLE_CLOUD_PROJECT": emulators.project,
        "FIREBASE_AUTH_EMULATOR_HOST": emulators.auth_host,
    }
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    reason = "the token service issued a custom token for svc:billing: check which credential this process uses"
    assert ended.stdout == f"{reason}\n"


@pytest.mark.parametrize("audience", ["billing", "warehouse", "token"])
def test_billing_gets_nothing_for_an_audience_outside_its_policy(ask: Ask, audience: str) -> None:
    """An audience that the policy does not allow gets 403, whether such a service exists or not."""
    assert refusal(ask({"audience": audience, "mode": "fresh"})) == (403, "audience_not_allowed")


@pytest.mark.parametrize(
    "content",
    [
        {"audience": "product", "mode": "fresh", "uid": "administrator"},
        {"audience": "product", "mode": "fresh", "role": "admin"},
        {"audience": "product", "mode": "person"},
        {"uid": "administrator"},
        {"audience": "svc:product", "mode": "fresh"},
    ],
    ids=["uid", "role", "mode", "only-uid", "audience"],
)
def test_billing_cannot_be_a_person(ask: Ask, content: dict[str, Any]) -> None:
    """No request gives Billing a custom token for another uid than svc:billing, or with other claims than `ms`."""
    assert refusal(ask(content)) == (400, "request_invalid")


@pytest.mark.parametrize("audience", ["https://elsewhere.example.com", "{url}/", "{base}/estimate", "product"])
def test_a_stolen_identity_token_for_another_audience_gets_nothing(
    emulators: Stack, ask: Ask, identity: Callable[..., str], audience: str
) -> None:
    """An identity token that Billing sent to another server is refused here."""
    other = audience.format(url=emulators.function_url("token"), base=emulators.functions_url)
    assert refusal(ask(PRODUCT, identity(audience=other))) == (401, "credential_untrusted")


def test_an_identity_token_that_google_did_not_sign_gets_nothing(ask: Ask, identity: Callable[..., str]) -> None:
    """An identity token that is right except for its signature is refused, even with the published key's id."""
    token = identity()
    good = unverified(token)
    key = Key()
    key.key_id = good.header["kid"]
    forged = make_jws(key.header, token.split(".")[1], key)
    assert refusal(ask(PRODUCT, forged)) == (401, "credential_untrusted")
    header = base64url(b'{"alg": "none"}')
    unsigned = f"{header}.{token.split('.')[1]}."
    assert refusal(ask(PRODUCT, unsigned)) == (401, "credential_untrusted")


def test_a_services_own_id_token_is_no_credential(emulators: Stack, client: httpx.Client, ask: Ask) -> None:
    """An ID token of Firebase for a call is refused as a credential."""
    url = f"{emulators.settings.identity_toolkit_url}/accounts:signInWithCustomToken?key=any"
    signed_in = client.post(url, json={"token": ask(PRODUCT).json()["custom_token"], "returnSecureToken": True})
    assert refusal(ask(PRODUCT, signed_in.json()["idToken"])) == (401, "credential_untrusted")


def test_without_a_credential_there_is_a_challenge(emulators: Stack, client: httpx.Client) -> None:
    """A request without a credential gets 401 with a Bearer challenge."""
    answer = client.post(emulators.function_url("token"), json=PRODUCT)
    assert refusal(answer) == (401, "credential_missing")
    assert answer.headers["www-authenticate"] == 'Bearer realm="token"'


def test_every_answer_is_in_the_audit(emulators: Stack, ask: Ask, identity: Callable[..., str]) -> None:
    """The audit log has who asked, how that was proven, for which audience, and the verdict, and no tokens."""
    if not emulators.log("emulators").exists():
        pytest.fail("These emulators write their log elsewhere. Stop them, so that the tests start their own.")
    thumbprint = ProofKey().thumbprint
    ask({"audience": "user", "mode": "proof", "jkt": thumbprint})
    ask({"audience": "warehouse", "mode": "fresh"})
    stolen = identity(audience="https://audit.example.com")
    ask(PRODUCT, stolen)
    lines = [line for line in log_lines(emulators, "emulators") if line.get("logger") == "mstoken.audit"]
    answers = [(line["service"], line["audience"], line["mode"], line["verdict"]) for line in lines]
    assert ("billing", "user", "proof", "issued") in answers
    assert ("billing", "warehouse", "fresh", "audience_not_allowed") in answers
    assert (None, None, None, "credential_untrusted") in answers
    assert any(line["proven_by"] == "account billing@demo-shop.iam.gserviceaccount.com" for line in lines)
    assert "eyJ" not in emulators.log("emulators").read_text()


def test_a_function_is_called_as_a_service_is(emulators: Stack) -> None:
    """`estimate` accepts Billing's tokens in both modes, each once, and refuses what services refuse."""
    script = """
import httpx, sys
from mstoken import ServiceIdentity
url = sys.argv[1]
with ServiceIdentity("billing") as billing:
    for mode in ("fresh", "proof"):
        auth = billing.to("delivery", mode)
        request = next(auth.sync_auth_flow(httpx.Request("GET", url)))
        for again in range(2):
            answer = httpx.get(url, headers=request.headers, timeout=60)
            print(answer.status_code, answer.json().get("days") or answer.json()["code"])
    wrong = httpx.get(url.replace("CA", "Canada"), auth=billing.to("delivery"), timeout=60)
    print(wrong.status_code, wrong.json()["code"], wrong.headers["Content-Type"])
    request = next(billing.to("product", "fresh").sync_auth_flow(httpx.Request("GET", url)))
    answer = httpx.get(url, headers=request.headers, timeout=60)
    print(answer.status_code, answer.json()["code"], answer.headers["WWW-Authenticate"])
"""
    environment = emulators.identity_environment("billing") | {
        "GOOGLE_CLOUD_PROJECT": emulators.project,
        "FIREBASE_AUTH_EMULATOR_HOST": emulators.auth_host,
    }
    ended = subprocess.run(
        [sys.executable, "-c", script, f"{emulators.function_url('estimate')}?country=CA"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT_SECONDS,
        check=False,
    )
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == [
        "200 4",
        "401 token_replayed",
        "200 4",
        "401 proof_replayed",
        "422 country_invalid application/problem+json",
        '401 token_wrong_audience MsToken realm="delivery", error="token_wrong_audience"',
    ]
