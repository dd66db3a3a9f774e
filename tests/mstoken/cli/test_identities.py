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
    """Return names of services that no other test uses."""
    return [f"cli-{secrets.token_hex(6)}" for _ in range(number)]


def test_an_identity_is_disabled_and_enabled(auth_emulator: Settings) -> None:
    """A service can sign in if its identity is enabled. It is absent before its first sign-in."""
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


def test_tokens_from_before_stay_invalid(auth_emulator: Settings) -> None:
    """Enabling a service does not make a stolen token valid again: its sessions were revoked."""
    (service,) = names(1)
    identities = Identities(auth_emulator)
    with ServiceIdentity(service, auth_emulator) as identity:
        identity.token_sync("product")
    signed_in_at = time.time()
    while int(time.time()) == int(signed_in_at):
        time.sleep(0.05)  # Firebase counts in whole seconds.
    identities.switch(service, disabled=True)
    identities.switch(service, disabled=False)
    user = auth.get_user(f"svc:{service}", admin_app(auth_emulator))
    assert user.tokens_valid_after_timestamp > signed_in_at * 1000


def test_a_service_can_be_disabled_before_its_first_sign_in(auth_emulator: Settings) -> None:
    """A disabled identity is created. If the service has signed in meanwhile, its identity is disabled."""
    absent, present = names(2)
    identities = Identities(auth_emulator)
    with ServiceIdentity(present, auth_emulator) as identity:
        identity.token_sync("product")
    for service in (absent, present):
        identities.create_disabled(service)
    assert identities.states([absent, present]) == {absent: "disabled", present: "disabled"}
    with ServiceIdentity(absent, auth_emulator) as identity, pytest.raises(SignInRefused, match="USER_DISABLED"):
        identity.token_sync("product")


def test_any_number_of_services_is_looked_up(auth_emulator: Settings) -> None:
    """Each service has its state, also if one request cannot name all of them."""
    services = names(LARGEST_LOOK_UP + 1)
    identities = Identities(auth_emulator)
    identities.create_disabled(services[-1])
    states = identities.states(services)
    assert list(states) == services
    assert set(states.values()) == {"absent", "disabled"}
    assert states[services[-1]] == "disabled"
