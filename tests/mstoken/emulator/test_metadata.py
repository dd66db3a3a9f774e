"""The metadata server of each service: what google-auth gets from it, and which requests it refuses."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from fastapi import FastAPI
from google.auth import jwt

from emulator.run.ports import HOST, Ports, free_offset
from emulator.run.processes import Supervisor
from mstoken.emulator.metadata import ACCOUNTS_PATH, CERTIFICATES_PATH, IDENTITY_PATH, create_app, email_of
from tests.mstoken.emulator.sockets import is_open

WAIT_SECONDS = 20.0
ROOT = Path(__file__).parents[3]
SERVICES = {9102: "product", 9103: "billing"}
FLAVOR = {"Metadata-Flavor": "Google"}
AUDIENCE = "https://tokens.example/token"

FETCH_IDENTITY = """
import json, sys
from google.auth.transport.requests import Request
from google.oauth2 import id_token

audience, certificates = sys.argv[1:]
request = Request()
credentials = id_token.fetch_id_token_credentials(audience, request=request)
credentials.refresh(request)
claims = id_token.verify_token(credentials.token, request, audience=audience, certs_url=certificates)
print(json.dumps({"account": credentials.service_account_email, "claims": claims}))
"""

TAKE_DEFAULTS = """
import json
import google.auth
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request

credentials, project = google.auth.default()
refusals = []
for _ in range(2):  # the first asks for the account "default", the second for the account's e-mail address
    try:
        credentials.refresh(Request())
    except RefreshError as error:
        refusals.append("/service-accounts/default/token" in str(error) and "Status: 404" in str(error))
found = {"project": project, "universe": credentials.universe_domain, "account": credentials.service_account_email}
print(json.dumps(found | {"scopes": list(credentials.scopes), "no access tokens": refusals}))
"""


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """The metadata servers of Product and Billing."""
    return create_app(SERVICES, "demo-shop")


def client(app: FastAPI, service: str, **headers: str) -> httpx.AsyncClient:
    """Return a client of a service's metadata server. It sends only these headers."""
    port = {name: port for port, name in SERVICES.items()}[service]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"http://{HOST}:{port}", headers=headers)


@pytest.fixture
def billing(app: FastAPI) -> httpx.AsyncClient:
    """A client that asks as Billing."""
    return client(app, "billing", **FLAVOR)


@pytest.fixture
def product(app: FastAPI) -> httpx.AsyncClient:
    """A client that asks as Product."""
    return client(app, "product", **FLAVOR)


async def claims_of(service: httpx.AsyncClient, **query: str) -> dict[str, Any]:
    """Return the claims of the service's identity token, verified with the published certificates."""
    answer = await service.get(IDENTITY_PATH, params={"audience": AUDIENCE, "format": "full"} | query)
    certificates = (await service.get(CERTIFICATES_PATH)).json()
    claims: dict[str, Any] = jwt.decode(answer.text, certs=certificates)
    return claims


def answers(url: str) -> bool:
    """Return whether a metadata server answers at the URL."""
    try:
        return bool(httpx.get(url).headers.get("Metadata-Flavor") == "Google")
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def ports() -> Ports:
    """Free ports."""
    return Ports.shifted(free_offset())


