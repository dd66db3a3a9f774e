"""What a thief can do with each kind of leaked credential, and until when: a test for each row of the table.

docs/threat-model.md has the table. Time is not waited for: credentials are minted as in the past, or the clock of a
token service is moved.
"""

import asyncio
import datetime
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from emulator.run.shop_client import TIMEOUT_SECONDS
from emulator.run.stack import ROOT, Stack
from mstoken import Settings
from mstoken.caller.admin_minter import AdminMinter
from mstoken.caller.credentials import PrivateKeyCredential
from mstoken.claims import ServiceClaims
from mstoken.cli.app import app as command_line
from mstoken.cli.key_files import write_private_key
from mstoken.emulator.metadata import IDENTITY_PATH
from mstoken.jwk import public_jwk
from mstoken.proof import ProofKey
from mstoken.wire import (
    BOUND_TOKEN_MAX_AGE_SECONDS,
    CLOCK_SKEW_SECONDS,
    FRESH_TOKEN_MAX_AGE_SECONDS,
    PROOF_MAX_AGE_SECONDS,
)
from tests.system.token_server import TokenServer
from tests.waiting import WAIT_SECONDS

MARGIN_SECONDS = 10
"""How far a test stays away from a limit, in seconds: more than a request takes."""
STATUS_SECONDS = 15.0
"""How long a callee and the token service may take to notice that an identity was disabled."""
COUNTS = "caller_not_allowed"
"""What Product answers to a service that is not Billing: its token counts, and its calls are not allowed."""


@dataclass
class SignedIn:
    """The result of a sign-in."""

    id_token: str
    refresh_token: str


@dataclass
class Thief:
    """Calls the running services with what has leaked. `key` is the thief's own."""

    stack: Stack
    settings: Settings
    key: ProofKey = field(default_factory=ProofKey)

    def custom_token(self, *, bound: bool, service: str = "billing", age_seconds: float = 0) -> str:
        """Return a custom token for Product that was minted so many seconds ago. A bound one is bound to `key`."""
        claims = (
            ServiceClaims.bound(service, "product", self.key.thumbprint, minted_at=0)
            if bound
            else ServiceClaims.fresh(service, "product", minted_at=0)
        )
        return asyncio.run(AdminMinter(self.settings, clock=lambda: time.time() - age_seconds).sign(claims))

    def sign_in(self, custom_token: str) -> SignedIn:
        """Sign in now, as anybody can who has a custom token."""
        url = f"{self.settings.identity_toolkit_url}/accounts:signInWithCustomToken?key=any"
        answer = (
            httpx.post(url, json={"token": custom_token, "returnSecureToken": True}, timeout=WAIT_SECONDS)
            .raise_for_status()
            .json()
        )
        return SignedIn(answer["idToken"], answer["refreshToken"])

    def refreshed(self, session: SignedIn) -> str:
        """Return a new ID token of the session."""
        url = f"{self.settings.secure_token_url}/token?key=any"
        form = {"grant_type": "refresh_token", "refresh_token": session.refresh_token}
        return str(httpx.post(url, data=form, timeout=WAIT_SECONDS).raise_for_status().json()["id_token"])

    def proof(self, token: str, *, path: str = "/products", age_seconds: float = 0, key: ProofKey | None = None) -> str:
        """Return a proof for a GET of Product, by default a new one of the thief's key."""
        url = self.stack.url("product") + path
        return (key or self.key).proof("GET", url, token, issued_at=time.time() - age_seconds)

    def call(
        self,
        token: str,
        proof: str | None = None,
        *,
        service: str = "product",
        path: str = "/products",
        method: str = "GET",
    ) -> str:
        """Call a service. Return the code of its refusal, or "accepted"."""
        headers = {"X-MS-TOKEN": token} | ({} if proof is None else {"DPoP": proof})
        answer = httpx.request(method, self.stack.url(service) + path, headers=headers, timeout=TIMEOUT_SECONDS)
        return "accepted" if answer.is_success else str(answer.json()["code"])

    def call_bound(self, token: str) -> str:
        """Call Product with a token that is bound to the thief's key, and a new proof of it."""
        return self.call(token, self.proof(token))


