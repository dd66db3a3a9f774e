"""Google, as far as the benchmark needs it: a key, its certificate, and ID tokens; nothing is fetched from anywhere."""

import io
import json
import time
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
from cryptography.hazmat.primitives.asymmetric import rsa
from firebase_admin import auth
from jwt.algorithms import RSAAlgorithm
from requests.adapters import HTTPAdapter

PROJECT = "bench-project"
KEY_ID = "bench"


class Issuer:
    """Signs what Firebase would sign, and publishes the certificate in Google's format."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
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
        """An ID token of the project for `uid`, as Firebase issues it."""
        now = int(time.time())
        claims = {
            "iss": f"https://securetoken.google.com/{PROJECT}",
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
        """A JWT with these claims, signed with the key."""
        return jwt.encode(claims, self._key, "RS256", headers={"kid": KEY_ID})

    def jwks(self) -> dict[str, Any]:
        """The public key, as other issuers publish theirs."""
        return {"keys": [RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True) | {"kid": KEY_ID, "alg": "RS256"}]}

    def certificates_file(self, folder: Path) -> Path:
        """The certificates in a file, in Google's format."""
        path = folder / "certificates.json"
        path.write_bytes(self.certificates)
        return path

    def credentials_file(self, folder: Path) -> Path:
        """A service account's key, which firebase-admin wants to have before it verifies anything."""
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

    def stock_app(self) -> firebase_admin.App:
        """An app of firebase-admin, as it comes, whose HTTP cache finds the certificates in place of the network."""
        app = firebase_admin.initialize_app(options={"projectId": PROJECT}, name="stock")
        adapter = _Adapter()
        adapter.certificates = self.certificates
        auth._get_client(app)._token_verifier.request.session.mount("https://", adapter)
        return app


class _Published(HTTPAdapter):
    """Google's answer, in place of the network."""

    certificates = b""

    def send(self, request: requests.PreparedRequest, *_arguments: Any, **_more: Any) -> requests.Response:
        answer = urllib3.HTTPResponse(
            io.BytesIO(self.certificates),
            {
                "Cache-Control": "public, max-age=21600",
                "Date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
                "Content-Length": str(len(self.certificates)),
            },
            status=200,
            preload_content=False,
        )
        return self.build_response(request, answer)


class _Adapter(CacheControlAdapter, _Published):
    """firebase-admin's own cache, above that."""