Start = Callable[..., Supervisor]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts `mstoken emulator` with arguments. The processes end with this module."""
    supervisors: list[Supervisor] = []

    def start_metadata(*arguments: str) -> Supervisor:
        supervisors.append(supervisor := Supervisor())
        port = Ports.shifted(free_offset()).signed_auth
        command = [sys.executable, "-m", "mstoken", "emulator", "--project", "demo-shop", "--port", str(port)]
        log = tmp_path_factory.mktemp("metadata") / "metadata.log"
        supervisor.start("metadata", [*command, *arguments], env=dict(os.environ), cwd=ROOT, log=log)
        return supervisor

    yield start_metadata
    for supervisor in supervisors:
        supervisor.stop()


@pytest.fixture(scope="module")
def running(start: Start, ports: Ports) -> dict[str, str]:
    """One process that serves Product and Billing: service -> host:port."""
    hosts = {"product": f"{HOST}:{ports.product}", "billing": f"{HOST}:{ports.billing}"}
    supervisor = start("--service", f"product={ports.product}", "--service", f"billing={ports.billing}")
    for service, host in hosts.items():
        supervisor.wait_until(partial(answers, f"http://{host}/"), service, WAIT_SECONDS)
    return hosts


@pytest.fixture
def google_auth(running: dict[str, str], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs code in a process that knows only a service's metadata server. Returns the JSON that the code prints."""

    def run(service: str, code: str, *arguments: str) -> dict[str, Any]:
        ours = {"GCE_METADATA_HOST": running[service], "GCE_METADATA_IP": running[service]}
        env = {name: value for name, value in os.environ.items() if not name.startswith(("GCE_", "GOOGLE_", "GCLOUD_"))}
        env |= ours | {"CLOUDSDK_CONFIG": str(tmp_path), "NO_PROXY": HOST, "no_proxy": HOST}
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.mark.parametrize("service", ["product", "billing"])
@pytest.mark.process
def test_google_auth_gets_an_identity_token(
    google_auth: Callable[..., dict[str, Any]], running: dict[str, str], service: str
) -> None:
    """google-auth, unchanged, fetches and verifies the identity token of the service whose port it is given."""
    found = google_auth(service, FETCH_IDENTITY, AUDIENCE, f"http://{running['product']}{CERTIFICATES_PATH}")
    assert found["account"] == found["claims"]["email"] == f"{service}@demo-shop.iam.gserviceaccount.com"
    assert found["claims"]["aud"] == AUDIENCE


@pytest.mark.process
def test_google_auth_finds_the_default_credentials(google_auth: Callable[..., dict[str, Any]]) -> None:
    """google-auth learns project, account and universe domain, and gets 404 for access tokens."""
    assert google_auth("billing", TAKE_DEFAULTS) == {
        "project": "demo-shop",
        "universe": "googleapis.com",
        "account": "billing@demo-shop.iam.gserviceaccount.com",
        "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
        "no access tokens": [True, True],
    }


async def test_the_claims_of_an_identity_token(billing: httpx.AsyncClient) -> None:
    """An identity token names Google as issuer, the audience and the service's account, and lives for an hour."""
    before = int(time.time())
    claims = await claims_of(billing)
    assert before <= claims["iat"] <= time.time()
    assert claims == {
        "iss": "https://accounts.google.com",
        "aud": AUDIENCE,
        "azp": claims["sub"],
        "sub": claims["sub"],
        "email": "billing@demo-shop.iam.gserviceaccount.com",
        "email_verified": True,
        "iat": claims["iat"],
        "exp": claims["iat"] + 3600,
    }


async def test_an_identity_token_is_signed_with_the_published_key(billing: httpx.AsyncClient) -> None:
    """The token's header says RS256 and has the id of the published certificate."""
    token = (await billing.get(IDENTITY_PATH, params={"audience": AUDIENCE})).text
    (key_id,) = (await billing.get(CERTIFICATES_PATH)).json()
    assert jwt.decode_header(token) == {"alg": "RS256", "kid": key_id, "typ": "JWT"}


@pytest.mark.parametrize("query", [{"format": "standard"}, {"format": ""}])
async def test_only_the_format_full_includes_the_email_address(
    billing: httpx.AsyncClient, query: dict[str, str]
) -> None:
    """A token in another format than "full" has all claims except the e-mail address."""
    claims = await claims_of(billing, **query)
    assert not {"email", "email_verified"} & claims.keys()
    assert claims.keys() == {"iss", "aud", "azp", "sub", "iat", "exp"}


async def test_the_default_format_is_standard(billing: httpx.AsyncClient) -> None:
    """A token that is requested without a format has no e-mail address."""
    answer = await billing.get(IDENTITY_PATH, params={"audience": AUDIENCE})
    assert "email" not in jwt.decode(answer.text, verify=False)


@pytest.mark.parametrize("query", [{}, {"audience": ""}])
async def test_an_identity_token_needs_an_audience(billing: httpx.AsyncClient, query: dict[str, str]) -> None:
    """A request without an audience is answered with 400."""
    answer = await billing.get(IDENTITY_PATH, params=query)
    assert (answer.status_code, answer.text) == (400, "non-empty audience parameter required")


