"""The examples in Node.js, with the Python services: they call them and are called by them, in both modes."""

import asyncio
import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from emulator.run.ports import HOST, Ports, free_offset
from emulator.run.processes import Supervisor
from emulator.run.stack import ROOT, Stack
from mstoken import ServiceIdentity, Settings
from mstoken.cli.app import app as command_line
from mstoken.cli.key_files import write_private_key
from mstoken.jwk import public_jwk
from mstoken.wire import MODES, Mode
from tests.system.token_server import TokenServer
from tests.waiting import WAIT_SECONDS

EXAMPLES = ROOT / "examples"
CALLEE = "warehouse"
START_SECONDS = 30.0

StartCallee: TypeAlias = Callable[..., AbstractContextManager[str]]


def is_ready(url: str) -> bool:
    """Return whether a callee accepts calls."""
    try:
        return httpx.get(f"{url}/readyz", timeout=WAIT_SECONDS).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def node_callee(stack: Stack, tmp_path: Path) -> StartCallee:
    """Starts the callee, and gives its URL. `variables` are more variables of its environment."""

    @contextmanager
    def running(**variables: str) -> Iterator[str]:
        port = Ports.shifted(free_offset()).product
        url = f"http://{HOST}:{port}"
        own = {"SERVICE": CALLEE, "GOOGLE_CLOUD_PROJECT": stack.project, "BASE_URL": url, "PORT": str(port)}
        emulator = {"FIREBASE_AUTH_EMULATOR_HOST": stack.auth_host}
        supervisor = Supervisor()
        try:
            supervisor.start(
                "node-callee",
                ["node", str(EXAMPLES / "node-callee" / "server.mjs")],
                env=own | emulator | variables | {"PATH": os.environ["PATH"]},
                cwd=EXAMPLES,
                log=tmp_path / f"callee-{port}.log",
            )
            # The store of spent ids is new, so the callee is ready a few seconds after its start.
            supervisor.wait_until(partial(is_ready, url), "node-callee", START_SECONDS)
            yield url
        finally:
            supervisor.stop()

    return running


