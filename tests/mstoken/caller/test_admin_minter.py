"""Custom tokens that this process signs itself, with firebase-admin."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mstoken import ServiceIdentity, Settings
from mstoken.caller.admin_minter import AdminMinter
from mstoken.claims import ServiceClaims
from mstoken.errors import SettingsError, SignInError, SignInUnavailable
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from mstoken.strict_jwt import unverified
from tests.clock import FakeClock
from tests.mstoken.caller.fakes import DEADLINE_SECONDS
from tests.silent_server import SilentServer

ROOT = Path(__file__).parents[3]
URL = "https://tokens.example/token"
FRESH = ServiceClaims.fresh("billing", "product", minted_at=0)
BOUND = ServiceClaims.bound("billing", "product", "t" * 43, minted_at=0)
CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
SIGNER = "signer@real-shop.iam.gserviceaccount.com"


def pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Machine:
    """The environment of a service: its Google credentials, and where its requests go."""

    def __init__(self, folder: Path, variables: pytest.MonkeyPatch) -> None:
        self._file = folder / "credentials.json"
        self._variables = variables
        variables.delenv(AUTH_EMULATOR_VARIABLE, raising=False)
        variables.setenv(CREDENTIALS_VARIABLE, str(self._file))

    def set_credentials(self, **credentials: Any) -> None:
        """Write Application Default Credentials. Before that, the file does not exist."""
        self._file.write_text(json.dumps(credentials))

    def set_proxy(self, *, https: int) -> None:
        """Send https requests, which go to Google, to a port of this machine."""
        self._variables.setenv("https_proxy", f"http://127.0.0.1:{https}")
        for variable in ("no_proxy", "NO_PROXY", "http_proxy"):
            self._variables.delenv(variable, raising=False)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        yield port


@pytest.fixture(scope="module")
def signing_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


ACCESS_TOKEN = '{"access_token": "access-secret", "expires_in": 3600, "token_type": "Bearer"}'


@asynccontextmanager
async def token_server(status: int, body: str) -> AsyncIterator[int]:
    """Run a server of access tokens that gives this answer to every request. Yield its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"POST /token" in await reader.readuntil(b"\r\n\r\n")
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
        writer.write(f"HTTP/1.1 {status} x\r\n{length}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        yield port


def service_account(key: rsa.RSAPrivateKey, token_port: int) -> dict[str, str]:
    """Return the key file of a service account that gets access tokens at `token_port`."""
    return {
        "type": "service_account",
        "project_id": "real-shop",
        "client_email": SIGNER,
        "private_key_id": "1",
        "private_key": pem(key).decode(),
        "token_uri": f"http://127.0.0.1:{token_port}/token",
    }


def impersonated(key: rsa.RSAPrivateKey, token_port: int) -> dict[str, Any]:
    """Return credentials that sign through IAM, with access tokens from `token_port`."""
    return {
        "type": "impersonated_service_account",
        "source_credentials": service_account(key, token_port),
        "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
        f"{SIGNER}:generateAccessToken",
        "delegates": [],
        "quota_project_id": "real-shop",
    }


USER = {
    "type": "authorized_user",
    "client_id": "gcloud",
    "client_secret": "made-up",
    "refresh_token": "made-up",
    "quota_project_id": "real-shop",
}
"""The credentials of a person who has logged in with gcloud. They cannot sign."""


def admin_minter(project_id: str) -> AdminMinter:
    """Return a minter for production."""
    return AdminMinter(Settings(project_id=project_id, emulator_host=None))


class TestAdminMinter:
    """Custom tokens that firebase-admin signs in this process."""

    async def test_a_custom_token_for_the_emulator(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        """It has the uid and the developer claims. The emulator needs no signature."""
        monkeypatch.setenv(AUTH_EMULATOR_VARIABLE, "127.0.0.1:9099")
        minter = AdminMinter(Settings(project_id="demo-minting"), clock=FakeClock(1_800_000_000.9))
        token = unverified(await minter.sign(FRESH))
        assert token.payload["uid"] == "svc:billing"
        assert token.payload["claims"] == FRESH.with_minted_at(1_800_000_000).as_developer_claims()
        assert token.signature == b""

    async def test_the_signer_says_when_a_token_was_minted(
        self, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is the time of its own clock, whatever the claims say, and the same claims can be signed again later."""
        monkeypatch.setenv(AUTH_EMULATOR_VARIABLE, "127.0.0.1:9099")
        clock = FakeClock()
        minter = AdminMinter(Settings(project_id="demo-minting"), clock=clock)
        for _ in range(2):
            claims = unverified(await minter.sign(BOUND)).payload["claims"]
            assert claims == BOUND.with_minted_at(clock()).as_developer_claims()
            clock.advance(3600)

    async def test_a_service_account_signs_with_its_key(
        self, machine: Machine, refusing_port: int, signing_key: rsa.RSAPrivateKey
    ) -> None:
        """A key file needs no request to sign."""
        machine.set_credentials(**service_account(signing_key, refusing_port))
        token = await admin_minter("real-shop-with-key").sign(FRESH)
        audience = unverified(token).payload["aud"]
        expected = {"issuer": SIGNER, "audience": audience, "subject": SIGNER}
        claims = jwt.decode(token, signing_key.public_key(), ["RS256"], **expected)
        assert claims["uid"] == "svc:billing"
        assert claims["claims"] == FRESH.with_minted_at(claims["claims"]["ms"]["iat"]).as_developer_claims()
        assert 0 <= time.time() - claims["claims"]["ms"]["iat"] < DEADLINE_SECONDS

    @pytest.mark.parametrize("content", [None, "{", json.dumps(USER)], ids=["no file", "no JSON", "of a person"])
    def test_credentials_that_cannot_sign_are_reported_at_once(
        self, machine: Machine, tmp_path: Path, content: str | None
    ) -> None:
        """The program does not start. firebase-admin would ask for a metadata server first, which is not there."""
        if content is not None:
            (tmp_path / "credentials.json").write_text(content)
        with pytest.raises(SettingsError, match=r"credentials\.json"):
            admin_minter("real-shop-without-credentials")
        with pytest.raises(SettingsError):
            ServiceIdentity(
                "billing", Settings(project_id="real-shop", emulator_host=None, api_key="web-key")
            ).prepare()

    def test_the_emulator_needs_no_credentials(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the emulator, the credentials of a person are fine."""
        monkeypatch.setenv(AUTH_EMULATOR_VARIABLE, "127.0.0.1:9099")
        machine.set_credentials(**USER)
        AdminMinter(Settings(project_id="demo-minting"))

    async def test_an_outage_of_iam(self, machine: Machine, refusing_port: int, signing_key: rsa.RSAPrivateKey) -> None:
        """IAM's signBlob may answer the next attempt."""
        async with token_server(200, ACCESS_TOKEN) as port:
            machine.set_credentials(**impersonated(signing_key, port))
            machine.set_proxy(https=refusing_port)
            with pytest.raises(SignInUnavailable, match=r"could not be signed \(TokenSignError\)"):
                await admin_minter("real-shop-without-iam").sign(FRESH)

    async def test_a_signature_has_a_deadline(self, machine: Machine, signing_key: rsa.RSAPrivateKey) -> None:
        """A server that never answers is an outage, and the call does not wait for it."""
        with SilentServer() as server:
            machine.set_credentials(**impersonated(signing_key, server.port))
            minter = AdminMinter(Settings(project_id="real-shop-silent", emulator_host=None), deadline_seconds=0.1)
            with pytest.raises(SignInUnavailable, match=r"the custom token could not be signed within 0\.1 s"):
                await asyncio.wait_for(minter.sign(FRESH), DEADLINE_SECONDS)
            server.wait_for_request()

    async def test_minting_does_not_block_the_event_loop(
        self, machine: Machine, refusing_port: int, signing_key: rsa.RSAPrivateKey
    ) -> None:
        """A token server in the same event loop can answer."""
        async with token_server(403, "{}") as port:
            machine.set_credentials(**impersonated(signing_key, port))
            machine.set_proxy(https=refusing_port)
            with pytest.raises(SignInError):
                await asyncio.wait_for(admin_minter("real-shop-without-signer").sign(FRESH), DEADLINE_SECONDS)

    def test_environment_and_settings_must_name_the_same_emulator(self, machine: Machine) -> None:
        """firebase-admin reads the environment, so it could sign for the emulator what is meant for production."""
        with pytest.raises(SettingsError, match="both must be the same"):
            AdminMinter(Settings(project_id="demo-minting-elsewhere", emulator_host="127.0.0.1:9099"))
