"""A service outside Google Cloud: from its first key to the next one, as docs/production.md has it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from flask import Flask, Response, request
from typer.testing import CliRunner
from werkzeug.serving import make_server

from emulator.run.ports import HOST
from mstoken import ServiceIdentity, Settings
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.caller.credentials import RegisteredKey
from mstoken.claims import ServiceClaims
from mstoken.cli.app import app as command_line
from mstoken.errors import SignInRefused
from mstoken.functions import TokenEndpoint
from mstoken.issuer.service import TokenService
from mstoken.strict_jwt import unverified

POLICY = """\
# Who may call whom.
[services.product]
calls = []
"""


class Deployment:
    """The token service, with the policy that was last deployed, at an address of its own."""

    def __init__(self, folder: Path, auth_emulator: Settings) -> None:
        self.policy = folder / "policy.toml"
        self.policy.write_text(POLICY)
        self._spent = folder / "spent.db"
        flask = Flask("token")
        flask.add_url_rule("/token", view_func=self._answer, methods=["POST"])
        self._server = make_server(HOST, 0, flask, threaded=True)
        url = f"http://{HOST}:{self._server.server_port}/token"
        self.settings = auth_emulator.model_copy(
            update={"token_service_url": url, "metadata_host": f"{HOST}:{self._server.server_port}"}
        )
        threading.Thread(target=self._server.serve_forever, name="token service").start()
        self.deploy()

    def deploy(self) -> None:
        """What `firebase deploy --only functions` comes to: new processes, with the policy as it is now."""
        self._endpoint = TokenEndpoint(
            self.policy,
            lambda policy: TokenService(policy, self.settings, replay=SQLiteReplayStore(self._spent)),
        )

    def run(self, *arguments: str) -> str:
        """What the command line prints."""
        done = CliRunner().invoke(command_line, [*arguments, "--policy", str(self.policy)])
        assert done.exit_code == 0, done.output
        return done.output

    def token(self, key: Path, service: str = "warehouse") -> ServiceClaims:
        """What the token of a process that holds `key` says."""
        settings = self.settings.model_copy(update={"private_key_file": key})
        with ServiceIdentity(service, settings) as identity:
            return ServiceClaims.parse(unverified(identity.token_sync("product")).payload)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self) -> Response:
        return self._endpoint(request)


@pytest.fixture
def deployment(tmp_path: Path, auth_emulator: Settings) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path, auth_emulator)
    yield deployment
    deployment.stop()


@pytest.fixture
def key(deployment: Deployment, tmp_path: Path) -> Path:
    """The first key of `warehouse`, which may call Product."""
    deployment.run("services", "add", "warehouse")
    deployment.run("keys", "add", "warehouse", "--out", str(tmp_path / "first.pem"))
    before, table, its_own = deployment.policy.read_text().partition("[services.warehouse]")
    assert "calls = []" in its_own
    deployment.policy.write_text(before + table + its_own.replace("calls = []", 'calls = ["product"]', 1))
    deployment.run("policy", "check")
    deployment.deploy()
    return tmp_path / "first.pem"


def test_a_service_with_a_key_gets_tokens(deployment: Deployment, key: Path) -> None:
    """Of its own name, for whom it may call."""
    claims = deployment.token(key)
    assert (claims.service, claims.audience) == ("warehouse", "product")


def test_a_key_is_rotated_without_an_interruption(deployment: Deployment, key: Path, tmp_path: Path) -> None:
    """While both are deployed either counts; once the old one is revoked and that is deployed, it does not."""
    old_id = deployment.run("keys", "list", "warehouse", "--json").split('"key_id": "')[1][:43]
    new = tmp_path / "second.pem"
    deployment.run("keys", "add", "warehouse", "--kind", "EdDSA", "--out", str(new))
    with pytest.raises(SignInRefused, match="401 credential_untrusted"):
        deployment.token(new)
    deployment.deploy()
    assert deployment.token(key).service == deployment.token(new).service == "warehouse"
    deployment.run("keys", "revoke", "warehouse", old_id)
    deployment.deploy()
    assert deployment.token(new).service == "warehouse"
    with pytest.raises(SignInRefused, match="401 credential_untrusted"):
        deployment.token(key)


def test_nobody_else_is_that_service(deployment: Deployment, key: Path) -> None:
    """A process with the key that calls itself Product has no key of Product's."""
    with pytest.raises(SignInRefused, match="401 credential_untrusted"):
        deployment.token(key, "product")


async def test_an_assertion_is_good_once(deployment: Deployment, key: Path) -> None:
    """Whoever has seen one on its way has nothing, also after the functions were deployed anew."""
    url = str(deployment.settings.token_service_url)
    assertion = await RegisteredKey("warehouse", url, key).assertion("svc:warehouse")
    headers, content = {"Authorization": f"Bearer {assertion}"}, {"audience": "product", "mode": "fresh"}
    async with httpx.AsyncClient() as client:
        first = await client.post(url, json=content, headers=headers)
        second = await client.post(url, json=content, headers=headers)
        deployment.deploy()
        third = await client.post(url, json=content, headers=headers)
    assert first.status_code == 200
    assert [(one.status_code, one.json()["code"]) for one in (second, third)] == [(401, "credential_replayed")] * 2
