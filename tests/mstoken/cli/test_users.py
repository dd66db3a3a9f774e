"""`mstoken users`."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from firebase_admin import auth, exceptions
from typing_extensions import override

from mstoken import Settings
from mstoken.admin import AdminApp
from mstoken.cli.errors import UNREACHABLE, CommandError
from mstoken.cli.user_accounts import UserAccount, UserAccounts
from mstoken.cli.users import change_role, find_user
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from tests.clock import FakeClock
from tests.mstoken.cli.conftest import Run

INES = UserAccount("uid-1", "ines@example.com", {"role": "admin", "team": "tea"}, last_sign_in=0)


class MemoryUserAccounts(UserAccounts):
    """Accounts in a list, and a record of what was done to them. `failures` are raised at the step of that name."""

    def __init__(self, *accounts: UserAccount, clock: FakeClock | None = None) -> None:
        self.accounts = {account.uid: account for account in accounts}
        self.steps: list[tuple[str, Any]] = []
        self.failures: dict[str, Exception] = {}
        self._clock = clock or FakeClock()

    @override
    def get(self, uid: str) -> UserAccount | None:
        return self.accounts.get(uid)

    @override
    def get_by_email(self, email: str) -> UserAccount | None:
        return next((account for account in self.accounts.values() if account.email == email), None)

    @override
    def set_claims(self, uid: str, claims: Mapping[str, Any]) -> None:
        self._step("claims", dict(claims))
        self.accounts[uid] = replace(self.accounts[uid], claims=claims)

    @override
    def end_sessions(self, uid: str, valid_since: int) -> None:
        assert self._clock() >= valid_since, "the Auth emulator takes the time of the call"
        self._step("sessions", valid_since)

    def _step(self, name: str, value: Any) -> None:
        if name in self.failures:
            raise self.failures[name]
        self.steps.append((name, value))


@pytest.fixture
def clock() -> FakeClock:
    """A clock that only sleeping moves."""
    return FakeClock(1_800_000_000.25)


@pytest.fixture
def accounts(clock: FakeClock) -> MemoryUserAccounts:
    """A project with an administrator."""
    return MemoryUserAccounts(INES, clock=clock)


def change(accounts: MemoryUserAccounts, role: str | None, clock: FakeClock) -> tuple[str | None, str | None, bool]:
    """Change the role of Ines, as the account is now. Return the parts of the result."""
    result = change_role(accounts, accounts.accounts["uid-1"], role, clock=clock, sleep=clock.advance)
    return result.before, result.after, result.sessions_ended


def test_a_role_is_removed_before_the_sessions_end(accounts: MemoryUserAccounts, clock: FakeClock) -> None:
    """First the claim is removed, then the sessions are revoked, with the second of the removal. Other claims stay."""
    assert change(accounts, None, clock) == ("admin", None, True)
    assert accounts.steps == [("claims", {"team": "tea"}), ("sessions", 1_800_000_001)]


def test_a_role_is_replaced(accounts: MemoryUserAccounts, clock: FakeClock) -> None:
    """A role that is replaced is removed too, so sessions are revoked."""
    assert change(accounts, "clerk", clock) == ("admin", "clerk", True)
    assert accounts.steps == [("claims", {"role": "clerk", "team": "tea"}), ("sessions", 1_800_000_001)]


@pytest.mark.parametrize("claims", [{}, {"role": ["admin"]}])
def test_a_first_role_ends_no_session(clock: FakeClock, claims: dict[str, Any]) -> None:
    """A user without a role stays logged in when a role is given. A claim that is not text is not a role."""
    accounts = MemoryUserAccounts(replace(INES, claims=claims), clock=clock)
    assert change(accounts, "admin", clock) == (None, "admin", False)
    assert accounts.steps == [("claims", {"role": "admin"})]


@pytest.mark.parametrize("role", [None, "admin"])
def test_a_change_can_be_repeated(accounts: MemoryUserAccounts, clock: FakeClock, role: str | None) -> None:
    """If only the second step failed, the same change does the rest, although the claim is right already."""
    accounts.accounts["uid-1"] = replace(INES, claims={"team": "tea"} | ({"role": role} if role else {}))
    assert change(accounts, role, clock) == (role, role, True)
    assert accounts.steps == [("sessions", 1_800_000_001)]


def test_a_log_in_by_a_clock_that_is_ahead_is_revoked_too(accounts: MemoryUserAccounts, clock: FakeClock) -> None:
    """A session whose log-in Firebase dates later than our clock is revoked as well."""
    accounts.accounts["uid-1"] = replace(INES, last_sign_in=1_800_000_003)
    change(accounts, None, clock)
    assert accounts.steps[-1] == ("sessions", 1_800_000_004)


def test_a_failure_of_the_second_step_is_reported(accounts: MemoryUserAccounts, clock: FakeClock) -> None:
    """If the sessions cannot be revoked, the command fails, and says what still counts and what to do."""
    accounts.failures["sessions"] = exceptions.UnavailableError("no answer")
    with pytest.raises(CommandError, match=r"the sessions were not revoked.* Run this command again") as caught:
        change(accounts, None, clock)
    assert caught.value.status == UNREACHABLE
    assert accounts.steps == [("claims", {"team": "tea"})]


def test_a_failure_of_the_first_step_changes_nothing(accounts: MemoryUserAccounts, clock: FakeClock) -> None:
    """If the claim cannot be changed, the sessions are left alone."""
    accounts.failures["claims"] = exceptions.UnavailableError("no answer")
    with pytest.raises(exceptions.UnavailableError):
        change(accounts, None, clock)
    assert accounts.steps == []


def test_a_defect_of_the_second_step_keeps_its_traceback(accounts: MemoryUserAccounts, clock: FakeClock) -> None:
    """An unexpected exception is not reported as a failure of Firebase."""
    accounts.failures["sessions"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        change(accounts, None, clock)


@pytest.mark.parametrize("user", ["uid-1", "ines@example.com"])
def test_a_user_is_found_by_uid_and_by_email(accounts: MemoryUserAccounts, user: str) -> None:
    """An argument with an @ is an e-mail address, any other is a uid."""
    assert find_user(accounts, user, "demo-shop") == INES


@pytest.mark.parametrize("user", ["uid-2", "maya@example.com"])
def test_an_unknown_user(accounts: MemoryUserAccounts, user: str) -> None:
    """The error names the user and the project."""
    with pytest.raises(CommandError, match=f"The project demo-shop has no user {user}"):
        find_user(accounts, user, "demo-shop")


def test_a_service_identity_has_no_role() -> None:
    """A role for a service identity is refused, because the policy says what services may do."""
    accounts = MemoryUserAccounts(UserAccount("svc:billing", None, {}, 0))
    with pytest.raises(CommandError, match="svc:billing is a service identity"):
        find_user(accounts, "svc:billing", "demo-shop")


@pytest.mark.parametrize(
    "options", [["--set", "admin", "--remove"], ["--set", ""], ["--set", "two words"], ["--set", "x" * 65]]
)
def test_wrong_options(run: Run, options: list[str]) -> None:
    """Contradicting options, and text that cannot be a role, are usage errors."""
    assert run("users", "role", "uid-1", *options, env={"GOOGLE_CLOUD_PROJECT": "demo-shop"}).exit_code == 2


def test_a_role_at_the_emulator(run: Run, auth_emulator: Settings) -> None:
    """A role is given, shown and removed. The custom claims that the user has besides stay."""
    env = {"GOOGLE_CLOUD_PROJECT": auth_emulator.project_id, AUTH_EMULATOR_VARIABLE: str(auth_emulator.emulator_host)}
    email = f"{secrets.token_hex(8)}@example.com"
    admin = AdminApp(auth_emulator)
    app = admin.get()
    uid = auth.create_user(email=email, app=app).uid
    auth.set_custom_user_claims(uid, {"team": "tea"}, app)
    project = auth_emulator.project_id

    def role(*options: str) -> str:
        result = run("users", "role", email, *options, env=env)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert role() == f"{email} ({uid}) in the project {project} has no role.\n"
    assert "has the role admin from the next log-in or refresh on." in role("--set", "admin")
    assert auth.get_user(uid, app).custom_claims == {"team": "tea", "role": "admin"}
    assert role() == f"{email} ({uid}) in the project {project} has the role admin.\n"
    began = auth.get_user(uid, app).tokens_valid_after_timestamp
    assert "has no role now. Tokens from before are refused within 10 s." in role("--remove")
    user = auth.get_user(uid, app)
    assert user.custom_claims == {"team": "tea"}
    assert user.tokens_valid_after_timestamp > began
    assert json.loads(role("--json")) == {
        "uid": uid,
        "email": email,
        "project": project,
        "role": None,
        "role_before": None,
        "sessions_ended": False,
    }
