"""A Firebase project with accounts in it, in memory."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import httpx
from pydantic import SecretStr

from mstoken import Settings, TokenVerifier
from mstoken.callee.firebase import IdentityStatus
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.testing import FakeFirebase
from services.user.attempts import Attempt
from services.user.errors import UserNotFound
from services.user.firebase import IdentityToolkit, Standing
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
    """What the User service uses of Firebase: the REST API, the sessions that administrators end, and verification.

    As the Auth emulator, it honours the refresh token of an ended session. Set `fate` to an answer or an error of
    httpx, and the REST API meets every request with that. Used as `mstoken.callee.firebase.Firebase` and as
    `services.user.firebase.Sessions`.
    """

    def __init__(self, firebase: FakeFirebase | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self.firebase = firebase or FakeFirebase(SETTINGS.project_id, clock=clock)
        self.accounts: list[Account] = []
        self.requests: list[httpx.Request] = []
        self.fate: httpx.Response | Exception | None = None
        self.takes_seconds: dict[str, float] = {}
        self._clock = clock
        self._sessions: dict[str, tuple[Account, int]] = {}

    def verifier(self) -> TokenVerifier:
        replay = MemoryReplayStore(clock=self._clock)
        return TokenVerifier("user", self.firebase.settings(), firebase=self, replay=replay, clock=self._clock)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def toolkit(self) -> IdentityToolkit:
        return IdentityToolkit(SETTINGS, self.client())

    async def open(self) -> None: ...

    async def aclose(self) -> None: ...

    def ready(self) -> str | None:
        return self.firebase.ready()

    async def verify(self, token: str, key_id: str) -> dict[str, Any]:
        return await self.firebase.verify(token, key_id)

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        found = {account.uid: account for account in self.accounts}
        others = await self.firebase.look_up([uid for uid in uids if uid not in found])
        ours = {uid: IdentityStatus(found[uid].disabled, found[uid].valid_since) for uid in uids if uid in found}
        return others | ours

    async def standing(self, uid: str) -> Standing:
        account = self._account(uid)
        return Standing(account.disabled, account.valid_since)

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
        if isinstance(self.fate, Exception):
            raise self.fate
        if self.fate is not None:
            return self.fate
        assert request.url.params["key"] == "web-api-key"
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
        """Moves a clock that a test moves, for requests about an e-mail address that takes its time."""
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


class MemoryAttempts:
    """Failed log-ins in a list: what `services.user.store.AttemptStore` keeps in a table."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    async def add(self, attempt: Attempt, *, since: int, account_limit: int, network_limit: int) -> int | None:
        self.attempts = [kept for kept in self.attempts if kept.at >= since]
        of_account = [kept.at for kept in self.attempts if kept.account == attempt.account]
        of_network = [kept.at for kept in self.attempts if kept.network == attempt.network]
        for times, limit in ((of_account, account_limit), (of_network, network_limit)):
            if len(times) >= limit:
                return sorted(times)[-limit]
        self.attempts.append(attempt)
        return None

    async def remove(self, account: str) -> None:
        self.attempts = [kept for kept in self.attempts if kept.account != account]

    async def withdraw(self, attempt: Attempt) -> None:
        self.attempts.remove(attempt)


def failure(message: str, status: int = 400) -> httpx.Response:
    """An error as Firebase's REST API answers it."""
    return httpx.Response(status, json={"error": {"code": status, "message": message}})
