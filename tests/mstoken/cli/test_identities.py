"""The Firebase identities of services, at the Auth emulator."""

import secrets
import time

import pytest
from firebase_admin import auth

from mstoken import ServiceIdentity, Settings
from mstoken.admin import admin_app
from mstoken.callee.status import LARGEST_LOOK_UP
from mstoken.cli.identities import Identities
from mstoken.errors import SignInRefused


def names(number: int) -> list[str]:
    """Services that no other test has."""
    return [f"cli-{secrets.token_hex(6)}" for _ in range(number)]


def test_switching(auth_emulator: Settings) -> None:
    """A service that has signed in is enabled, then disabled, then enabled; it can sign in just then."""
    (service,) = names(1)
    identities = Identities(auth_emulator)
    assert identities.states([service]) == {service: "absent"}
    assert not identities.switch(service, disabled=True)
    with ServiceIdentity(service, auth_emulator) as identity:
        identity.token_sync("product")
        assert identities.states([service]) == {service: "enabled"}
        for _ in range(2):
            assert identities.switch(service, disabled=True)
            assert identities.states([service]) == {service: "disabled"}
        with pytest.raises(SignInRefused, match="USER_DISABLED"):
            identity.token_sync("product")
        assert identities.switch(service, disabled=False)
        identity.token_sync("product")


def test_what_was_signed_in_before_stays_worthless(auth_emulator: Settings) -> None:
    """A token that was stolen is not good again when its service is enabled."""
    (service,) = names(1)
    identities = Identities(auth_emulator)
    with ServiceIdentity(service, auth_emulator) as identity:
        identity.token_sync("product")
    signed_in_at = time.time()
    while int(time.time()) == int(signed_in_at):
        time.sleep(0.05)  # Firebase counts whole seconds.
    identities.switch(service, disabled=True)
    identities.switch(service, disabled=False)
    user = auth.get_user(f"svc:{service}", admin_app(auth_emulator))
    assert user.tokens_valid_after_timestamp > signed_in_at * 1000


def test_disabled_before_its_first_sign_in(auth_emulator: Settings) -> None:
    """An identity can be made that cannot sign in; one that is there already is disabled all the same."""
    absent, present = names(2)
    identities = Identities(auth_emulator)
    with ServiceIdentity(present, auth_emulator) as identity:
        identity.token_sync("product")
    for service in (absent, present):
        identities.create_disabled(service)
    assert identities.states([absent, present]) == {absent: "disabled", present: "disabled"}
    with ServiceIdentity(absent, auth_emulator) as identity, pytest.raises(SignInRefused, match="USER_DISABLED"):
        identity.token_sync("product")


def test_more_than_one_look_up_takes(auth_emulator: Settings) -> None:
    """However many services there are, each has its state."""
    services = names(LARGEST_LOOK_UP + 1)
    identities = Identities(auth_emulator)
    identities.create_disabled(services[-1])
    states = identities.states(services)
    assert list(states) == services
    assert set(states.values()) == {"absent", "disabled"}
    assert states[services[-1]] == "disabled"
