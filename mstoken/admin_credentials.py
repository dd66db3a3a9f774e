"""The credentials that firebase-admin uses: Application Default Credentials, which sign with a key or through IAM.

Sources: AIP-4115 (the metadata server); `_init_signing_provider` in firebase-admin's `_token_gen.py` (what can sign).
"""

from typing import Any

import firebase_admin.credentials
import google.auth
import requests
from google.auth import compute_engine, crypt, iam, impersonated_credentials
from google.auth.credentials import DEFAULT_UNIVERSE_DOMAIN, Signing
from google.auth.exceptions import TransportError
from typing_extensions import override

from mstoken.google_transport import GoogleRequest

SCOPES = (
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/firebase",
    "https://www.googleapis.com/auth/identitytoolkit",
    "https://www.googleapis.com/auth/userinfo.email",
)
"""The access that firebase-admin needs for signing and for looking up identities. Roles limit it further."""


class MetadataCredentials(compute_engine.Credentials, Signing):
    """The service account of this machine. The metadata server gives access tokens, and IAM signs."""

    @override
    def refresh(self, request: object) -> None:
        """Get an access token. `request` is not used, because it may use a proxy."""
        super().refresh(GoogleRequest())  # type: ignore[no-untyped-call]  # google-auth has few types

    @override
    def sign_bytes(self, message: bytes) -> bytes:
        signature: bytes = self.signer.sign(message)
        return signature

    @property
    @override
    def signer(self) -> iam.Signer:
        """The signer that asks IAM."""
        return iam.Signer(GoogleRequest(), self, self.signer_email)

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
            found, _ = google.auth.default(scopes=SCOPES, request=GoogleRequest())
            self._loaded = _that_sign(found)
        return self._loaded