@pytest.fixture
def thief(stack: Stack, auth_emulator: Settings) -> Thief:
    return Thief(stack, auth_emulator)


@pytest.fixture
def service() -> str:
    """The name of a service that no other test uses, so that it can be disabled."""
    return f"leaky-{secrets.token_hex(6)}"


def command(thief: Thief, *arguments: str) -> None:
    """Run the command line as an operator does."""
    result = CliRunner(env={"GOOGLE_CLOUD_PROJECT": thief.settings.project_id}).invoke(command_line, arguments)
    assert result.exit_code == 0, result.output


def wait_for(code: str, call: Callable[[], str]) -> None:
    """Make calls until the answer is `code`. Fail after the time in which a disabled identity is noticed."""
    deadline = time.monotonic() + STATUS_SECONDS
    while (found := call()) != code:
        assert time.monotonic() < deadline, f"still {found} after {STATUS_SECONDS} s"
        time.sleep(0.2)


def test_a_fresh_token_after_its_use(thief: Thief) -> None:
    """It is worth nothing."""
    token = thief.sign_in(thief.custom_token(bound=False)).id_token
    assert thief.call(token) == "accepted"
    assert thief.call(token) == "token_replayed"


def test_a_fresh_token_before_its_use(thief: Thief) -> None:
    """It is worth one call to its callee, until 60 s after it was minted."""
    soon = FRESH_TOKEN_MAX_AGE_SECONDS - MARGIN_SECONDS
    token = thief.sign_in(thief.custom_token(bound=False, age_seconds=soon)).id_token
    assert thief.call(token, service="user", path="/users/maya") == "token_wrong_audience"
    assert thief.call(token) == "accepted"
    assert thief.call(token) == "token_replayed"
    late = FRESH_TOKEN_MAX_AGE_SECONDS + 1
    token = thief.sign_in(thief.custom_token(bound=False, age_seconds=late)).id_token
    assert thief.call(token) == "token_stale"


def test_a_bound_token(thief: Thief) -> None:
    """It is worth nothing without its key."""
    token = thief.sign_in(thief.custom_token(bound=True)).id_token
    assert thief.call(token) == "proof_missing"
    assert thief.call(token, thief.proof(token, key=ProofKey())) == "proof_invalid"
    assert thief.call_bound(token) == "accepted"


def test_a_proof_with_its_token(thief: Thief) -> None:
    """It is worth the same call, once, for 30 s."""
    token = thief.sign_in(thief.custom_token(bound=True)).id_token
    proof = thief.proof(token, age_seconds=PROOF_MAX_AGE_SECONDS - MARGIN_SECONDS)
    other = thief.sign_in(thief.custom_token(bound=True, age_seconds=1)).id_token
    assert thief.call(token, proof, path="/products/kettle") == "proof_invalid"
    assert thief.call(token, proof, method="POST") == "proof_invalid"
    assert thief.call(token, proof, service="user", path="/users/maya") == "token_wrong_audience"
    assert thief.call(other, proof) == "proof_invalid"
    assert thief.call(token, proof) == "accepted"
    assert thief.call(token, proof) == "proof_replayed"
    assert thief.call(token, thief.proof(token, age_seconds=PROOF_MAX_AGE_SECONDS + 1)) == "proof_invalid"


def test_a_custom_token_for_a_fresh_one(thief: Thief) -> None:
    """It is worth one call, until 60 s after it was minted, however often it is signed in with."""
    custom_token = thief.custom_token(bound=False)
    tokens = [thief.sign_in(custom_token).id_token for _ in range(3)]
    assert [thief.call(token) for token in tokens] == ["accepted", "token_replayed", "token_replayed"]
    old = thief.custom_token(bound=False, age_seconds=FRESH_TOKEN_MAX_AGE_SECONDS + 1)
    assert [thief.call(thief.sign_in(old).id_token) for _ in range(2)] == ["token_stale"] * 2


