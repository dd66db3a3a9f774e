"""Minting: what firebase-admin is asked to sign, and what its failures mean."""

import base64
import json

import google.auth.exceptions
import pytest
from firebase_admin import auth

from mstoken.caller.flow import Blocking
from mstoken.caller.minting import AdminMinter
from mstoken.claims import ServiceClaims
from mstoken.errors import SignInRefused, SignInUnavailable
from mstoken.settings import Settings
from tests.mstoken.test_settings import environment

CLAIMS = ServiceClaims.fresh("billing", "product")


def minter() -> AdminMinter:
    """A minter of the emulator's kind; nothing is sent anywhere."""
    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"):
        return AdminMinter(Settings(project_id="demo-admin"))


def test_the_custom_token_carries_uid_and_claims() -> None:
    """It is for svc:billing, with the ms claim among its developer claims."""
    flow = minter().mint(CLAIMS)
    need = next(flow)
    assert isinstance(need, Blocking)
    with environment(FIREBASE_AUTH_EMULATOR_HOST="127.0.0.1:9099"):
        signed = need.function()
    with pytest.raises(StopIteration) as end:
        flow.send(signed)
    payload = end.value.value.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["uid"] == "svc:billing"
    assert claims["claims"] == CLAIMS.as_developer_claims()


def test_no_signer_is_for_good() -> None:
    """Where there is no key, another try will not find one."""
    flow = minter().mint(CLAIMS)
    next(flow)
    with pytest.raises(SignInRefused, match="nothing to sign"):
        flow.throw(ValueError("Failed to determine service account"))


def test_a_network_in_the_way_is_for_now() -> None:
    """IAM's signBlob, or the metadata server, may answer next time."""
    unreachable = ValueError("Failed to determine service account")
    unreachable.__cause__ = google.auth.exceptions.TransportError("no route")
    for error in (unreachable, auth.TokenSignError("x", None)):
        flow = minter().mint(CLAIMS)
        next(flow)
        with pytest.raises(SignInUnavailable, match="could not be signed"):
            flow.throw(error)
