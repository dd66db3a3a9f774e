"""Application Default Credentials: which of them can sign, and how the metadata server is asked.

The metadata server answers with tokens over plain HTTP, because it is part of the machine. google-auth and
firebase-admin ask it through the proxy that HTTP_PROXY names, so the proxy sees the tokens in clear
(fluent-plugin-google-cloud#329). Here no request over plain HTTP uses a proxy. Requests over HTTPS, which go to Google,
do.

Sources: AIP-4110 (where google-auth looks for credentials), AIP-4115 (the metadata server); `_init_signing_provider` in
firebase-admin's `_token_gen.py` (what can sign).
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import firebase_admin.credentials
import google.auth
import requests
from google.auth import compute_engine, crypt, iam, impersonated_credentials
from google.auth.credentials import DEFAULT_UNIVERSE_DOMAIN, Signing
from google.auth.exceptions import TransportError
from google.auth.transport.requests import Request
from requests.adapters import HTTPAdapter
from typing_extensions import override

from mstoken.errors import SettingsError

CREDENTIALS_VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"
GCLOUD_FOLDER_VARIABLE = "CLOUDSDK_CONFIG"
GCLOUD_FILE = "application_default_credentials.json"
SCOPES = (
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/firebase",
    "https://www.googleapis.com/auth/identitytoolkit",
    "https://www.googleapis.com/auth/userinfo.email",
)
"""The access that firebase-admin needs for signing and for looking up identities. Roles limit it further."""

CANNOT_SIGN: Mapping[str, str] = {
    "authorized_user": "of a person",
    "external_account_authorized_user": "of a person",
    "external_account": "of a workload identity pool",
    "gdch_service_account": "of Google Distributed Cloud",
}
"""The types of credentials with which firebase-admin cannot sign, and of what they are."""


class DirectAdapter(HTTPAdapter):
    """Sends requests without a proxy."""

    @override
    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        return super().send(request, stream, timeout, verify, cert, {})


def google_request() -> Request:
    """Return a transport for google-auth that uses no proxy for plain HTTP, which only the metadata server speaks."""
    session = requests.Session()
    session.mount("http://", DirectAdapter())
    return Request(session)


class MetadataCredentials(compute_engine.Credentials, Signing):
    """The service account of this machine. The metadata server gives access tokens, and IAM signs."""

    @override
    def refresh(self, request: object) -> None:
        """Get an access token. `request` is not used, because it may use a proxy."""
        super().refresh(google_request())  # type: ignore[no-untyped-call]  # google-auth has few types

    @override
    def sign_bytes(self, message: bytes) -> bytes:
        signature: bytes = self.signer.sign(message)
        return signature

    @property
    @override
    def signer(self) -> iam.Signer:
        """The signer that asks IAM."""
        return iam.Signer(google_request(), self, self.signer_email)

    @property
    @override
    def signer_email(self) -> str:
        """The e-mail address of the service account. The metadata server tells it with the first access token."""
        if self.service_account_email == "default":
            self.refresh(None)
        return str(self.service_account_email)


class ImpersonatedCredentials(impersonated_credentials.Credentials):
    """A service account that another account impersonates. IAM signs.

    In google-auth these credentials are their own signer, but without the methods of one.
    """

    @property
    @override
    def signer(self) -> crypt.Signer:
        """The signer that asks IAM."""
        return _ImpersonatedSigner(self)


class _ImpersonatedSigner(crypt.Signer):
    def __init__(self, credentials: ImpersonatedCredentials) -> None:
        self._credentials = credentials

    @property
    @override
    def key_id(self) -> None:
        """None: IAM does not tell with which key it will sign."""

    @override
    def sign(self, message: bytes) -> bytes:
        try:
            signature: bytes = self._credentials.sign_bytes(message)  # type: ignore[no-untyped-call]
        except requests.RequestException as error:  # google-auth lets it through here
            raise TransportError(error) from error
        return signature


class DefaultCredentials(firebase_admin.credentials.Base):  # type: ignore[misc]  # it has no types
    """Application Default Credentials for firebase-admin, which never asks the metadata server through a proxy."""

    def __init__(self) -> None:
        self._loaded: Any = None

    @override
    def get_credential(self) -> Any:
        """Return the credentials of google-auth. The first call reads files, or asks the metadata server.

        Raise `google.auth.exceptions.DefaultCredentialsError` if there are none.
        """
        if self._loaded is None:
            found, _ = google.auth.default(scopes=SCOPES, request=google_request())
            self._loaded = _that_sign(found)
        return self._loaded


def _that_sign(found: Any) -> Any:
    """Return credentials that firebase-admin can sign with, if IAM would sign for these."""
    if type(found) is compute_engine.Credentials:
        # Firebase exists only in Google's own universe. So google-auth need not ask in which one this machine is.
        return MetadataCredentials(  # type: ignore[no-untyped-call]
            quota_project_id=found.quota_project_id, scopes=found.scopes, universe_domain=DEFAULT_UNIVERSE_DOMAIN
        )
    if type(found) is impersonated_credentials.Credentials:
        # google-auth has made them, with arguments that it does not tell, so they cannot be made anew.
        found.__class__ = ImpersonatedCredentials
    return found


def check_can_sign(environment: Mapping[str, str], home: Path | None = None) -> None:
    """Raise `SettingsError` if the file of Application Default Credentials has some that cannot sign custom tokens.

    Also raise it if GOOGLE_APPLICATION_CREDENTIALS names a file that cannot be read. `home` is the user's folder.
    Nothing is fetched: without a file, the metadata server may have credentials.
    """
    file = _named_file(environment) or gcloud_file(environment, home or Path.home())
    if _named_file(environment) is None and not file.is_file():
        return
    kind = _type_in(file)
    if owner := CANNOT_SIGN.get(kind or ""):
        raise SettingsError(
            f"This process must sign custom tokens, and the credentials in {str(file)!r} cannot: they are those "
            f"{owner} ({kind}). Set {CREDENTIALS_VARIABLE} to the key of a service account, or run `gcloud auth "
            "application-default login --impersonate-service-account ACCOUNT`. If another process signs, set "
            "MSTOKEN_TOKEN_SERVICE_URL to the URL of that token service."
        )


def check_file(environment: Mapping[str, str]) -> None:
    """Raise `SettingsError` if GOOGLE_APPLICATION_CREDENTIALS names a file that cannot be read, or is not JSON."""
    if file := _named_file(environment):
        _type_in(file)


def gcloud_file(environment: Mapping[str, str], home: Path) -> Path:
    """Return the path of the file that `gcloud auth application-default login` writes."""
    if folder := environment.get(GCLOUD_FOLDER_VARIABLE):
        return Path(folder) / GCLOUD_FILE
    if sys.platform == "win32" and (folder := environment.get("APPDATA")):
        return Path(folder) / "gcloud" / GCLOUD_FILE
    return home / ".config" / "gcloud" / GCLOUD_FILE


def _named_file(environment: Mapping[str, str]) -> Path | None:
    name = environment.get(CREDENTIALS_VARIABLE)
    return Path(name) if name else None


def _type_in(file: Path) -> str | None:
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise _file_error(file, f"it cannot be read ({error.strerror})") from None
    except ValueError:
        raise _file_error(file, "it is not JSON") from None
    kind = content.get("type") if isinstance(content, dict) else None
    return kind if isinstance(kind, str) else None


def _file_error(file: Path, problem: str) -> SettingsError:
    return SettingsError(
        f"The file of Google's credentials is {str(file)!r}: {problem}. Set {CREDENTIALS_VARIABLE} to another file, or "
        "unset it on Google Cloud."
    )
