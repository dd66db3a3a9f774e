"""services/user/accounts.py"""

import pytest

from mstoken import UserCaller
from services.common.late_writes import LateWrites
from services.user.accounts import FAILED_LOG_IN_SECONDS, Accounts
from services.user.attempts import LOG_INS_PER_ACCOUNT, LOG_INS_PER_ACCOUNT_AND_NETWORK, REFRESHES_PER_SESSION, Attempts
from services.user.errors import (
    AccountRefused,
    CredentialsInvalid,
    EmailTaken,
    FirebaseUnavailable,
    RefreshTokenInvalid,
    TooManyAttempts,
)
from services.user.profiles import Profile, Profiles
from tests.clock import FakeClock
from tests.services.user.fakes import FakeProject, MemoryAttempts, MemoryProfiles, failure

HOME = "192.0.2.1"
ELSEWHERE = "198.51.100.1"


class AccountScenario:
    """Accounts in a fake Firebase project, with a clock that only sleeping moves."""

    def __init__(self, now: float = 1_800_000_000.25) -> None:
        self.clock = FakeClock(now)
        self.project = FakeProject(clock=self.clock)
        self.store = MemoryProfiles()
        self.attempts = MemoryAttempts()
        self.forgotten: list[str] = []
        self.accounts = Accounts(
            self.project.toolkit(),
            self.project,
            Profiles(self.store),
            Attempts(self.attempts, LateWrites(), clock=self.clock),
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
    return (await scenario.accounts.sign_up("maya@example.com", "kettle-harbour-1", "Maya", HOME)).refresh_token


async def test_log_out_covers_the_second_it_happens_in(scenario: AccountScenario) -> None:
    """A token that was issued in the same second as the log-out is revoked too: Firebase counts in whole seconds."""
    await sign_up(scenario)
    await scenario.accounts.log_out(scenario.caller(issued_at=1_800_000_000))
    assert scenario.project.accounts[0].valid_since == 1_800_000_001


async def test_log_out_ends_when_a_new_log_in_will_count(scenario: AccountScenario) -> None:
    """A log-in after the answer to the log-out is not covered by the revocation."""
    await sign_up(scenario)
    await scenario.accounts.log_out(scenario.caller(issued_at=1_800_000_000))
    session = await scenario.accounts.log_in("maya@example.com", "kettle-harbour-1", HOME)
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
        Attempts(scenario.attempts, LateWrites()),
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
    session = await scenario.accounts.refresh(refresh_token, HOME)
    assert (session.uid, session.auth_time) == ("uid-0", 1_800_000_000)


async def test_no_refresh_after_log_out(scenario: AccountScenario) -> None:
    """The refresh token of an ended session is refused, although the emulator would accept it."""
    refresh_token = await sign_up(scenario)
    await scenario.accounts.log_out(scenario.caller(issued_at=1_800_000_000))
    with pytest.raises(RefreshTokenInvalid):
        await scenario.accounts.refresh(refresh_token, HOME)


async def test_no_refresh_for_a_disabled_account(scenario: AccountScenario) -> None:
    """A disabled account gets no new tokens."""
    refresh_token = await sign_up(scenario)
    scenario.project.accounts[0].disabled = True
    with pytest.raises(RefreshTokenInvalid):
        await scenario.accounts.refresh(refresh_token, HOME)


async def test_no_refresh_for_a_deleted_account(scenario: AccountScenario) -> None:
    """A deleted account gets no new tokens."""
    refresh_token = await sign_up(scenario)
    scenario.project.accounts.clear()
    with pytest.raises(RefreshTokenInvalid):
        await scenario.accounts.refresh(refresh_token, HOME)


async def test_sign_up_and_log_in_make_a_profile(scenario: AccountScenario) -> None:
    """A user who signs up, or logs in with an account that was made elsewhere, has a profile."""
    await sign_up(scenario)
    assert scenario.store.profiles["uid-0"] == Profile("uid-0", "maya@example.com", "Maya")
    scenario.store.profiles.clear()
    await scenario.accounts.log_in("maya@example.com", "kettle-harbour-1", HOME)
    assert scenario.store.profiles["uid-0"] == Profile("uid-0", "maya@example.com", "Maya")


async def test_a_failed_log_in_makes_no_profile(scenario: AccountScenario) -> None:
    """A log-in with a wrong password does not make a profile."""
    with pytest.raises(CredentialsInvalid):
        await scenario.accounts.log_in("maya@example.com", "kettle-harbour-1", HOME)
    assert scenario.store.profiles == {}


async def test_log_out_of_a_deleted_account(scenario: AccountScenario) -> None:
    """The log-out of an account that was deleted succeeds."""
    await scenario.accounts.log_out(scenario.caller(issued_at=1_800_000_000))
    assert scenario.forgotten == ["uid-0"]


@pytest.mark.parametrize("email", ["maya@example.com", "nobody@example.com", "disabled@example.com"])
async def test_a_failed_log_in_takes_the_same_time_whatever_was_wrong(scenario: AccountScenario, email: str) -> None:
    """An unknown address, a wrong password and a disabled account do not differ in the time of the answer."""
    await sign_up(scenario)
    await scenario.accounts.sign_up("disabled@example.com", "kettle-harbour-1", None, HOME)
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
    await scenario.accounts.log_in("maya@example.com", "kettle-harbour-1", HOME)
    assert scenario.clock() == started


async def fail_to_log_in(scenario: AccountScenario, email: str, network: str, times: int) -> None:
    """Try wrong passwords, each as soon as that is allowed."""
    for _ in range(times):
        try:
            await scenario.accounts.log_in(email, "wrong-password", network)
        except TooManyAttempts as error:
            scenario.clock.advance(error.retry_after_seconds or 0)
        except CredentialsInvalid:
            pass


@pytest.mark.parametrize("email", ["maya@example.com", "nobody@example.com"])
async def test_guesses_are_limited(scenario: AccountScenario, email: str) -> None:
    """After ten failures even the right password is not checked for a while, whether the account exists or not."""
    await sign_up(scenario)
    await fail_to_log_in(scenario, email, ELSEWHERE, LOG_INS_PER_ACCOUNT_AND_NETWORK.free)
    asked = len(scenario.project.requests)
    with pytest.raises(TooManyAttempts) as caught:
        await scenario.accounts.log_in(email, "kettle-harbour-1", ELSEWHERE)
    assert caught.value.retry_after_seconds is not None
    assert 0 < caught.value.retry_after_seconds <= 30
    assert len(scenario.project.requests) == asked
    scenario.clock.advance(caught.value.retry_after_seconds)
    with pytest.raises(CredentialsInvalid):
        await scenario.accounts.log_in(email, "wrong-password", ELSEWHERE)


async def test_a_stranger_does_not_keep_the_owner_out(scenario: AccountScenario) -> None:
    """However often a stranger fails, from however many networks, the owner logs in at home at once."""
    await sign_up(scenario)
    for number in range(30):
        await fail_to_log_in(scenario, "maya@example.com", f"203.0.113.{number}", 20)
    await scenario.accounts.log_in("maya@example.com", "kettle-harbour-1", HOME)


async def test_a_stranger_does_not_keep_the_owner_out_elsewhere(scenario: AccountScenario) -> None:
    """While a stranger tries passwords from one network, the owner logs in from a network that is new."""
    await sign_up(scenario)
    await fail_to_log_in(scenario, "maya@example.com", "203.0.113.1", 60)
    await scenario.accounts.log_in("maya@example.com", "kettle-harbour-1", ELSEWHERE)


async def test_all_strangers_together_are_slowed_down(scenario: AccountScenario) -> None:
    """A stranger with many networks gets a hundred guesses at once, and then about one an hour."""
    await sign_up(scenario)
    guesses = 0
    started = scenario.clock()
    for number in range(400):
        try:
            await scenario.accounts.log_in("maya@example.com", "wrong-password", f"203.0.113.{number}")
        except TooManyAttempts as error:
            scenario.clock.advance(error.retry_after_seconds or 0)
        except CredentialsInvalid:
            guesses += 1
        if scenario.clock() - started > 23 * 3600:
            break
    assert LOG_INS_PER_ACCOUNT.free < guesses < LOG_INS_PER_ACCOUNT.free + 40


async def test_a_success_resets_the_failures(scenario: AccountScenario) -> None:
    """A user who mistypes the password now and then does not have to wait."""
    await sign_up(scenario)
    for _ in range(3):
        for _ in range(LOG_INS_PER_ACCOUNT_AND_NETWORK.free - 1):
            with pytest.raises(CredentialsInvalid):
                await scenario.accounts.log_in("maya@example.com", "wrong-password", HOME)
        await scenario.accounts.log_in("maya@example.com", "kettle-harbour-1", HOME)


@pytest.mark.parametrize("message", ["INTERNAL", "TOO_MANY_ATTEMPTS_TRY_LATER"])
async def test_an_outage_does_not_count_as_a_failure(scenario: AccountScenario, message: str) -> None:
    """Attempts that Firebase does not decide about are not counted: log-ins, sign-ups and refreshes."""
    refresh_token = await sign_up(scenario)
    counted = list(scenario.attempts.rows)
    scenario.project.outcome = failure(message, 500)
    for _ in range(LOG_INS_PER_ACCOUNT_AND_NETWORK.free + 1):
        with pytest.raises((FirebaseUnavailable, TooManyAttempts)):
            await scenario.accounts.log_in("maya@example.com", "kettle-harbour-1", HOME)
        with pytest.raises(FirebaseUnavailable):
            await scenario.accounts.refresh(refresh_token, HOME)
    assert scenario.attempts.rows == counted
    scenario.project.outcome = None
    await scenario.accounts.log_in("maya@example.com", "kettle-harbour-1", HOME)


async def test_a_sign_up_is_no_faster_way_to_find_accounts(scenario: AccountScenario) -> None:
    """A sign-up with a taken address takes as long as a failed log-in, and counts as one."""
    await sign_up(scenario)
    started = scenario.clock()
    with pytest.raises(EmailTaken):
        await scenario.accounts.sign_up("maya@example.com", "kettle-harbour-2", None, ELSEWHERE)
    assert scenario.clock() - started == pytest.approx(FAILED_LOG_IN_SECONDS)
    await fail_to_log_in(scenario, "maya@example.com", ELSEWHERE, LOG_INS_PER_ACCOUNT_AND_NETWORK.free - 1)
    with pytest.raises(TooManyAttempts):
        await scenario.accounts.sign_up("maya@example.com", "kettle-harbour-2", None, ELSEWHERE)


async def test_a_refused_sign_up_takes_the_same_time(scenario: AccountScenario) -> None:
    """An account that Firebase refuses for its password does not differ in time from one that is taken."""
    scenario.project.outcome = failure("WEAK_PASSWORD : longer")
    started = scenario.clock()
    with pytest.raises(AccountRefused):
        await scenario.accounts.sign_up("maya@example.com", "kettle-harbour-1", None, HOME)
    assert scenario.clock() - started == pytest.approx(FAILED_LOG_IN_SECONDS)


async def test_refreshes_of_a_session_are_limited(scenario: AccountScenario) -> None:
    """After ten refreshes in five minutes a session has to wait, before Firebase is asked. Other sessions do not."""
    refresh_token = await sign_up(scenario)
    for _ in range(REFRESHES_PER_SESSION.free):
        await scenario.accounts.refresh(refresh_token, HOME)
    asked = len(scenario.project.requests)
    with pytest.raises(TooManyAttempts) as caught:
        await scenario.accounts.refresh(refresh_token, HOME)
    assert caught.value.retry_after_seconds == REFRESHES_PER_SESSION.first_pause_seconds
    assert len(scenario.project.requests) == asked
    other = await scenario.accounts.log_in("maya@example.com", "kettle-harbour-1", HOME)
    await scenario.accounts.refresh(other.refresh_token, HOME)
