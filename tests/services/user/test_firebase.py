"""services/user/firebase.py, with made-up answers and with the Auth emulator"""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator

import httpx
import pytest
from firebase_admin import auth

from mstoken import Settings, UserCaller
from mstoken.admin import AdminApp
from mstoken.errors import SettingsError
from mstoken.problem import Problem
from mstoken.settings import AUTH_EMULATOR_VARIABLE
from mstoken.strict_jwt import unverified
from services.common.breaker import FAILURES_TO_OPEN
from services.common.late_writes import LateWrites
from services.user.accounts import Accounts
from services.user.attempts import Attempts
from services.user.errors import (
    AccountRefused,
    CredentialsInvalid,
    EmailTaken,
    FirebaseUnavailable,
    RefreshTokenInvalid,
    TooManyAttempts,
    UserNotFound,
)
from services.user.firebase import AccountStatus, AdminSessions, IdentityToolkit, Session
from services.user.profiles import Profiles
from tests.mstoken.test_settings import environment
from tests.services.user.fakes import FakeProject, MemoryAttempts, MemoryProfiles, failure
from tests.silent_server import SilentServer

PASSWORD = "correct-horse-battery"
HOME = "192.0.2.1"


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("EMAIL_EXISTS", EmailTaken),
        ("EMAIL_NOT_FOUND", CredentialsInvalid),
        ("INVALID_PASSWORD", CredentialsInvalid),
        ("INVALID_LOGIN_CREDENTIALS", CredentialsInvalid),
        ("USER_DISABLED", CredentialsInvalid),
        ("INVALID_EMAIL", AccountRefused),
        ("WEAK_PASSWORD : Password should be at least 6 characters", AccountRefused),
        ("PASSWORD_DOES_NOT_MEET_REQUIREMENTS : Missing password requirements: [x]", AccountRefused),
        ("TOO_MANY_ATTEMPTS_TRY_LATER : Access has been temporarily disabled", TooManyAttempts),
        ("OPERATION_NOT_ALLOWED", FirebaseUnavailable),
        ("API key not valid. Please pass a valid API key.", FirebaseUnavailable),
    ],
)
async def test_each_error_of_firebase(message: str, error: type[Problem]) -> None:
    """Each error of Firebase becomes the error that a caller can react to."""
    project = FakeProject()
    project.outcome = failure(message)
    toolkit = project.toolkit()
    with pytest.raises(error):
        await toolkit.sign_up("maya@example.com", PASSWORD, None)
    with pytest.raises(error):
        await toolkit.log_in("maya@example.com", PASSWORD)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("TOKEN_EXPIRED", RefreshTokenInvalid),
        ("INVALID_REFRESH_TOKEN", RefreshTokenInvalid),
        ("USER_DISABLED", RefreshTokenInvalid),
        ("USER_NOT_FOUND", RefreshTokenInvalid),
        ("PROJECT_NUMBER_MISMATCH", FirebaseUnavailable),
    ],
)
async def test_each_error_of_a_refresh(message: str, error: type[Problem]) -> None:
    """An invalid refresh token is distinguished from an outage of Firebase."""
    project = FakeProject()
    project.outcome = failure(message)
    with pytest.raises(error):
        await project.toolkit().refresh("x")


