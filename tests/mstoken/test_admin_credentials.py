"""The credentials that firebase-admin signs with. tests/mstoken/test_google_transport.py has those of a machine."""

from typing import Any

import google.auth
import pytest
from google.auth import compute_engine, credentials, impersonated_credentials
from google.auth.exceptions import DefaultCredentialsError, TransportError

from mstoken.admin_credentials import DefaultCredentials, ImpersonatedCredentials, MetadataCredentials


def found(monkeypatch: pytest.MonkeyPatch, value: Any) -> DefaultCredentials:
    """Return the credentials of a process where google-auth finds `value`."""

    def default(**_options: Any) -> tuple[Any, None]:
        if isinstance(value, Exception):
            raise value
        return value, None

    monkeypatch.setattr(google.auth, "default", default)
    return DefaultCredentials()


def test_the_service_account_of_a_machine_signs_through_iam(monkeypatch: pytest.MonkeyPatch) -> None:
    """google-auth's own credentials of a machine cannot sign. They are found once."""
    default = found(monkeypatch, compute_engine.Credentials())
    assert isinstance(default.get_credential(), MetadataCredentials)
    assert default.get_credential() is default.get_credential()


def test_an_impersonated_account_signs_through_iam(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the network while IAM is asked is one that google-auth has."""
    source = credentials.AnonymousCredentials()
    value = impersonated_credentials.Credentials(source, "token@shop.iam.gserviceaccount.com", ["scope"])
    signer = found(monkeypatch, value).get_credential().signer
    assert isinstance(value, ImpersonatedCredentials)
    assert signer.key_id is None

    def no_network(*_arguments: object, **_options: object) -> None:
        import requests

        raise requests.ConnectionError("no route")

    monkeypatch.setattr(impersonated_credentials.Credentials, "sign_bytes", no_network)
    with pytest.raises(TransportError, match="no route"):
        signer.sign(b"message")


def test_other_credentials_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can sign by itself, and what cannot sign at all, is left to firebase-admin."""
    value = credentials.AnonymousCredentials()
    assert found(monkeypatch, value).get_credential() is value


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is google-auth's."""
    with pytest.raises(DefaultCredentialsError):
        found(monkeypatch, DefaultCredentialsError("none")).get_credential()
