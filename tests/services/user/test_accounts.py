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


class AccountScenario:
    """Accounts in a fake Firebase project, with a clock that only sleeping moves."""

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
def scenario() -> AccountScenario:
    """Accounts, at the beginning none."""
    return AccountScenario()


async def sign_up(scenario: AccountScenario) -> str:
    return (await scenario.accounts.sign_up("maya@example.com", "password-1", "Maya")).refresh_token


async def test_log_out_covers_the_second_it_happens_in(scenario: AccountScenario) -> None:
    """A token that was issued in the same second as the log-out is revoked too: Firebase counts in whole seconds."""
    await sign_up(scenario)
    await scenario.accounts.log_out(scenario.caller(issued_at=1_800_000_000))
    assert scenario.project.accounts[0].valid_since == 1_800_000_001


async def test_log_out_ends_when_a_new_log_in_will_count(scenario: AccountScenario) -> None:
    """A log-in after the answer to the log-out is not covered by the revocation."""
    await sign_up(scenario)
    await scenario.accounts.log_out(scenario.caller(issued_at=1_800_000_000))
    session = await scenario.accounts.log_in("maya@example.com", "password-1", HOME)
    assert session.auth_time >= scenario.project.accounts[0].valid_since
    assert scenario.clock() == 1_800_000_001


async def test_log_out_with_a_token_from_a_faster_clock(scenario: AccountScenario) -> None:
    """A token that is dated a little ahead of our clock is revoked too."""
    await sign_up(scenario)
    await scenario.accounts.log_out(scenario.caller(issued_at=1_800_000_003))
    assert scenario.project.accounts[0].valid_since == 1_800_000_004
    assert scenario.clock() >= 1_800_000_004


async def test_log_out_with_an_old_token(scenario: AccountScenario) -> None:
    """However old the caller's token is, the sessions up to now end."""
    await sign_up(scenario)
    await scenario.accounts.log_out(scenario.caller(issued_at=1_799_999_000))
    assert scenario.project.accounts[0].valid_since == 1_800_000_001


async def test_log_out_takes_effect_at_once_in_this_process(scenario: AccountScenario) -> None:
    """After the revocation this process forgets what it knew about the user's tokens."""
    await sign_up(scenario)
    await scenario.accounts.log_out(scenario.caller(issued_at=1_800_000_000))
    assert scenario.forgotten == ["uid-0"]


async def test_a_sleep_that_ends_too_early() -> None:
    """The log-out waits until the next second has begun, even if a sleep ends too early."""
    scenario = AccountScenario()

    async def light_sleep(seconds: float) -> None:
        scenario.clock.advance(max(seconds / 2, 0.01))

    await sign_up(scenario)
    profiles = Profiles(scenario.store)
    toolkit = scenario.project.toolkit()
    accounts = Accounts(
        toolkit,
        scenario.project,
        profiles,
        LoginAttempts(scenario.attempts),
        forget=scenario.forgotten.append,
        clock=scenario.clock,
        sleep=light_sleep,
    )
    await accounts.log_out(scenario.caller(issued_at=1_800_000_000))
    assert scenario.clock() >= 1_800_000_001


async def test_refresh(scenario: AccountScenario) -> None:
    """A session's refresh token gets a new ID token for the same log-in."""
    refresh_token = await sign_up(scenario)
    scenario.clock.advance(100)
    session = await scenario.accounts.refresh(refresh_token)
    assert (session.uid, session.auth_time) == ("uid-0", 1_800_000_000)


async def test_no_refresh_after_log_out(scenario: AccountScenario) -> None:
    """The refresh token of an ended session is refused, although the emulator would accept it."""
    refresh_token = await sign_up(scenario)
    await scenario.accounts.log_out(scenario.caller(issued_at=1_800_000_000))
    with pytest.raises(RefreshTokenInvalid):
        await scenario.accounts.refresh(refresh_token)


async def test_no_refresh_for_a_disabled_account(scenario: AccountScenario) -> None:
    """A disabled account gets no new tokens."""
    refresh_token = await sign_up(scenario)
    scenario.project.accounts[0].disabled = True
    with pytest.raises(RefreshTokenInvalid):
        await scenario.accounts.refresh(refresh_token)


async def test_no_refresh_for_a_deleted_account(scenario: AccountScenario) -> None:
    """A deleted account gets no new tokens."""
    refresh_token = await sign_up(scenario)
    scenario.project.accounts.clear()
    with pytest.raises(RefreshTokenInvalid):
        await scenario.accounts.refresh(refresh_token)