@pytest.mark.parametrize(
    "outcome",
    [
        httpx.ConnectError("no route"),
        httpx.ReadTimeout("too slow"),
        httpx.Response(500, text="<html>"),
        httpx.Response(503, json={"error": "down"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={}),
        httpx.Response(200, json={"localId": "u", "refreshToken": "r", "expiresIn": "1", "idToken": "no.jwt"}),
        httpx.Response(200, json={"mfaPendingCredential": "x", "localId": "u"}),
    ],
)
async def test_an_outage_of_firebase(outcome: httpx.Response | Exception) -> None:
    """If Firebase is unavailable, or its answer is not valid, this is an outage and not a wrong password."""
    project = FakeProject()
    project.outcome = outcome
    toolkit = project.toolkit()
    for call in toolkit.log_in("a@example.com", PASSWORD), toolkit.refresh("x"):
        with pytest.raises(FirebaseUnavailable):
            await call


class SilentTransport(httpx.AsyncBaseTransport):
    """A network on which no request is ever answered."""

    requests = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


async def test_log_ins_do_not_all_wait_for_a_silent_firebase() -> None:
    """After five that got no answer in time, log-ins are refused at once, to leave room for other requests."""
    network = SilentTransport()
    settings = Settings(project_id="demo-silent", emulator_host="127.0.0.1:9")
    async with IdentityToolkit(settings, transport=network, answer_seconds=0.01) as toolkit:
        for _ in range(50):
            with pytest.raises(FirebaseUnavailable):
                await toolkit.log_in("maya@example.com", PASSWORD)
    assert network.requests == FAILURES_TO_OPEN


async def test_refreshes_do_not_all_wait_for_a_silent_firebase() -> None:
    """The status of an account, which firebase-admin looks up in a thread, is waited for in the same way."""
    with SilentServer() as server, environment(FIREBASE_AUTH_EMULATOR_HOST=f"127.0.0.1:{server.port}"):
        sessions = AdminSessions(Settings(project_id="demo-silent"), answer_seconds=0.01)
        for _ in range(50):
            with pytest.raises(FirebaseUnavailable):
                await sessions.status("maya")
        assert server.connections <= FAILURES_TO_OPEN


def test_production_needs_an_api_key() -> None:
    """Without an API key, the service does not start in a production project."""
    with pytest.raises(SettingsError, match="MSTOKEN_API_KEY"):
        IdentityToolkit(Settings(project_id="shop-prod"))


def _caller(session: Session) -> UserCaller:
    claims = unverified(session.id_token).payload
    return UserCaller.from_claims(claims)


def _alive(session: Session, standing: AccountStatus) -> bool:
    return session.auth_time >= standing.valid_since


@pytest.fixture
async def toolkit(auth_emulator: Settings) -> AsyncIterator[IdentityToolkit]:
    """The REST API of the Auth emulator."""
    async with IdentityToolkit(auth_emulator) as toolkit:
        yield toolkit


@pytest.fixture
def sessions(auth_emulator: Settings) -> AdminSessions:
    """The sessions of the Auth emulator."""
    return AdminSessions(auth_emulator)


@pytest.fixture
def email() -> str:
    """An e-mail address without an account."""
    return f"{secrets.token_hex(8)}@example.com"


async def test_the_emulator_signs_up_and_logs_in(toolkit: IdentityToolkit, email: str) -> None:
    """An account can be created, logged in to and refreshed. Its ID tokens have its name."""
    made = await toolkit.sign_up(email, PASSWORD, "Maya")
    again = await toolkit.log_in(email, PASSWORD)
    assert (again.uid, again.display_name, again.expires_in) == (made.uid, "Maya", 3600)
    refreshed = await toolkit.refresh(again.refresh_token)
    assert refreshed.uid == made.uid
    assert unverified(refreshed.id_token).payload["name"] == "Maya"
    assert abs(refreshed.auth_time - time.time()) < 10


async def test_the_emulator_refuses(toolkit: IdentityToolkit, email: str) -> None:
    """The errors of the emulator about accounts and tokens are those of production."""
    await toolkit.sign_up(email, PASSWORD, None)
    with pytest.raises(EmailTaken):
        await toolkit.sign_up(email, PASSWORD, None)
    with pytest.raises(AccountRefused):
        await toolkit.sign_up(f"x{email}", "short", None)
    with pytest.raises(CredentialsInvalid):
        await toolkit.log_in(email, "wrong-password")
    with pytest.raises(CredentialsInvalid):
        await toolkit.log_in(f"x{email}", PASSWORD)
    with pytest.raises(RefreshTokenInvalid):
        await toolkit.refresh("made-up")


async def test_the_emulators_disabled_account(
    toolkit: IdentityToolkit, sessions: AdminSessions, auth_emulator: Settings, email: str
) -> None:
    """A disabled account can neither log in nor refresh. The answer is that of a wrong password."""
    session = await toolkit.sign_up(email, PASSWORD, None)
    admin = AdminApp(auth_emulator)
    auth.update_user(session.uid, disabled=True, app=admin.get())
    assert (await sessions.status(session.uid)).disabled
    with pytest.raises(CredentialsInvalid):
        await toolkit.log_in(email, PASSWORD)
    with pytest.raises(RefreshTokenInvalid):
        await toolkit.refresh(session.refresh_token)


async def test_the_emulators_sessions_end(
    toolkit: IdentityToolkit, sessions: AdminSessions, auth_emulator: Settings, email: str
) -> None:
    """After a log-out neither token of the session is valid, and a log-in right after it is."""
    store = MemoryProfiles()
    accounts = Accounts(
        toolkit, sessions, Profiles(store), Attempts(MemoryAttempts(), LateWrites()), forget=lambda _uid: None
    )
    session = await accounts.sign_up(email, PASSWORD, None, HOME)
    caller = _caller(session)
    await accounts.log_out(caller)
    assert not _alive(session, await sessions.status(session.uid))
    with pytest.raises(RefreshTokenInvalid):
        await accounts.refresh(session.refresh_token, HOME)
    again = await accounts.log_in(email, PASSWORD, HOME)
    assert _alive(again, await sessions.status(again.uid))
    assert (await accounts.refresh(again.refresh_token, HOME)).uid == session.uid


async def test_firebase_cannot_be_reached(toolkit: IdentityToolkit) -> None:
    """A Firebase that firebase-admin cannot reach is an outage."""
    settings = Settings(project_id="demo-gone", emulator_host="127.0.0.1:9")
    before = os.environ[AUTH_EMULATOR_VARIABLE]
    os.environ[AUTH_EMULATOR_VARIABLE] = "127.0.0.1:9"
    try:
        with pytest.raises(FirebaseUnavailable):
            await AdminSessions(settings).status("maya")
    finally:
        os.environ[AUTH_EMULATOR_VARIABLE] = before


async def test_the_sessions_of_an_unknown_account(sessions: AdminSessions) -> None:
    """An unknown account has no sessions."""
    with pytest.raises(UserNotFound):
        await sessions.status("nobody")
    with pytest.raises(UserNotFound):
        await sessions.end("nobody", 1)