def test_a_custom_token_for_one_that_is_bound_to_the_thiefs_own_key(thief: Thief) -> None:
    """It is worth calls to its callee, until one hour after it was minted."""
    soon = BOUND_TOKEN_MAX_AGE_SECONDS - MARGIN_SECONDS
    custom_token = thief.custom_token(bound=True, age_seconds=soon)
    for _ in range(2):
        token = thief.sign_in(custom_token).id_token
        assert [thief.call_bound(token) for _ in range(2)] == ["accepted"] * 2
    assert thief.call(token, thief.proof(token), service="user", path="/users/maya") == "token_wrong_audience"
    late = BOUND_TOKEN_MAX_AGE_SECONDS + CLOCK_SKEW_SECONDS + 1
    token = thief.sign_in(thief.custom_token(bound=True, age_seconds=late)).id_token
    assert thief.call_bound(token) == "token_expired"


def test_a_refresh_token_of_a_fresh_token(thief: Thief) -> None:
    """It is worth no more than the token that it came with, until the same time."""
    session = thief.sign_in(thief.custom_token(bound=False))
    assert thief.call(thief.refreshed(session)) == "accepted"
    assert thief.call(thief.refreshed(session)) == "token_replayed"
    assert thief.call(session.id_token) == "token_replayed"
    old = thief.sign_in(thief.custom_token(bound=False, age_seconds=FRESH_TOKEN_MAX_AGE_SECONDS + 1))
    assert thief.call(thief.refreshed(old)) == "token_stale"


def test_a_refresh_token_of_a_bound_token(thief: Thief) -> None:
    """It is worth nothing without the key, and with it no more than the token, until one hour after the minting."""
    session = thief.sign_in(thief.custom_token(bound=True))
    token = thief.refreshed(session)
    assert thief.call(token) == "proof_missing"
    assert thief.call(token, thief.proof(token, key=ProofKey())) == "proof_invalid"
    assert thief.call_bound(token) == "accepted"
    late = BOUND_TOKEN_MAX_AGE_SECONDS + CLOCK_SKEW_SECONDS + 1
    old = thief.sign_in(thief.custom_token(bound=True, age_seconds=late))
    assert thief.call_bound(thief.refreshed(old)) == "token_expired"


@dataclass
class TokenClient:
    """Asks a token service for tokens, with what has leaked: `credential` returns the value of a bearer token."""

    server: TokenServer
    thief: Thief
    credential: Callable[[], str]

    def ask(self, audience: str = "product", **members: str) -> httpx.Response:
        """Ask for a token that is bound to the thief's key."""
        body = {"audience": audience, "mode": "proof", "jkt": self.thief.key.thumbprint} | members
        return httpx.post(
            self.server.url, json=body, headers={"Authorization": f"Bearer {self.credential()}"}, timeout=30
        )

    def code(self, audience: str = "product", **members: str) -> str:
        """Return the code of the refusal, or "issued"."""
        answer = self.ask(audience, **members)
        return "issued" if answer.is_success else str(answer.json()["code"])

    def custom_token(self) -> str:
        """Return the custom token that the token service issues."""
        return str(self.ask().raise_for_status().json()["custom_token"])

    def id_token(self) -> str:
        """Return the token of a sign-in with a custom token that the token service issues."""
        return self.thief.sign_in(self.custom_token()).id_token


