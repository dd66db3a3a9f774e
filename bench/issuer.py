"""Stands in for Google in the benchmarks: a key, its certificate, and ID tokens. No network is used."""

import io
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import firebase_admin
import jwt
import requests
import urllib3
from cachecontrol import CacheControlAdapter
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from firebase_admin import app_check, auth, credentials
from google.oauth2.credentials import Credentials as AccessToken
from jwt import PyJWKSet
from jwt.algorithms import RSAAlgorithm
from requests.adapters import HTTPAdapter
from typing_extensions import override

from mstoken.callee.firebase import AdminFirebase, IdentityStatus

PROJECT = "bench-project"
KEY_ID = "bench"
CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"


class Issuer:
    """Signs ID tokens as Firebase does, and publishes the certificate in Google's format."""

    issuer = f"https://securetoken.google.com/{PROJECT}"

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        self.public_key = self._key.public_key()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
        self.certificates = json.dumps({KEY_ID: pem}).encode()

    def id_token(self, uid: str, ms: dict[str, Any]) -> str:
        """Return an ID token of the project for `uid`, as Firebase issues it."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": PROJECT,
            "auth_time": now,
            "user_id": uid,
            "sub": uid,
            "iat": now,
            "exp": now + 3600,
            "firebase": {"identities": {}, "sign_in_provider": "custom"},
        }
        return self.signed(claims | ms)

    def signed(self, claims: dict[str, Any]) -> str:
        """Return a JWT with these claims, signed with the key."""
        return jwt.encode(claims, self._key, "RS256", headers={"kid": KEY_ID})

    def signature(self, message: bytes) -> bytes:
        """Return an RS256 signature of a message."""
        return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def jwks(self) -> dict[str, Any]:
        """Return the public key as a JWK set, the format of other issuers."""
        return {"keys": [RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True) | {"kid": KEY_ID, "alg": "RS256"}]}

    def certificates_file(self, folder: Path) -> Path:
        """Write the certificates to a file in Google's format. Return its path."""
        path = folder / "certificates.json"
        path.write_bytes(self.certificates)
        return path

    def credentials_file(self, folder: Path) -> Path:
        """Write the key of a service account to a file. Return its path. firebase-admin needs it to start."""
        encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        account = {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": KEY_ID,
            "private_key": self._key.private_bytes(*encoding).decode(),
            "client_email": f"bench@{PROJECT}.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
        path = folder / "service-account.json"
        path.write_text(json.dumps(account))
        return path

    @contextmanager
    def credentials(self, folder: Path) -> Iterator[None]:
        """Let Google's libraries find the key of a service account, by the variable that names it."""
        before = os.environ.get(CREDENTIALS_VARIABLE)
        os.environ[CREDENTIALS_VARIABLE] = str(self.credentials_file(folder))
        try:
            yield
        finally:
            del os.environ[CREDENTIALS_VARIABLE]
            if before is not None:
                os.environ[CREDENTIALS_VARIABLE] = before

    @contextmanager
    def plain_admin_app(self) -> Iterator[firebase_admin.App]:
        """Make an app of firebase-admin, unchanged except that its HTTP requests get the certificates from memory."""
        app = admin_app(self.certificates, "plain")
        try:
            yield app
        finally:
            firebase_admin.delete_app(app)

    def cached_adapter(self) -> "CacheControlAdapter":
        """Return the HTTP cache that Google's libraries use, in front of the certificates."""
        return _cached(self.certificates)

    @contextmanager
    def app_check_app(self, google_seconds: float) -> Iterator[firebase_admin.App]:
        """Make an app of firebase-admin for App Check. Google answers after so many seconds, without a network."""
        app = firebase_admin.initialize_app(_Signed(), {"projectId": PROJECT}, name="app-check")
        service = app_check._get_app_check_service(app)
        service._jwks_client.jwk_set_cache.put(PyJWKSet.from_dict(self.jwks()))
        adapter = _Consuming()
        adapter.seconds = google_seconds
        service._http_client.session.mount("https://", adapter)
        try:
            yield app
        finally:
            firebase_admin.delete_app(app)


def admin_app(certificates: bytes, name: str) -> firebase_admin.App:
    """Return an app of firebase-admin, unchanged except that its HTTP requests are answered with `certificates`."""
    app = firebase_admin.initialize_app(options={"projectId": PROJECT}, name=name)
    auth._get_client(app)._token_verifier.request.session.mount("https://", _cached(certificates))
    return app


def _cached(certificates: bytes) -> "CacheControlAdapter":
    adapter = _CachedCertificates()
    adapter.certificates = certificates
    return adapter


class BenchFirebase(AdminFirebase):
    """firebase-admin, with an identity status for every uid that is neither disabled nor revoked."""

    @override
    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        return {uid: IdentityStatus(disabled=False, valid_since=0) for uid in uids}


class _Signed(credentials.Base):  # type: ignore[misc] # firebase-admin has no types
    """Credentials with an access token that is still valid."""

    @override
    def get_credential(self) -> Any:
        return AccessToken("bench")


class _Published(HTTPAdapter):
    """Answers every request with Google's certificates, without a network."""

    certificates = b""

    @override
    def send(self, request: requests.PreparedRequest, *_arguments: Any, **_more: Any) -> requests.Response:
        headers = {
            "Cache-Control": "public, max-age=21600",
            "Date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        }
        return self.build_response(request, _answer(self.certificates, headers))


class _CachedCertificates(CacheControlAdapter, _Published):
    """The HTTP cache of firebase-admin, on top of those answers."""


class _Consuming(HTTPAdapter):
    """Answers as App Check's backend does for a token that was not used before, after `seconds`."""

    seconds = 0.0

    @override
    def send(self, request: requests.PreparedRequest, *_arguments: Any, **_more: Any) -> requests.Response:
        time.sleep(self.seconds)
        return self.build_response(request, _answer(b'{"alreadyConsumed": false}', {}))


def _answer(body: bytes, headers: dict[str, str]) -> urllib3.HTTPResponse:
    headers = headers | {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return urllib3.HTTPResponse(io.BytesIO(body), headers, status=200, preload_content=False)