async def test_sign_up_and_log_in_make_a_profile(scenario: AccountScenario) -> None:
    """A user who signs up, or logs in with an account that was made elsewhere, has a profile."""
    await sign_up(scenario)
    assert scenario.store.profiles["uid-0"] == Profile("uid-0", "maya@example.com", "Maya")
    scenario.store.profiles.clear()
    await scenario.accounts.log_in("maya@example.com", "password-1", HOME)
    assert scenario.store.profiles["uid-0"] == Profile("uid-0", "maya@example.com", "Maya")


async def test_a_failed_log_in_makes_no_profile(scenario: AccountScenario) -> None:
    """A log-in with a wrong password does not make a profile."""
    with pytest.raises(CredentialsInvalid):
        await scenario.accounts.log_in("maya@example.com", "password-1", HOME)
    assert scenario.store.profiles == {}


async def test_log_out_of_a_deleted_account(scenario: AccountScenario) -> None:
    """The log-out of an account that was deleted succeeds."""
    await scenario.accounts.log_out(scenario.caller(issued_at=1_800_000_000))
    assert scenario.forgotten == ["uid-0"]


@pytest.mark.parametrize("email", ["maya@example.com", "nobody@example.com", "disabled@example.com"])
async def test_a_failed_log_in_takes_the_same_time_whatever_was_wrong(scenario: AccountScenario, email: str) -> None:
    """An unknown address, a wrong password and a disabled account do not differ in the time of the answer."""
    await sign_up(scenario)
    await scenario.accounts.sign_up("disabled@example.com", "password-1", None)
    scenario.project.accounts[1].disabled = True
    scenario.project.takes_seconds = {"nobody@example.com": 0.05, "maya@example.com": 0.3}
    started = scenario.clock()
    with pytest.raises(CredentialsInvalid):
        await scenario.accounts.log_in(email, "wrong-password", HOME)
    assert scenario.clock() - started == pytest.approx(FAILED_LOG_IN_SECONDS)


async def test_a_successful_log_in_does_not_wait(scenario: AccountScenario) -> None:
    """Only a failed log-in waits."""
    await sign_up(scenario)
    started = scenario.clock()
    await scenario.accounts.log_in("maya@example.com", "password-1", HOME)
    assert scenario.clock() == started


@pytest.mark.parametrize("email", ["maya@example.com", "nobody@example.com"])
async def test_guesses_are_limited(scenario: AccountScenario, email: str) -> None:
    """After ten failures even the right password is not checked. An unknown address is treated in the same way."""
    await sign_up(scenario)
    for _ in range(MAX_PER_ACCOUNT):
        with pytest.raises(CredentialsInvalid):
            await scenario.accounts.log_in(email, "wrong-password", HOME)
    asked = len(scenario.project.requests)
    with pytest.raises(TooManyAttempts) as caught:
        await scenario.accounts.log_in(email, "password-1", HOME)
    assert caught.value.retry_after_seconds is not None
    assert 0 < caught.value.retry_after_seconds <= 900
    assert len(scenario.project.requests) == asked
    scenario.clock.advance(caught.value.retry_after_seconds + 1)
    with pytest.raises(CredentialsInvalid):
        await scenario.accounts.log_in(email, "wrong-password", HOME)


async def test_a_success_resets_the_failures(scenario: AccountScenario) -> None:
    """A user who mistypes the password now and then does not have to wait."""
    await sign_up(scenario)
    for _ in range(3):
        for _ in range(MAX_PER_ACCOUNT - 1):
            with pytest.raises(CredentialsInvalid):
                await scenario.accounts.log_in("maya@example.com", "wrong-password", HOME)
        await scenario.accounts.log_in("maya@example.com", "password-1", HOME)


async def test_an_outage_does_not_count_as_a_failure(scenario: AccountScenario) -> None:
    """Attempts during an outage of Firebase are not counted."""
    await sign_up(scenario)
    scenario.project.outcome = failure("INTERNAL", 500)
    for _ in range(MAX_PER_ACCOUNT + 1):
        with pytest.raises(FirebaseUnavailable):
            await scenario.accounts.log_in("maya@example.com", "password-1", HOME)
    scenario.project.outcome = None
    await scenario.accounts.log_in("maya@example.com", "password-1", HOME)
