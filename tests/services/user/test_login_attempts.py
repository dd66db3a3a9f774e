"""services/user/login_attempts.py"""

import pytest

from services.user.errors import TooManyAttempts
from services.user.login_attempts import MAX_PER_ACCOUNT, MAX_PER_NETWORK, LoginAttempts
from tests.clock import FakeClock
from tests.services.user.fakes import MemoryLoginAttempts


@pytest.fixture
def store() -> MemoryLoginAttempts:
    """An empty store of failed log-ins."""
    return MemoryLoginAttempts()


@pytest.fixture
def attempts(store: MemoryLoginAttempts) -> LoginAttempts:
    """Failed log-ins, counted by a clock that stands still."""
    return LoginAttempts(store, clock=FakeClock())


async def test_attempts_from_one_address_are_limited(attempts: LoginAttempts) -> None:
    """A network address that tries one password on many accounts has a limit as well."""
    for number in range(MAX_PER_NETWORK):
        await attempts.begin(f"u{number}@example.com", "192.0.2.1")
    with pytest.raises(TooManyAttempts):
        await attempts.begin("one-more@example.com", "192.0.2.1")
    await attempts.begin("one-more@example.com", "192.0.2.2")


async def test_failures_count_for_fifteen_minutes() -> None:
    """An account that has reached its limit may try again 15 minutes after its first attempt, not earlier.


    The error says how many seconds are left.
    """
    clock = FakeClock()
    attempts = LoginAttempts(MemoryLoginAttempts(), clock=clock)
    for _ in range(MAX_PER_ACCOUNT):
        await attempts.begin("maya@example.com", "192.0.2.1")
        clock.advance(1)
    clock.advance(15 * 60 - MAX_PER_ACCOUNT)
    with pytest.raises(TooManyAttempts) as refused:
        await attempts.begin("maya@example.com", "192.0.2.1")
    assert refused.value.retry_after_seconds == 1
    clock.advance(1)
    await attempts.begin("maya@example.com", "192.0.2.1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "not an address", True),
    ],
)
async def test_what_counts_as_one_network(
    attempts: LoginAttempts, store: MemoryLoginAttempts, one: str, other: str, same: bool
) -> None:
    """An IPv6 address counts with its /64 network. Callers without an address share one."""
    for address in (one, other):
        await attempts.begin("maya@example.com", address)
    networks = {attempt.network for attempt in store.attempts}
    assert len(networks) == (1 if same else 2)


async def test_email_addresses_are_not_stored(attempts: LoginAttempts, store: MemoryLoginAttempts) -> None:
    """The e-mail address of an attempt is stored as a hash only."""
    await attempts.begin("maya@example.com", "192.0.2.1")
    assert "maya" not in str(store.attempts)
