"""The Firebase identities of services, at the Auth emulator."""

import secrets
import time

import pytest

from mstoken import ServiceIdentity, Settings
from mstoken.callee.firebase import AdminDirectory, IdentityStatus
from mstoken.callee.status import LARGEST_LOOK_UP
from mstoken.claims import service_uid
from mstoken.cli.identities import Identities
from mstoken.errors import SignInRefused
from mstoken.wire import CLOCK_SKEW_SECONDS


def names(number: int) -> list[str]:
    """Return names of services that no other test uses."""
    return [f"cli-{secrets.token_hex(6)}" for _ in range(number)]


def test_an_identity_is_disabled_and_enabled(auth_emulator: Settings) -> None:
    """A service can sign in if its identity is enabled. It is absent before its first sign-in."""
    (service,) = names(1)
    identities = Identities(auth_emulator)
    assert identities.states([service]) == {service: "absent"}
    assert not identities.disable(service)
    with ServiceIdentity(service, auth_emulator) as identity:
        identity.token_sync("product")
        assert identities.states([service]) == {service: "enabled"}
        for _ in range(2):
            assert identities.disable(service)
            assert identities.states([service]) == {service: "disabled"}
        with pytest.raises(SignInRefused, match="USER_DISABLED"):
            identity.token_sync("product")
        assert identities.enable(service)
        identity.token_sync("product")


async def statuses(settings: Settings, *services: str) -> list[IdentityStatus]:
    """Return what a callee learns of the identities of these services."""
    found = await AdminDirectory(settings).look_up([service_uid(service) for service in services])
    return [found[service_uid(service)] for service in services]


async def test_the_first_token_of_a_service_is_accepted(auth_emulator: Settings) -> None:
    """Its sign-in creates the identity, after its custom token was minted. That is not a revocation."""
    (service,) = names(1)
    async with ServiceIdentity(service, auth_emulator) as identity:
        await identity.token("product")
    (status,) = await statuses(auth_emulator, service)
    assert abs(status.created_at - time.time()) < 60
    assert not status.was_revoked
    assert status.accepts(status.created_at, minted_at=status.created_at - 10)


async def test_nothing_that_was_minted_before_a_service_was_enabled_counts(auth_emulator: Settings) -> None:
    """Disabling revokes, and so does enabling: a custom token may have been minted between the two.

    It does not matter in which part of a second that was, nor whether the clock of the signer is ahead by 5 s.
    """
    present, absent = names(2)
    async with ServiceIdentity(present, auth_emulator) as identity:
        await identity.token("product")
    now = int(time.time())
    identities = Identities(auth_emulator, clock=lambda: now + 2.9)
    identities.create_disabled(absent)
    for service in (present, absent):
        assert identities.disable(service)
    for status in await statuses(auth_emulator, present, absent):
        assert status.disabled
        assert status.valid_since == now + 2
    for service in (present, absent):
        assert identities.enable(service)
    for status in await statuses(auth_emulator, present, absent):
        assert not status.disabled
        last = now + 2 + CLOCK_SKEW_SECONDS
        assert not status.accepts(last + 60, minted_at=last)
        assert not status.accepts(last, minted_at=last + 60)
        assert status.accepts(last + 1, minted_at=last + 1)


async def test_an_identity_that_is_enabled_at_once_is_revoked(auth_emulator: Settings) -> None:
    """This holds in the second in which a disabled identity was created, too."""
    (service,) = names(1)
    identities = Identities(auth_emulator)
    minted_at = int(time.time())
    identities.create_disabled(service)
    identities.enable(service)
    (status,) = await statuses(auth_emulator, service)
    assert not status.accepts(minted_at + 60, minted_at=minted_at)


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
