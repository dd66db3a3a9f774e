"""services/user/accounts.py"""

import pytest

from mstoken import UserCaller
from services.user.accounts import FAILED_LOG_IN_SECONDS, Accounts
from services.user.errors import CredentialsInvalid, FirebaseUnavailable, RefreshTokenInvalid, TooManyAttempts
from services.user.login_attempts import MAX_PER_ACCOUNT, LoginAttempts
from services.user.profiles import Profile, Profiles
from tests.clock import FakeClock
from tests.services.user.fakes import FakeProject, MemoryLoginAttempts, MemoryProfiles, failure

HOME = "192.0.2.1"


class Shop:
    """Accounts over a fake project, with a clock that only sleeping moves."""

    def __init__(self, now: float = 1_800_000_000.25) -> None:
        self.clock = FakeClock(now)
        self.project = FakeProject(clock=self.clock)
        self.store = MemoryProfiles()
        self.attempts = MemoryLoginAttempts()
        self.forgotten: list[str] = []
        self.accounts = Accounts(
            self.project.toolkit(),
            self.project,
            Profiles(self.store),
            LoginAttempts(self.attempts, clock=self.clock),
            forget=self.forgotten.append,
            clock=self.clock,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def caller(self, *, issued_at: int) -> UserCaller:
        return UserCaller("uid-0", None, "maya@example.com", "Maya", issued_at, issued_at)


@pytest.fixture
def shop() -> Shop:
    """Accounts to try."""
    return Shop()


async def sign_up(shop: Shop) -> str:
    return (await shop.accounts.sign_up("maya@example.com", "password-1", "Maya")).refresh_token


async def test_log_out_covers_the_second_it_happens_in(shop: Shop) -> None:
    """A token issued in the very second of the log-out is revoked too: Firebase counts in whole seconds."""
    await sign_up(shop)
    await shop.accounts.log_out(shop.caller(issued_at=1_800_000_000))
    assert shop.project.accounts[0].valid_since == 1_800_000_001


async def test_log_out_ends_when_a_new_log_in_will_count(shop: Shop) -> None:
    """Once the log-out is answered, a log-in is of a time that the revocation does not cover."""
    await sign_up(shop)
    await shop.accounts.log_out(shop.caller(issued_at=1_800_000_000))
    session = await shop.accounts.log_in("maya@example.com", "password-1", HOME)
    assert session.auth_time >= shop.project.accounts[0].valid_since
    assert shop.clock() == 1_800_000_001


async def test_log_out_with_a_token_from_a_faster_clock(shop: Shop) -> None:
    """A token that Firebase dates a little ahead of our clock is revoked all the same."""
    await sign_up(shop)
    await shop.accounts.log_out(shop.caller(issued_at=1_800_000_003))
    assert shop.project.accounts[0].valid_since == 1_800_000_004
    assert shop.clock() >= 1_800_000_004


async def test_log_out_with_an_old_token(shop: Shop) -> None:
    """However old the token, it is the sessions up to now that end."""
    await sign_up(shop)
    await shop.accounts.log_out(shop.caller(issued_at=1_799_999_000))
    assert shop.project.accounts[0].valid_since == 1_800_000_001


async def test_log_out_is_known_here_at_once(shop: Shop) -> None:
    """After the revocation, what this process remembers of the user is dropped."""
    await sign_up(shop)
    await shop.accounts.log_out(shop.caller(issued_at=1_800_000_000))
    assert shop.forgotten == ["uid-0"]


async def test_a_sleep_that_ends_early_is_slept_again() -> None:
    """The log-out waits until the second has begun, also where a sleep wakes up too soon."""
    shop = Shop()

    async def light_sleep(seconds: float) -> None:
        shop.clock.advance(max(seconds / 2, 0.01))

    await sign_up(shop)
    profiles = Profiles(shop.store)
    toolkit = shop.project.toolkit()
    accounts = Accounts(
        toolkit,
        shop.project,
        profiles,
        LoginAttempts(shop.attempts),
        forget=shop.forgotten.append,
        clock=shop.clock,
        sleep=light_sleep,
    )
    await accounts.log_out(shop.caller(issued_at=1_800_000_000))
    assert shop.clock() >= 1_800_000_001


async def test_refresh(shop: Shop) -> None:
    """A session's refresh token gives a new ID token for the same log-in."""
    refresh_token = await sign_up(shop)
    shop.clock.advance(100)
    session = await shop.accounts.refresh(refresh_token)
    assert (session.uid, session.auth_time) == ("uid-0", 1_800_000_000)


async def test_no_refresh_after_log_out(shop: Shop) -> None:
    """The refresh token of an ended session is refused, though the emulator would honour it."""
    refresh_token = await sign_up(shop)
    await shop.accounts.log_out(shop.caller(issued_at=1_800_000_000))
    with pytest.raises(RefreshTokenInvalid):
        await shop.accounts.refresh(refresh_token)


async def test_no_refresh_for_the_disabled(shop: Shop) -> None:
    """A disabled account gets no new tokens."""
    refresh_token = await sign_up(shop)
    shop.project.accounts[0].disabled = True
    with pytest.raises(RefreshTokenInvalid):
        await shop.accounts.refresh(refresh_token)


async def test_no_refresh_for_the_deleted(shop: Shop) -> None:
    """An account that is gone by the time of the check gets no new tokens."""
    refresh_token = await sign_up(shop)
    shop.project.accounts.clear()
    with pytest.raises(RefreshTokenInvalid):
        await shop.accounts.refresh(refresh_token)


async def test_sign_up_and_log_in_leave_a_profile(shop: Shop) -> None:
    """Whoever signs up, or logs in with an account made elsewhere, has a profile from then on."""
    await sign_up(shop)
    assert shop.store.profiles["uid-0"] == Profile("uid-0", "maya@example.com", "Maya")
    shop.store.profiles.clear()
    await shop.accounts.log_in("maya@example.com", "password-1", HOME)
    assert shop.store.profiles["uid-0"] == Profile("uid-0", "maya@example.com", "Maya")


async def test_a_failed_log_in_leaves_nothing(shop: Shop) -> None:
    """Nobody gets a profile by a wrong password."""
    with pytest.raises(CredentialsInvalid):
        await shop.accounts.log_in("maya@example.com", "password-1", HOME)
    assert shop.store.profiles == {}


async def test_log_out_of_a_deleted_account(shop: Shop) -> None:
    """An account that was deleted has no sessions to end, and that is what was asked for."""
    await shop.accounts.log_out(shop.caller(issued_at=1_800_000_000))
    assert shop.forgotten == ["uid-0"]


@pytest.mark.parametrize("email", ["maya@example.com", "nobody@example.com", "disabled@example.com"])
async def test_a_failed_log_in_takes_the_same_time_whatever_was_wrong(shop: Shop, email: str) -> None:
    """An unknown address, a wrong password and a disabled account differ neither in the answer nor in its time."""
    await sign_up(shop)
    await shop.accounts.sign_up("disabled@example.com", "password-1", None)
    shop.project.accounts[1].disabled = True
    shop.project.takes_seconds = {"nobody@example.com": 0.05, "maya@example.com": 0.3}
    started = shop.clock()
    with pytest.raises(CredentialsInvalid):
        await shop.accounts.log_in(email, "wrong-password", HOME)
    assert shop.clock() - started == pytest.approx(FAILED_LOG_IN_SECONDS)


async def test_a_successful_log_in_does_not_wait(shop: Shop) -> None:
    """The time is for those who guess."""
    await sign_up(shop)
    started = shop.clock()
    await shop.accounts.log_in("maya@example.com", "password-1", HOME)
    assert shop.clock() == started


@pytest.mark.parametrize("email", ["maya@example.com", "nobody@example.com"])
async def test_guessing_comes_to_an_end(shop: Shop, email: str) -> None:
    """After ten failures not even the right password is tried, and an unknown address is treated alike."""
    await sign_up(shop)
    for _ in range(MAX_PER_ACCOUNT):
        with pytest.raises(CredentialsInvalid):
            await shop.accounts.log_in(email, "wrong-password", HOME)
    asked = len(shop.project.requests)
    with pytest.raises(TooManyAttempts) as caught:
        await shop.accounts.log_in(email, "password-1", HOME)
    assert caught.value.retry_after_seconds is not None
    assert 0 < caught.value.retry_after_seconds <= 900
    assert len(shop.project.requests) == asked
    shop.clock.advance(caught.value.retry_after_seconds + 1)
    with pytest.raises(CredentialsInvalid):
        await shop.accounts.log_in(email, "wrong-password", HOME)


async def test_a_success_takes_the_failures_back(shop: Shop) -> None:
    """Whoever mistypes now and then is never shut out."""
    await sign_up(shop)
    for _ in range(3):
        for _ in range(MAX_PER_ACCOUNT - 1):
            with pytest.raises(CredentialsInvalid):
                await shop.accounts.log_in("maya@example.com", "wrong-password", HOME)
        await shop.accounts.log_in("maya@example.com", "password-1", HOME)


async def test_an_outage_is_not_the_customers_failure(shop: Shop) -> None:
    """Attempts that Firebase could not judge are not counted."""
    await sign_up(shop)
    shop.project.outcome = failure("INTERNAL", 500)
    for _ in range(MAX_PER_ACCOUNT + 1):
        with pytest.raises(FirebaseUnavailable):
            await shop.accounts.log_in("maya@example.com", "password-1", HOME)
    shop.project.outcome = None
    await shop.accounts.log_in("maya@example.com", "password-1", HOME)
