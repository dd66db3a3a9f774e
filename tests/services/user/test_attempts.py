"""services/user/attempts.py"""

import pytest

from services.common.late_writes import LateWrites
from services.user.attempts import (
    KNOWN_NETWORK_SECONDS,
    LOG_INS_PER_ACCOUNT_AND_NETWORK,
    LOG_INS_PER_NETWORK,
    MAX_KNOWN_NETWORKS,
    REFRESHES_PER_NETWORK,
    SIGN_UPS_PER_NETWORK,
    Attempts,
    Limit,
)
from services.user.errors import TooManyAttempts
from tests.clock import FakeClock
from tests.services.user.fakes import MemoryAttempts

HOME = "192.0.2.1"
ELSEWHERE = "198.51.100.1"


@pytest.fixture
def clock() -> FakeClock:
    """A clock that only the test moves."""
    return FakeClock(1_800_000_000)


@pytest.fixture
def store() -> MemoryAttempts:
    """An empty store."""
    return MemoryAttempts()


@pytest.fixture
def attempts(store: MemoryAttempts, clock: FakeClock) -> Attempts:
    """Attempts, at the beginning none."""
    return Attempts(store, LateWrites(), clock=clock)


async def test_pauses_grow(attempts: Attempts, clock: FakeClock) -> None:
    """After ten failures from one network each further one has to wait twice as long, up to 15 minutes."""
    for _ in range(LOG_INS_PER_ACCOUNT_AND_NETWORK.free):
        await attempts.log_in("maya@example.com", HOME)
    pauses = []
    for _ in range(7):
        with pytest.raises(TooManyAttempts) as refused:
            await attempts.log_in("maya@example.com", HOME)
        assert refused.value.retry_after_seconds is not None
        pauses.append(refused.value.retry_after_seconds)
        clock.advance(pauses[-1] - 1)
        with pytest.raises(TooManyAttempts):
            await attempts.log_in("maya@example.com", HOME)
        clock.advance(1)
        await attempts.log_in("maya@example.com", HOME)
    assert pauses == [30, 60, 120, 240, 480, 900, 900]


async def test_a_refused_attempt_does_not_count(attempts: Attempts, clock: FakeClock) -> None:
    """Whoever keeps trying during a pause does not make it longer."""
    for _ in range(LOG_INS_PER_ACCOUNT_AND_NETWORK.free):
        await attempts.log_in("maya@example.com", HOME)
    for _ in range(29):
        with pytest.raises(TooManyAttempts):
            await attempts.log_in("maya@example.com", HOME)
        clock.advance(1)
    clock.advance(1)
    await attempts.log_in("maya@example.com", HOME)


async def test_attempts_are_forgotten_after_a_day(attempts: Attempts, clock: FakeClock, store: MemoryAttempts) -> None:
    """A day later the same network has all of its free attempts again."""
    for _ in range(LOG_INS_PER_ACCOUNT_AND_NETWORK.free):
        await attempts.log_in("maya@example.com", HOME)
    clock.advance(24 * 3600)
    for _ in range(LOG_INS_PER_ACCOUNT_AND_NETWORK.free):
        await attempts.log_in("maya@example.com", HOME)
    assert len({row[0] for row in store.rows}) == LOG_INS_PER_ACCOUNT_AND_NETWORK.free


async def test_one_password_on_many_accounts(attempts: Attempts) -> None:
    """A network that tries one password on many accounts has a limit as well. Others do not notice."""
    for number in range(LOG_INS_PER_NETWORK.free):
        await attempts.log_in(f"u{number}@example.com", ELSEWHERE)
    with pytest.raises(TooManyAttempts):
        await attempts.log_in("one-more@example.com", ELSEWHERE)
    await attempts.log_in("one-more@example.com", HOME)


async def test_a_shared_network_does_not_lock_out_those_who_use_it(attempts: Attempts) -> None:
    """A user who has logged in from a network logs in there, however many others fail there."""
    await attempts.succeeded(await attempts.log_in("maya@example.com", HOME))
    for number in range(LOG_INS_PER_NETWORK.free):
        await attempts.log_in(f"u{number}@example.com", HOME)
    with pytest.raises(TooManyAttempts):
        await attempts.log_in("tomas@example.com", HOME)
    await attempts.log_in("maya@example.com", HOME)


