"""Minting: what firebase-admin is asked to sign, and what its failures mean."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mstoken.caller.minting import AdminMinter
from mstoken.claims import ServiceClaims
from mstoken.errors import SettingsError, SignInRefused, SignInUnavailable
from mstoken.settings import AUTH_EMULATOR_VARIABLE, Settings
from mstoken.strict_jwt import unverified
from tests.mstoken.caller.fakes import DEADLINE_SECONDS

CLAIMS = ServiceClaims.fresh("billing", "product")
CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
SIGNER = "signer@real-shop.iam.gserviceaccount.com"


class Machine:
    """The machine that a service runs on: which credentials it has, and where its requests go."""

    def __init__(self, folder: Path, variables: pytest.MonkeyPatch) -> None:
        self._file = folder / "credentials.json"
        self._variables = variables
        variables.delenv(AUTH_EMULATOR_VARIABLE, raising=False)

    def has(self, **credentials: Any) -> None:
        """Application Default Credentials, as in a file of gcloud's."""
        self._file.write_text(json.dumps(credentials))
        self._variables.setenv(CREDENTIALS_VARIABLE, str(self._file))

    def has_none(self) -> None:
        self._variables.setenv(CREDENTIALS_VARIABLE, str(self._file))

    def is_behind(self, *, http: int, https: int) -> None:
        """Has requests go to ports of this machine: plain ones for the metadata server, the others for Google."""
        self._variables.setenv("http_proxy", f"http://127.0.0.1:{http}")
        self._variables.setenv("https_proxy", f"http://127.0.0.1:{https}")
        for variable in ("no_proxy", "NO_PROXY"):
            self._variables.delenv(variable, raising=False)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port of ours where nobody listens."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port: int = nobody.getsockname()[1]
        yield port


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@asynccontextmanager
async def metadata_server(status: int, body: str) -> AsyncIterator[int]:
    """The port of a metadata server that answers everything so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"/computeMetadata/v1/" in await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        yield port


def service_account(key: rsa.RSAPrivateKey, token_port: int) -> dict[str, str]:
    """A service account's key file; its access tokens are to be had at `token_port`."""
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "real-shop",
        "client_email": SIGNER,
        "private_key_id": "1",
        "private_key": private_key.decode(),
        "token_uri": f"http://127.0.0.1:{token_port}/token",
    }


def user() -> dict[str, str]:
    """Somebody who logged in with gcloud, and cannot sign."""
    return {
        "type": "authorized_user",
        "client_id": "gcloud",
        "client_secret": "made-up",
        "refresh_token": "made-up",
        "quota_project_id": "real-shop",
    }


def minter(project_id: str) -> AdminMinter:
    """Each test has a project of its own, since firebase-admin keeps one app for each."""
    return AdminMinter(Settings(project_id=project_id, emulator_host=None))


async def test_the_custom_token_carries_uid_and_claims(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for svc:billing, with the ms claim among its developer claims; the emulator wants no signature."""
    monkeypatch.setenv(AUTH_EMULATOR_VARIABLE, "127.0.0.1:9099")
    emulated = AdminMinter(Settings(project_id="demo-minting"))
    token = unverified(await emulated.sign(CLAIMS))
    assert token.payload["uid"] == "svc:billing"
    assert token.payload["claims"] == CLAIMS.as_developer_claims()
    assert token.signature == b""


async def test_a_service_account_signs_with_its_key(
    machine: Machine, key: rsa.RSAPrivateKey, refusing_port: int
) -> None:
    """Here, without asking anybody."""
    machine.has(**service_account(key, refusing_port))
    token = await minter("real-shop-with-key").sign(CLAIMS)
    claims = jwt.decode(
        token, key.public_key(), ["RS256"], issuer=SIGNER, audience=unverified(token).payload["aud"], subject=SIGNER
    )
    assert claims["uid"] == "svc:billing"
    assert claims["claims"] == CLAIMS.as_developer_claims()


async def test_no_credentials_are_for_good(machine: Machine) -> None:
    """Where there is nothing to sign with, another try will not find it."""
    machine.has_none()
    with pytest.raises(SignInRefused, match=r"svc:billing could not sign in.*nothing to sign a custom token with"):
        await minter("real-shop-without-credentials").sign(CLAIMS)


async def test_a_metadata_server_out_of_reach_is_for_now(machine: Machine, refusing_port: int) -> None:
    """Who the signer is may be known next time."""
    machine.has(**user())
    machine.is_behind(http=refusing_port, https=refusing_port)
    with pytest.raises(SignInUnavailable, match=r"could not be signed \(TransportError\)"):
        await minter("real-shop-without-metadata").sign(CLAIMS)


async def test_a_signer_out_of_reach_is_for_now(machine: Machine, refusing_port: int) -> None:
    """The metadata server knows who signs, and IAM's signBlob may answer next time."""
    machine.has(**user())
    async with metadata_server(200, SIGNER) as port:
        machine.is_behind(http=port, https=refusing_port)
        with pytest.raises(SignInUnavailable, match=r"could not be signed \(TokenSignError\)"):
            await minter("real-shop-without-iam").sign(CLAIMS)


async def test_minting_leaves_the_event_loop_free(machine: Machine, refusing_port: int) -> None:
    """A metadata server that runs in the same loop can answer that it knows of no signer."""
    machine.has(**user())
    async with metadata_server(404, "") as port:
        machine.is_behind(http=port, https=refusing_port)
        with pytest.raises(SignInRefused, match="nothing to sign"):
            await asyncio.wait_for(minter("real-shop-without-signer").sign(CLAIMS), DEADLINE_SECONDS)


def test_no_minter_where_environment_and_settings_differ(machine: Machine) -> None:
    """firebase-admin would sign for the emulator what is meant for production, or the other way round."""
    with pytest.raises(SettingsError, match="both must say the same"):
        AdminMinter(Settings(project_id="demo-minting-elsewhere", emulator_host="127.0.0.1:9099"))
