"""A production project without Google: someone who signs ID tokens, files with certificates, a made-up account."""

import json
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from mstoken.callee.firebase import AdminFirebase, IdentityStatus
from mstoken.claims import ServiceClaims
from mstoken.emulator.signed_auth import KeyRing, TokenSpec
from mstoken.errors import TokenUntrusted
from mstoken.settings import Settings
from mstoken.strict_jwt import unverified

PROJECT = "demo-production"
PRELOADED_TOKEN = "PRELOADED_TOKEN"
"""The variable with the token that `preloaded.py` uses while it is imported."""


@cache
def _private_key() -> str:
    """Return the key of the service account in PEM. Making one takes 50 ms, and no test needs another one."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, form, serialization.NoEncryption()).decode()


def write_service_account(path: Path) -> Path:
    """Write a made-up key file of a service account, which firebase-admin requires. Return its path."""
    account = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key": _private_key(),
        "client_email": f"product@{PROJECT}.iam.gserviceaccount.com",
        "token_uri": "http://127.0.0.1:9/token",
    }
    path.write_text(json.dumps(account))
    return path


def token(keys: KeyRing, **changes: Any) -> str:
    """Return a token as Firebase issues it, with `changes` to its payload."""
    now = int(time.time())
    payload = {
        "iss": f"https://securetoken.google.com/{PROJECT}",
        "aud": PROJECT,
        "sub": "svc:billing",
        "iat": now,
        "auth_time": now,
        "exp": now + 3600,
    }
    return keys.make(TokenSpec(payload=payload | changes))


def service_token(keys: KeyRing, service: str, audience: str) -> str:
    """Return a fresh token of `service` for `audience`."""
    claims = ServiceClaims.fresh(service, audience, minted_at=time.time())
    signed_in = {"sign_in_provider": "custom", "identities": {}}
    return token(keys, sub=claims.uid, firebase=signed_in, **claims.as_developer_claims())


class Issuer:
    """Someone who signs ID tokens, and a file with the certificates that verify them."""

    def __init__(self, keys: KeyRing, path: Path) -> None:
        self._path = path
        self.rotate(keys)

    def rotate(self, keys: KeyRing) -> None:
        """Sign with other keys from now on, and publish these."""
        self.keys = keys
        self._path.write_text(json.dumps(keys.published()))

    def settings(self) -> Settings:
        """Settings of a production project that takes its certificates from the file."""
        return Settings(project_id=PROJECT, certificates_file=self._path)

    async def is_trusted(self, firebase: AdminFirebase) -> bool:
        """Return whether `firebase` accepts a token of this issuer. Raises `VerifierUnavailable`."""
        try:
            await firebase.verify(unverified(token(self.keys)), self.keys.signing.key_id)
        except TokenUntrusted:
            return False
        return True


class KnownIdentities(AdminFirebase):
    """firebase-admin, with an identity status for every uid, for which it would need the network."""

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        return {uid: IdentityStatus(disabled=False, valid_since=0) for uid in uids}
