"""A service outside Google Cloud, from its first key to the rotation of it, as docs/production.md describes."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from mstoken import ServiceIdentity, Settings
from mstoken.caller.credentials import PrivateKeyCredential
from mstoken.claims import ServiceClaims
from mstoken.cli.app import app as command_line
from mstoken.errors import SignInRefused
from mstoken.strict_jwt import unverified
from tests.system.token_server import TokenServer
from tests.waiting import WAIT_SECONDS

POLICY = """\
# Which service may call which.
[services.product]
calls = []
"""


class Deployment(TokenServer):
    """A token service whose policy has a service outside Google Cloud."""

    def run(self, *arguments: str) -> str:
        """Run the command line and return what it prints on stdout."""
        result = CliRunner().invoke(command_line, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    def add_key(self, file: Path) -> None:
        """Create a key for `warehouse` in `file`, and paste the printed lines into the policy."""
        printed = self.run("keys", "add", "warehouse", "--out", str(file))
        self.policy.write_text(self.policy.read_text() + printed)
        self.run("policy", "check", str(self.policy))

    def token(self, key: Path, service: str = "warehouse") -> ServiceClaims:
        """Return the claims of the token that a process with the private key `key` gets."""
        settings = self.settings.model_copy(update={"private_key_file": key})
        with ServiceIdentity(service, settings) as identity:
            return ServiceClaims.parse(unverified(identity.token_sync("product")).payload)


@pytest.fixture
def deployment(tmp_path: Path, auth_emulator: Settings) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path, auth_emulator, POLICY)
    yield deployment
    deployment.stop()


@pytest.fixture
def key(deployment: Deployment, tmp_path: Path) -> Path:
    """Return the first key of `warehouse`, which may call Product."""
    with deployment.policy.open("a") as policy:
        policy.write('[services.warehouse]\ncalls = ["product"]\n')
    deployment.add_key(tmp_path / "first.pem")
    deployment.deploy()
    return tmp_path / "first.pem"


def test_a_service_with_a_key_gets_tokens(deployment: Deployment, key: Path) -> None:
    """The tokens have its own name and an audience that the policy allows."""
    claims = deployment.token(key)
    assert (claims.service, claims.audience) == ("warehouse", "product")


def test_a_key_is_rotated_without_an_interruption(deployment: Deployment, key: Path, tmp_path: Path) -> None:
    """While both keys are in the policy, both work. When the table of the old one is deleted, only the new one does."""
    before_second = deployment.policy.read_text()
    new = tmp_path / "second.pem"
    deployment.add_key(new)
    with pytest.raises(SignInRefused, match="401 credential_untrusted"):
        deployment.token(new)
    deployment.deploy()
    assert deployment.token(key).service == deployment.token(new).service == "warehouse"
    text = deployment.policy.read_text()
    old_table = before_second[before_second.index("[[services.warehouse.keys]]") :]
    deployment.policy.write_text(text.replace(old_table, ""))
    listed = json.loads(deployment.run("keys", "list", "--json", "--policy", str(deployment.policy)))["keys"]
    assert [one["place"] for one in listed] == ["services.warehouse.keys[0]"]
    deployment.deploy()
    assert deployment.token(new).service == "warehouse"
    with pytest.raises(SignInRefused, match="401 credential_untrusted"):
        deployment.token(key)


def test_a_key_works_for_its_own_service_only(deployment: Deployment, key: Path) -> None:
    """A process with the key that claims to be Product gets no token."""
    with pytest.raises(SignInRefused, match="401 credential_untrusted"):
        deployment.token(key, "product")


async def test_an_assertion_can_be_used_once(deployment: Deployment, key: Path) -> None:
    """An attacker who has seen it cannot use it, not even after the next deployment."""
    url = deployment.url
    assertion = await PrivateKeyCredential("warehouse", url, key).assertion("svc:warehouse")
    headers, content = {"Authorization": f"Bearer {assertion}"}, {"audience": "product", "mode": "fresh"}
    async with httpx.AsyncClient(timeout=WAIT_SECONDS) as client:
        first = await client.post(url, json=content, headers=headers)
        second = await client.post(url, json=content, headers=headers)
        deployment.deploy()
        third = await client.post(url, json=content, headers=headers)
    assert first.status_code == 200
    assert [(one.status_code, one.json()["code"]) for one in (second, third)] == [(401, "credential_replayed")] * 2
