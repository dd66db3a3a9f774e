"""The accounts of users, at the Auth emulator."""

import secrets
import time

import httpx
import pytest
from firebase_admin import auth

from mstoken import Settings
from mstoken.admin import AdminApp
from mstoken.cli.user_accounts import AdminUserAccounts
from tests.waiting import WAIT_SECONDS


@pytest.fixture
def email(auth_emulator: Settings) -> str:
    """The e-mail address of a user who has signed up, and so has signed in once."""
    address = f"{secrets.token_hex(8)}@example.com"
    body = {"email": address, "password": secrets.token_urlsafe(12), "returnSecureToken": True}
    httpx.post(
        f"{auth_emulator.identity_toolkit_url}/accounts:signUp?key=any", json=body, timeout=WAIT_SECONDS
    ).raise_for_status()
    return address


def test_an_account_is_found(auth_emulator: Settings, email: str) -> None:
    """An account is found by its e-mail address and by its uid, with the time of its last sign-in in seconds."""
    accounts = AdminUserAccounts(auth_emulator)
    found = accounts.get_by_email(email)
    assert found is not None
    assert accounts.get(found.uid) == found
    assert (found.email, found.claims) == (email, {})
    assert abs(found.last_sign_in - time.time()) < 60


def test_an_unknown_account(auth_emulator: Settings) -> None:
    """An account that does not exist is None."""
    accounts = AdminUserAccounts(auth_emulator)
    assert accounts.get_by_email(f"{secrets.token_hex(8)}@example.com") is None
    assert accounts.get(secrets.token_hex(8)) is None


def test_claims_are_replaced(auth_emulator: Settings, email: str) -> None:
    """The custom claims are those that were set last; none of them may be left."""
    accounts = AdminUserAccounts(auth_emulator)
    account = accounts.get_by_email(email)
    assert account is not None
    for claims in ({"role": "admin", "team": "tea"}, {"team": "tea"}, {}):
        accounts.set_claims(account.uid, claims)
        changed = accounts.get(account.uid)
        assert changed is not None
        assert changed.claims == claims


def test_sessions_end(auth_emulator: Settings, email: str) -> None:
    """Sessions that began before the given second are revoked."""
    accounts = AdminUserAccounts(auth_emulator)
    account = accounts.get_by_email(email)
    assert account is not None
    valid_since = account.last_sign_in + 1
    while time.time() < valid_since:  # The Auth emulator takes the time of the call instead.
        time.sleep(0.05)
    accounts.end_sessions(account.uid, valid_since)
    admin = AdminApp(auth_emulator)
    status = auth.get_user(account.uid, admin.get())
    assert status.tokens_valid_after_timestamp >= valid_since * 1000