async def test_the_subject_survives_a_restart(billing: httpx.AsyncClient) -> None:
    """A service has the same subject after a restart: 21 digits, as at Google."""
    subject = (await claims_of(billing))["sub"]
    restarted = client(create_app(SERVICES, "demo-shop"), "billing", **FLAVOR)
    assert (await claims_of(restarted))["sub"] == subject
    assert len(subject) == 21
    assert subject.isdecimal()


async def test_every_account_has_a_subject_of_its_own(billing: httpx.AsyncClient, product: httpx.AsyncClient) -> None:
    """Two services of a project have different subjects, and so has one service in two projects."""
    elsewhere = client(create_app(SERVICES, "demo-elsewhere"), "billing", **FLAVOR)
    claims = [await claims_of(service) for service in (billing, product, elsewhere)]
    assert len({one["sub"] for one in claims}) == 3
    assert (
        claims[2]["email"] == email_of("billing", "demo-elsewhere") == "billing@demo-elsewhere.iam.gserviceaccount.com"
    )


async def test_an_account_is_found_by_its_email_address(billing: httpx.AsyncClient) -> None:
    """The path of an account may have its e-mail address, escaped or not, instead of "default"."""
    for name in ("default", "billing@demo-shop.iam.gserviceaccount.com", "billing%40demo-shop.iam.gserviceaccount.com"):
        assert (await billing.get(f"{ACCOUNTS_PATH}/{name}/email")).text == "billing@demo-shop.iam.gserviceaccount.com"


@pytest.mark.parametrize("rest", ["/email", "/?recursive=true", f"/identity?audience={AUDIENCE}"])
async def test_a_service_does_not_get_the_account_of_another(billing: httpx.AsyncClient, rest: str) -> None:
    """On Billing's port, Product's account is not found."""
    answer = await billing.get(f"{ACCOUNTS_PATH}/product@demo-shop.iam.gserviceaccount.com{rest}")
    assert answer.status_code == 404


async def test_the_details_of_an_account(product: httpx.AsyncClient) -> None:
    """The details of an account are its aliases, its e-mail address and its scopes, as JSON."""
    answer = await product.get(f"{ACCOUNTS_PATH}/default/", params={"recursive": "true"})
    assert answer.json() == {
        "aliases": ["default"],
        "email": "product@demo-shop.iam.gserviceaccount.com",
        "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/computeMetadata/v1/project/project-id", "demo-shop"),
        ("/computeMetadata/v1/universe/universe-domain", "googleapis.com"),
        (f"{ACCOUNTS_PATH}/default/email", "billing@demo-shop.iam.gserviceaccount.com"),
    ],
)
async def test_plain_values_are_plain_text(billing: httpx.AsyncClient, path: str, value: str) -> None:
    """Project id, universe domain and e-mail address are plain text, without JSON's quotation marks."""
    answer = await billing.get(path)
    assert (answer.text, answer.headers["Content-Type"]) == (value, "text/plain; charset=utf-8")


@pytest.mark.parametrize(
    "path",
    [
        f"{ACCOUNTS_PATH}/default/token",
        f"{ACCOUNTS_PATH}/default/",
        f"{ACCOUNTS_PATH}/default",
        f"{ACCOUNTS_PATH}/nobody/email",
        "/computeMetadata/v1/instance/id",
        "/elsewhere",
        "/docs",
    ],
)
async def test_an_unknown_path_is_not_found(billing: httpx.AsyncClient, path: str) -> None:
    """A path that the server does not have is answered with 404. Access tokens are among these."""
    assert (await billing.get(path)).status_code == 404


