"""A Firebase project, profiles and attempts, in memory."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import httpx
from pydantic import SecretStr
from typing_extensions import override

from mstoken import Settings, TokenVerifier
from mstoken.callee.firebase import IdentityStatus
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.strict_jwt import Unverified
from mstoken.testing import FakeFirebase
from services.user.attempts import CLOCK_DIFFERENCE_SECONDS, Attempt, Limit
from services.user.errors import UserNotFound
from services.user.firebase import AccountStatus, IdentityToolkit
from services.user.profiles import Profile
from services.user.store import AttemptStore, ProfileStore
from tests.clock import FakeClock

SETTINGS = Settings(project_id="demo-test", emulator_host=None, api_key=SecretStr("web-api-key"))


@dataclass
class Account:
    uid: str
    email: str
    password: str
    display_name: str | None
    disabled: bool = False
    valid_since: int = 0


class FakeProject:
    """The parts of Firebase that the User service uses: the REST API, the sessions, and the verification of tokens.

    Like the Auth emulator, it accepts the refresh token of an ended session. If `outcome` is set, to an answer or an
    error of httpx, every request to the REST API has this outcome. `takes_seconds` moves a `FakeClock` during requests
    about an e-mail address. It implements `mstoken.callee.firebase.Firebase` and `services.user.firebase.Sessions`.
    """

    def __init__(self, firebase: FakeFirebase | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.firebase = firebase or FakeFirebase(SETTINGS.project_id, clock=clock)
        self.accounts: list[Account] = []
        self.requests: list[httpx.Request] = []
        self.outcome: httpx.Response | Exception | None = None
        self.takes_seconds: dict[str, float] = {}
        self._clock = clock
        self._sessions: dict[str, tuple[Account, int]] = {}

    def verifier(self) -> TokenVerifier:
        replay = MemoryReplayStore(clock=self._clock)
        return TokenVerifier("user", self.firebase.settings(), firebase=self, replay=replay, clock=self._clock)

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def toolkit(self) -> IdentityToolkit:
        return IdentityToolkit(SETTINGS, transport=self.transport())

    async def open(self) -> None: ...

    async def aclose(self) -> None: ...

    def ready(self) -> str | None:
        return self.firebase.ready()

    async def verify(self, jwt: Unverified, key_id: str) -> dict[str, Any]:
        return await self.firebase.verify(jwt, key_id)

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        found = {account.uid: account for account in self.accounts}
        others = await self.firebase.look_up([uid for uid in uids if uid not in found])
        ours = {uid: IdentityStatus(found[uid].disabled, found[uid].valid_since) for uid in uids if uid in found}
        return others | ours

    async def status(self, uid: str) -> AccountStatus:
        account = self._account(uid)
        return AccountStatus(account.disabled, account.valid_since)

    async def end(self, uid: str, valid_since: int) -> None:
        self._account(uid).valid_since = valid_since

    def _account(self, uid: str) -> Account:
        for account in self.accounts:
            if account.uid == uid:
                return account
        raise UserNotFound

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self._take_time(request)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome is not None:
            return self.outcome
        assert request.headers["x-goog-api-key"] == "web-api-key"
        assert not request.url.query
        if request.url.path == "/v1/token":
            form = parse_qs(request.content.decode())
            assert form["grant_type"] == ["refresh_token"]
            return self._refreshed(form["refresh_token"][0])
        body = json.loads(request.content)
        if request.url.path == "/v1/accounts:signUp":
            return self._signed_up(body)
        assert request.url.path == "/v1/accounts:signInWithPassword"
        return self._logged_in(body)

    def _take_time(self, request: httpx.Request) -> None:
        """Move the clock by the time that a request about this e-mail address takes."""
        for email, seconds in self.takes_seconds.items():
            if email.encode() in request.content and isinstance(self._clock, FakeClock):
                self._clock.advance(seconds)

    def _signed_up(self, body: dict[str, Any]) -> httpx.Response:
        if any(account.email == body["email"] for account in self.accounts):
            return failure("EMAIL_EXISTS")
        uid = f"uid-{len(self.accounts)}"
        account = Account(uid, body["email"], body["password"], body.get("displayName"))
        self.accounts.append(account)
        return httpx.Response(200, json=self._session(account))

    def _logged_in(self, body: dict[str, Any]) -> httpx.Response:
        for account in self.accounts:
            if account.email == body["email"]:
                if account.disabled:
                    return failure("USER_DISABLED")
                if account.password != body["password"]:
                    return failure("INVALID_PASSWORD")
                return httpx.Response(200, json=self._session(account))
        return failure("EMAIL_NOT_FOUND")

    def _session(self, account: Account) -> dict[str, Any]:
        refresh_token = f"refresh-{len(self._sessions)}"
        auth_time = int(self._clock())
        self._sessions[refresh_token] = (account, auth_time)
        return {
            "localId": account.uid,
            "idToken": self._id_token(account, auth_time),
            "refreshToken": refresh_token,
            "expiresIn": "3600",
        }

    def _refreshed(self, refresh_token: str) -> httpx.Response:
        if refresh_token not in self._sessions:
            return failure("INVALID_REFRESH_TOKEN")
        account, auth_time = self._sessions[refresh_token]
        token = self._id_token(account, auth_time)
        return httpx.Response(
            200,
            json={
                "user_id": account.uid,
                "id_token": token,
                "access_token": token,
                "refresh_token": refresh_token,
                "expires_in": "3600",
                "token_type": "Bearer",
            },
        )

    def _id_token(self, account: Account, auth_time: int) -> str:
        names: dict[str, Any] = {"name": account.display_name} if account.display_name else {}
        return self.firebase.issue(account.uid, provider="password", auth_time=auth_time, email=account.email, **names)


class MemoryProfiles(ProfileStore):
    """Profiles in a dict."""

    def __init__(self) -> None:
        self.profiles: dict[str, Profile] = {}

    @override
    async def get(self, uid: str) -> Profile | None:
        return self.profiles.get(uid)

    @override
    async def add(self, profile: Profile) -> None:
        self.profiles.setdefault(profile.uid, profile)

    @override
    async def change(self, uid: str, changes: Mapping[str, Any]) -> None:
        raise NotImplementedError


class MemoryAttempts(AttemptStore):
    """Attempts in a list, and the networks that accounts know in a dict."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, int, int]] = []
        """Id, subject, time and end of each row."""
        self.networks: dict[tuple[str, str], int] = {}

    @override
    async def add(self, attempt: Attempt, limits: Mapping[str, Limit]) -> int:
        self.rows = [row for row in self.rows if row[3] > attempt.at]
        wait_seconds = 0
        for subject, limit in limits.items():
            times = [row[2] for row in self.rows if row[1] == subject and row[2] > attempt.at - limit.window_seconds]
            past = (time for time in times if time <= attempt.at + CLOCK_DIFFERENCE_SECONDS)
            wait_seconds = max(wait_seconds, limit.wait_seconds(len(times), max(past, default=0), attempt.at))
        if wait_seconds == 0:
            rows = [
                (attempt.id, subject, attempt.at, attempt.at + limits[subject].window_seconds) for subject in limits
            ]
            self.rows.extend(rows)
        return wait_seconds

    @override
    async def remove(self, attempt: Attempt) -> bool:
        before = len(self.rows)
        self.rows = [row for row in self.rows if row[0] != attempt.id]
        return len(self.rows) < before

    @override
    async def knows_network(self, account: str, network: str, *, since: int) -> bool:
        return self.networks.get((account, network), -1) >= since

    @override
    async def log_in_succeeded(self, attempt: Attempt, *, keep_networks: int, since: int) -> None:
        ids = {row[0] for row in self.rows if row[1] == attempt.subject}
        self.rows = [row for row in self.rows if row[0] not in ids]
        self.networks[attempt.account, attempt.subject] = attempt.at
        own = sorted((key for key in self.networks if key[0] == attempt.account), key=self.networks.__getitem__)
        for key in own[:-keep_networks]:
            del self.networks[key]
        for key in own:
            if self.networks.get(key, since) < since:
                del self.networks[key]


def failure(message: str, status: int = 400) -> httpx.Response:
    """Return an error answer of Firebase's REST API."""
    return httpx.Response(status, json={"error": {"code": status, "message": message}})