def call_from_node(stack: Stack, *arguments: str, **variables: str) -> list[dict[str, Any]]:
    """Run the caller. Return the status and the body of each answer."""
    emulator = {"FIREBASE_AUTH_EMULATOR_HOST": stack.auth_host, "MSTOKEN_API_KEY": "any"}
    done = subprocess.run(
        ["node", EXAMPLES / "node-caller" / "call.mjs", *arguments],
        env=emulator | {"PATH": os.environ["PATH"]} | stack.identity_environment("billing") | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def registered(auth_emulator: Settings, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of a caller that has a registered key of Billing: those of a token service of its own."""
    private_key, file = ec.generate_private_key(ec.SECP256R1()), tmp_path / "billing.pem"
    write_private_key(file, private_key)
    jwk = ", ".join(f'{name} = "{value}"' for name, value in public_jwk(private_key.public_key()).items())
    policy = f'[services.billing]\nkeys = [{{ jwk = {{ {jwk} }} }}]\ncalls = ["product", "{CALLEE}"]\n'
    server = TokenServer(tmp_path, auth_emulator, f"{policy}[services.product]\n[services.{CALLEE}]\n")
    yield {"MSTOKEN_TOKEN_SERVICE_URL": server.url, "MSTOKEN_PRIVATE_KEY_FILE": str(file)}
    server.stop()


@pytest.mark.parametrize("mode", MODES)
def test_node_calls_product_with_the_identity_token_of_its_platform(stack: Stack, mode: Mode) -> None:
    """Product accepts two calls: with a new token each, or with a new proof each."""
    urls = [stack.url("product") + path for path in ("/products", "/products?limit=1")]
    answers = call_from_node(stack, "billing", "product", mode, *urls)
    assert [answer["status"] for answer in answers] == [200, 200]
    assert "items" in answers[0]["body"]


@pytest.mark.parametrize("mode", MODES)
def test_node_calls_product_with_a_registered_key(stack: Stack, registered: dict[str, str], mode: Mode) -> None:
    """The token service accepts the assertions of the example, one for each token."""
    urls = [f"{stack.url('product')}/products?limit=1"] * 2
    answers = call_from_node(stack, "billing", "product", mode, *urls, **registered)
    assert [answer["status"] for answer in answers] == [200, 200]


def test_node_is_told_why_a_service_refuses_it(stack: Stack) -> None:
    """A call that is not allowed is refused with the code of the protocol."""
    (answer,) = call_from_node(stack, "billing", "user", "fresh", f"{stack.url('user')}/profile")
    assert (answer["status"], answer["body"]["code"]) == (403, "caller_not_allowed")


def test_python_calls_node(node_callee: StartCallee, auth_emulator: Settings) -> None:
    """The callee accepts both modes. It refuses used tokens, tokens for other services, and other callers."""
    with node_callee() as url, ServiceIdentity("billing", auth_emulator) as billing:
        for mode in MODES:
            with httpx.Client(auth=billing.to(CALLEE, mode=mode), timeout=WAIT_SECONDS) as client:
                answers = [client.get(f"{url}/stock?limit=1") for _ in range(2)]
            assert [answer.json() for answer in answers] == [{"stock": 7, "caller": "svc:billing", "mode": mode}] * 2
        sent = {name: answers[-1].request.headers[name] for name in ("X-MS-TOKEN", "DPoP")}
        assert refusal(url, sent) == (401, "proof_replayed")
        assert refusal(url, {"X-MS-TOKEN": sent["X-MS-TOKEN"]}) == (401, "proof_missing")
        token = billing.token_sync(CALLEE, "fresh")
        assert (
            httpx.get(f"{url}/stock", headers={"X-MS-TOKEN": token}, timeout=WAIT_SECONDS).status_code == httpx.codes.OK
        )
        assert refusal(url, {"X-MS-TOKEN": token}) == (401, "token_replayed")
        assert refusal(url, {"X-MS-TOKEN": billing.token_sync("product", "fresh")}) == (401, "token_wrong_audience")
        with ServiceIdentity("user", auth_emulator) as user:
            assert refusal(url, {"X-MS-TOKEN": user.token_sync(CALLEE, "fresh")}) == (403, "caller_not_allowed")


def refusal(url: str, headers: dict[str, str]) -> tuple[int, str]:
    """Return the status and the code of the answer to a call with these headers."""
    answer = httpx.get(f"{url}/stock", headers=headers, timeout=WAIT_SECONDS)
    return answer.status_code, answer.json()["code"]


def test_python_calls_a_node_callee_that_requires_nonces(node_callee: StartCallee, auth_emulator: Settings) -> None:
    """The caller takes the nonce from the refusal. The callee refuses a call without a proof."""
    secret = secrets.token_urlsafe()
    with (
        node_callee(NONCE_SECRET=secret, REQUIRE_PROOF="true") as url,
        ServiceIdentity("billing", auth_emulator) as billing,
    ):
        with httpx.Client(auth=billing.to(CALLEE, mode="proof"), timeout=WAIT_SECONDS) as client:
            assert [client.get(f"{url}/stock").status_code for _ in range(2)] == [200, 200]
        assert refusal(url, {"X-MS-TOKEN": billing.token_sync(CALLEE, "fresh")}) == (401, "proof_missing")


def test_a_node_callee_refuses_a_disabled_identity(node_callee: StartCallee, auth_emulator: Settings) -> None:
    """A token that was issued before the identity was disabled is refused."""
    service = f"leaky-{secrets.token_hex(6)}"
    with node_callee() as url, ServiceIdentity(service, auth_emulator) as identity:
        token = asyncio.run(identity.token(CALLEE, "fresh"))
        runner = CliRunner(env={"GOOGLE_CLOUD_PROJECT": auth_emulator.project_id})
        assert runner.invoke(command_line, ["services", "disable", service]).exit_code == 0
        assert refusal(url, {"X-MS-TOKEN": token}) == (401, "identity_disabled")


@pytest.mark.parametrize("mode", MODES)
def test_node_calls_node(stack: Stack, node_callee: StartCallee, registered: dict[str, str], mode: Mode) -> None:
    """The examples work with each other, with nonces as well."""
    with node_callee(NONCE_SECRET=secrets.token_urlsafe()) as url:
        answers = call_from_node(stack, "billing", CALLEE, mode, *[f"{url}/stock"] * 2, **registered)
    assert [answer["body"] for answer in answers] == [{"stock": 7, "caller": "svc:billing", "mode": mode}] * 2