PATHS = [
    IDENTITY_PATH + "?audience=a",
    f"{ACCOUNTS_PATH}/default/?recursive=true",
    f"{ACCOUNTS_PATH}/default/email",
    "/computeMetadata/v1/project/project-id",
    "/computeMetadata/v1/universe/universe-domain",
    "/computeMetadata/v1/nothing",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("headers", [{}, {"Metadata-Flavor": "Vanilla"}, {"Metadata-Flavor": "Google, Google"}])
async def test_a_request_without_the_header_is_refused(app: FastAPI, path: str, headers: dict[str, str]) -> None:
    """A request without the header gets 403: a service that is tricked into fetching a URL does not send it."""
    answer = await client(app, "billing", **headers).get(path)
    assert (answer.status_code, answer.text) == (403, "Missing Metadata-Flavor:Google header.")


@pytest.mark.parametrize("path", ["/", *PATHS])
async def test_a_request_that_a_proxy_passed_on_is_refused(app: FastAPI, path: str) -> None:
    """A request with X-Forwarded-For is refused, even with the right flavor, and even if the header is empty."""
    for forwarded in ("203.0.113.7", ""):
        answer = await client(app, "billing", **FLAVOR, **{"X-Forwarded-For": forwarded}).get(path)
        assert answer.status_code == 403


@pytest.mark.parametrize("path", ["/", CERTIFICATES_PATH, *PATHS, "/elsewhere", f"{ACCOUNTS_PATH}/nobody/email"])
@pytest.mark.parametrize("headers", [{}, FLAVOR, FLAVOR | {"X-Forwarded-For": "203.0.113.7"}])
async def test_every_answer_has_the_flavor_header(app: FastAPI, path: str, headers: dict[str, str]) -> None:
    """Answers and refusals have `Metadata-Flavor: Google`, as Google's have: callers look for it."""
    answer = await client(app, "billing", **headers).get(path)
    assert answer.headers["Metadata-Flavor"] == "Google"


WEB_PAGES = [
    {"Host": "evil.example:9103"},
    {"Host": "evil.example:9103", "Origin": "http://evil.example:9103", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:5000", "Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Connection": "Upgrade", "Upgrade": "websocket", "Origin": "http://localhost:5000"},
]


@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
@pytest.mark.parametrize("path", ["/", CERTIFICATES_PATH, *PATHS])
@pytest.mark.parametrize("headers", WEB_PAGES, ids=str)
async def test_every_web_page_is_refused(app: FastAPI, path: str, method: str, headers: dict[str, str]) -> None:
    """A web page in the developer's browser gets 403, with the right flavor too, and no CORS headers."""
    for flavor in {}, FLAVOR:
        answer = await client(app, "billing", **flavor).request(method, path, headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


async def test_a_refusal_of_a_web_page_says_why(billing: httpx.AsyncClient) -> None:
    """It names the header that is wrong, and what to do."""
    renamed = await billing.get(IDENTITY_PATH, headers={"Host": "evil.example:9103"})
    assert renamed.text.startswith("The Host header must be localhost, 127.0.0.1 or [::1]")
    page = await billing.get(IDENTITY_PATH, headers={"Origin": "http://localhost:5000"})
    assert (
        page.text == "Web pages may not send this request. Send it from a program, without Origin and Sec-Fetch-Site."
    )


@pytest.mark.parametrize("host", ["localhost:9103", "127.0.0.1:9103", "[::1]:9103"])
async def test_a_service_may_use_each_name_of_this_machine(billing: httpx.AsyncClient, host: str) -> None:
    """google-auth sends the host that GCE_METADATA_HOST names."""
    answer = await billing.get(IDENTITY_PATH, params={"audience": AUDIENCE}, headers={"Host": host})
    assert answer.status_code == 200


@pytest.mark.process
def test_it_listens_on_this_machine_only(running: dict[str, str]) -> None:
    """Each port is open at 127.0.0.1, and not at every address: 127.0.0.2 is another address of this machine."""
    for address in running.values():
        host, _, port = address.rpartition(":")
        assert is_open(host, int(port))
        assert not is_open("127.0.0.2", int(port))


async def test_the_root_answers_without_the_header(app: FastAPI) -> None:
    """google-auth finds out if a server is there: the root answers with or without the header."""
    for headers in ({}, FLAVOR):
        assert (await client(app, "billing", **headers).get("/")).status_code == 200


async def test_certificates_are_public(app: FastAPI) -> None:
    """Every port serves the same certificates, without the header and through proxies, with Google's max-age."""
    asked = [
        await client(app, "billing").get(CERTIFICATES_PATH),
        await client(app, "product", **{"X-Forwarded-For": "203.0.113.7"}).get(CERTIFICATES_PATH),
    ]
    assert asked[0].json() == asked[1].json()
    assert asked[0].headers["Cache-Control"] == "public, max-age=21600, must-revalidate"
    (pem,) = asked[0].json().values()
    subject = x509.load_pem_x509_certificate(pem.encode()).subject
    assert subject.rfc4514_string() == "CN=federated-signon.system.gserviceaccount.com"