@pytest.fixture
def identity_token(emulators: Stack, thief: Thief, service: str, tmp_path: Path) -> Iterator[TokenClient]:
    """A token service for which the account billing@ belongs to the new service, and an identity token of it."""
    host = emulators.identity_environment("billing")["GCE_METADATA_HOST"]
    policy = (
        f'[services.{service}]\nservice_accounts = ["billing@demo-shop.iam.gserviceaccount.com"]\ncalls = ["product"]\n'
        "[services.product]\n[services.user]\n"
    )
    server = TokenServer(tmp_path, thief.settings, policy, metadata_host=host)
    params = {"audience": server.url, "format": "full"}
    answer = httpx.get(
        f"http://{host}{IDENTITY_PATH}", params=params, headers={"Metadata-Flavor": "Google"}, timeout=WAIT_SECONDS
    )
    token = answer.raise_for_status().text
    yield TokenClient(server, thief, lambda: token)
    server.stop()


@pytest.fixture
def registered_key(thief: Thief, service: str, tmp_path: Path) -> Iterator[TokenClient]:
    """A token service that knows a key of the new service, and assertions that are signed with the key."""
    private_key, file = ec.generate_private_key(ec.SECP256R1()), tmp_path / "leaked.pem"
    write_private_key(file, private_key)
    jwk = ", ".join(f'{name} = "{value}"' for name, value in public_jwk(private_key.public_key()).items())
    policy = (
        f'[services.{service}]\nkeys = [{{ jwk = {{ {jwk} }} }}]\ncalls = ["product"]\n'
        "[services.product]\n[services.user]\n"
    )
    server = TokenServer(tmp_path, thief.settings, policy)
    credential = PrivateKeyCredential(service, server.url, file, clock=lambda: server.clock())

    yield TokenClient(server, thief, lambda: asyncio.run(credential.assertion(f"svc:{service}")))
    server.stop()


def minted(client: TokenClient, *, age_seconds: float) -> str:
    """Return a bound token that the token service minted so many seconds ago, and that is signed in now."""
    client.server.clock = lambda: time.time() - age_seconds
    token = client.id_token()
    client.server.clock = time.time
    return token


def is_worth_calls_for_an_hour(client: TokenClient) -> None:
    """Check that a bound token from the token service counts until one hour after it was minted."""
    token = minted(client, age_seconds=BOUND_TOKEN_MAX_AGE_SECONDS - MARGIN_SECONDS)
    assert [client.thief.call_bound(token) for _ in range(2)] == [COUNTS] * 2
    token = minted(client, age_seconds=BOUND_TOKEN_MAX_AGE_SECONDS + CLOCK_SKEW_SECONDS + 1)
    assert client.thief.call_bound(token) == "token_expired"


def ends_with_disable(client: TokenClient, service: str) -> None:
    """Check that disabling the service ends what the credential and a token that it gave are worth."""
    token = client.id_token()
    assert client.thief.call_bound(token) == COUNTS
    command(client.thief, "services", "disable", service)
    wait_for("identity_disabled", lambda: client.thief.call_bound(token))
    wait_for("identity_disabled", client.code)


def test_an_identity_token_for_the_token_service(identity_token: TokenClient, service: str) -> None:
    """It is worth tokens as that service for its hour, and these one hour more in proof mode.

    With `services disable` it is worth nothing at once.
    """
    client = identity_token
    assert [client.code() for _ in range(2)] == ["issued"] * 2
    assert client.code("user") == "audience_not_allowed"
    assert client.code(service="product") == "request_invalid"
    is_worth_calls_for_an_hour(client)
    client.server.clock = lambda: time.time() + BOUND_TOKEN_MAX_AGE_SECONDS - MARGIN_SECONDS
    assert client.code() == "issued"
    client.server.clock = lambda: time.time() + BOUND_TOKEN_MAX_AGE_SECONDS + CLOCK_SKEW_SECONDS
    assert client.code() == "credential_expired"
    client.server.clock = time.time
    ends_with_disable(client, service)