async def test_a_success_forgives_the_attempts_from_its_network_only(attempts: Attempts, store: MemoryAttempts) -> None:
    """The failures of a stranger elsewhere still count after the owner's log-in."""
    for _ in range(LOG_INS_PER_ACCOUNT_AND_NETWORK.free):
        await attempts.log_in("maya@example.com", ELSEWHERE)
    await attempts.log_in("maya@example.com", HOME)
    await attempts.succeeded(await attempts.log_in("maya@example.com", HOME))
    assert len({row[0] for row in store.rows}) == LOG_INS_PER_ACCOUNT_AND_NETWORK.free
    with pytest.raises(TooManyAttempts):
        await attempts.log_in("maya@example.com", ELSEWHERE)


async def fill(attempts: Attempts, network: str) -> None:
    """Use up the attempts of a network on accounts that do not know it."""
    for number in range(LOG_INS_PER_NETWORK.free):
        await attempts.log_in(f"u{number}@example.com", network)


async def test_a_network_is_known_for_ninety_days(attempts: Attempts, clock: FakeClock) -> None:
    """An account knows a network for 90 days after the last log-in from it."""
    await attempts.succeeded(await attempts.log_in("maya@example.com", HOME))
    clock.advance(KNOWN_NETWORK_SECONDS)
    await fill(attempts, HOME)
    await attempts.log_in("maya@example.com", HOME)
    clock.advance(1)
    with pytest.raises(TooManyAttempts):
        await attempts.log_in("maya@example.com", HOME)


async def test_an_account_knows_the_latest_networks(attempts: Attempts, clock: FakeClock) -> None:
    """The number of networks that an account knows is bounded: the oldest one is forgotten."""
    for number in range(MAX_KNOWN_NETWORKS + 1):
        await attempts.succeeded(await attempts.log_in("maya@example.com", f"203.0.113.{number}"))
        clock.advance(1)
    await fill(attempts, "203.0.113.0")
    with pytest.raises(TooManyAttempts):
        await attempts.log_in("maya@example.com", "203.0.113.0")
    await fill(attempts, "203.0.113.1")
    await attempts.log_in("maya@example.com", "203.0.113.1")


async def test_sign_ups_from_one_network_are_limited(attempts: Attempts) -> None:
    """Successful sign-ups count too, because Firebase allows a number of new accounts for each address."""
    for number in range(SIGN_UPS_PER_NETWORK.free):
        await attempts.succeeded(await attempts.sign_up(f"u{number}@example.com", HOME))
    with pytest.raises(TooManyAttempts) as refused:
        await attempts.sign_up("one-more@example.com", HOME)
    assert refused.value.retry_after_seconds == SIGN_UPS_PER_NETWORK.first_pause_seconds
    await attempts.sign_up("one-more@example.com", ELSEWHERE)
    await attempts.log_in("u1@example.com", HOME)


async def test_refreshes_from_one_network_are_limited(attempts: Attempts) -> None:
    """Made-up refresh tokens are limited by the network that they come from."""
    for number in range(REFRESHES_PER_NETWORK.free):
        await attempts.refresh(f"token-{number}", HOME)
    with pytest.raises(TooManyAttempts):
        await attempts.refresh("another", HOME)
    await attempts.refresh("another", ELSEWHERE)


async def test_only_hashes_are_stored(attempts: Attempts, store: MemoryAttempts) -> None:
    """The store has no e-mail address, network or refresh token in readable form."""
    await attempts.succeeded(await attempts.sign_up("maya@example.com", HOME))
    await attempts.log_in("maya@example.com", ELSEWHERE)
    await attempts.refresh("refresh-token", HOME)
    stored = str((store.rows, store.networks))
    assert not [text for text in ("maya", HOME, ELSEWHERE, "refresh-token") if text in stored]


def test_the_longest_pause_is_reached_with_any_count() -> None:
    """A count of any size does not make numbers without bound."""
    assert Limit(1, 60, 30, 900).wait_seconds(10**9, latest=1000, now=1000) == 900