def test_a_registered_key(registered_key: TokenClient, service: str) -> None:
    """It is worth the same until it is revoked, and one hour more in proof mode.

    With `services disable` it is worth nothing at once.
    """
    client = registered_key
    assert [client.code() for _ in range(2)] == ["issued"] * 2
    assert client.code("user") == "audience_not_allowed"
    assert client.code(service="product") == "request_invalid"
    is_worth_calls_for_an_hour(client)
    policy = client.server.policy.read_text()
    client.server.policy.write_text(f"[services.{service}]\n")
    client.server.deploy()
    assert client.code() == "credential_untrusted"
    client.server.policy.write_text(policy)
    client.server.deploy()
    ends_with_disable(client, service)


def test_a_registered_key_that_expires(registered_key: TokenClient) -> None:
    """It is worth nothing from the day on that the policy says, without another deployment."""
    client = registered_key
    day = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(2)
    policy = client.server.policy.read_text()
    client.server.policy.write_text(policy.replace("{ jwk =", f"{{ expires = {day}, jwk ="))
    client.server.deploy()
    assert client.code() == "issued"
    client.server.clock = lambda: time.time() + 2 * 86_400
    assert client.code() == "credential_untrusted"


def test_anything_after_disable_and_enable(thief: Thief, service: str) -> None:
    """Nothing that was minted before `services enable` counts. What is minted after it counts."""
    sessions = [thief.sign_in(thief.custom_token(bound=bound, service=service)) for bound in (False, True)]
    command(thief, "services", "disable", service)
    hoarded = [thief.custom_token(bound=bound, service=service) for bound in (False, True)]
    command(thief, "services", "enable", service)
    sessions += [thief.sign_in(custom_token) for custom_token in hoarded]
    tokens = [session.id_token for session in sessions] + [thief.refreshed(session) for session in sessions]
    for fresh, bound in zip(tokens[::2], tokens[1::2], strict=True):
        assert thief.call(fresh) == "identity_disabled"
        assert thief.call_bound(bound) == "identity_disabled"
    wait_for(COUNTS, lambda: thief.call(thief.sign_in(thief.custom_token(bound=False, service=service)).id_token))
    assert thief.call_bound(thief.sign_in(thief.custom_token(bound=True, service=service)).id_token) == COUNTS
    assert thief.call(thief.sign_in(hoarded[0]).id_token) == "identity_disabled"
    assert thief.call_bound(thief.sign_in(hoarded[1]).id_token) == "identity_disabled"


TESTS: dict[str, list[Callable[..., None]]] = {
    "a fresh token after its use": [test_a_fresh_token_after_its_use],
    "a fresh token before its use": [test_a_fresh_token_before_its_use],
    "a bound token": [test_a_bound_token],
    "a proof with its token": [test_a_proof_with_its_token],
    "a custom token for a fresh one": [test_a_custom_token_for_a_fresh_one],
    "a custom token for one that is bound to the thief's own key": [
        test_a_custom_token_for_one_that_is_bound_to_the_thiefs_own_key
    ],
    "a refresh token": [test_a_refresh_token_of_a_fresh_token, test_a_refresh_token_of_a_bound_token],
    "an identity token for the token service": [test_an_identity_token_for_the_token_service],
    "a registered key": [test_a_registered_key, test_a_registered_key_that_expires],
    "anything, after `mstoken services disable` and `enable`": [test_anything_after_disable_and_enable],
}
"""The tests of each row of the table."""


def test_each_row_of_the_table_has_a_test() -> None:
    """The rows of docs/threat-model.md are those of the tests, in the same order, and no test of a row is missing."""
    page = (ROOT / "docs/threat-model.md").read_text()
    section = page.partition("## What each leaked credential is worth\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)
    assert rows[1:] == list(TESTS)
    named = {test for tests in TESTS.values() for test in tests}
    assert named | {test_each_row_of_the_table_has_a_test} == {
        value for name, value in globals().items() if name.startswith("test_")
    }
