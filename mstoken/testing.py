"""Firebase for tests, in memory: for the tests of services that use mstoken, and for our own.

firebase = FakeFirebase()
protect(app, firebase.verifier("product"))
client.get("/products", headers=firebase.service_headers("billing", to="product"))
"""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
from pydantic import SecretStr

from mstoken.callee.firebase import IdentityStatus
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.replay.store import ReplayStore
from mstoken.callee.verifier import TokenVerifier
from mstoken.caller.auth import ServiceAuth
from mstoken.caller.identity import ServiceIdentity
from mstoken.claims import ServiceClaims, service_uid
from mstoken.errors import TokenUntrusted, VerifierUnavailable
from mstoken.proof import ProofKey
from mstoken.settings import Settings
from mstoken.strict_jwt import base64url, base64url_decode
from mstoken.wire import SERVICE_TOKEN_HEADER, Mode

TOKEN_LIFETIME_SECONDS = 3600


class FakeFirebase:
    """A Firebase project in memory. Its tokens are signed with a secret that only this instance knows, so that what
    it did not issue does not pass; it checks no times, as the emulator does not.

    While `down` is set it signs nobody in and looks nobody up; tokens are still verified, as with certificates in
    memory. `sign_ins` and `look_ups` count what it was asked. `settings` are those of all its verifiers and identities,
    by field name, such as `mode="proof", base_url="http://product"`.
    """

    def __init__(
        self, project_id: str = "demo-test", *, clock: Callable[[], float] = time.time, **settings: Any
    ) -> None:
        self.project_id = project_id
        self._settings = settings
        self.down = False
        self.sign_ins = 0
        self.look_ups = 0
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._identities: dict[str, IdentityStatus] = {}

    def settings(self, **settings: Any) -> Settings:
        """Settings of this project, and further ones by field name."""
        ours = {"project_id": self.project_id, "emulator_host": None, "api_key": SecretStr("fake")}
        return Settings(**(ours | self._settings | settings))

    def verifier(self, audience: str, *, replay: ReplayStore | None = None, **settings: Any) -> TokenVerifier:
        """A verifier for the service `audience` that asks this Firebase; spent ids are kept in memory."""
        replay = replay or MemoryReplayStore(clock=self._clock)
        return TokenVerifier(audience, self.settings(**settings), firebase=self, replay=replay, clock=self._clock)

    def identity(self, service: str, **settings: Any) -> ServiceIdentity:
        """The identity of `service`, which signs in here."""
        transport = httpx.MockTransport(self._answer)
        return ServiceIdentity(
            service, self.settings(**settings), minter=_FakeMinter(self), transport=transport, clock=self._clock
        )

    def service_auth(self, service: str, *, to: str, mode: Mode | None = None) -> ServiceAuth:
        """What `identity(service).to(to, mode)` puts on requests, without sign-ins and with nothing to close."""
        return ServiceAuth(_FakeTokens(self, service, self._clock), to, mode or self.settings().mode)

    def user_headers(
        self, uid: str, *, role: str | None = None, email: str | None = None, name: str | None = None
    ) -> dict[str, str]:
        """The header of a user who has just logged in."""
        told = {"role": role, "email": email, "name": name}
        claims: dict[str, Any] = {key: value for key, value in told.items() if value is not None}
        return {"Authorization": f"Bearer {self.issue(uid, provider='password', **claims)}"}

    def service_headers(self, service: str, *, to: str) -> dict[str, str]:
        """The header of a service that has just signed in for one call to the service `to`, in the mode `fresh`."""
        claims = ServiceClaims.fresh(service, to).as_developer_claims()
        return {SERVICE_TOKEN_HEADER: self.issue(service_uid(service), provider="custom", **claims)}

    def issue(self, uid: str, *, provider: str, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """An ID token as Firebase issues it; `claims` over its claims, `header` over its header."""
        now = int(self._clock())
        self._identities.setdefault(uid, IdentityStatus(disabled=False, valid_since=0))
        payload = {
            "iss": f"https://securetoken.google.com/{self.project_id}",
            "aud": self.project_id,
            "sub": uid,
            "iat": now,
            "auth_time": now,
            "exp": now + TOKEN_LIFETIME_SECONDS,
            "firebase": {"identities": {}, "sign_in_provider": provider},
        }
        return self._sign({"alg": "RS256", "typ": "JWT", "kid": "fake", **(header or {})}, payload | claims)

    def disable(self, uid: str) -> None:
        """What an administrator does in the console."""
        self._identities[uid] = IdentityStatus(disabled=True, valid_since=0)

    def revoke(self, uid: str) -> None:
        """Makes every token of `uid` that was issued before the next second worthless."""
        self._identities[uid] = IdentityStatus(disabled=False, valid_since=int(self._clock()) + 1)

    async def open(self) -> None:
        """See `mstoken.callee.firebase.Firebase.open`: there is nothing to do."""

    async def aclose(self) -> None:
        """See `mstoken.callee.firebase.Firebase.aclose`: there is nothing to do."""

    def ready(self) -> str | None:
        """See `mstoken.callee.firebase.Firebase.ready`: what this Firebase verifies with is always in memory."""
        return None

    async def verify(self, token: str, key_id: str) -> dict[str, Any]:
        """See `mstoken.callee.firebase.Firebase.verify`."""
        return self._claims(token)

    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        """See `mstoken.callee.firebase.Firebase.look_up`."""
        if self.down:
            raise VerifierUnavailable("The fake Firebase is down.")
        self.look_ups += 1
        return {uid: self._identities[uid] for uid in uids if uid in self._identities}

    def mint(self, claims: ServiceClaims) -> str:
        """A custom token, good for a sign-in here."""
        return self._sign({"alg": "RS256"}, {"uid": claims.uid, "claims": claims.as_developer_claims()})

    def _answer(self, request: httpx.Request) -> httpx.Response:
        """Identity Toolkit's `accounts:signInWithCustomToken`."""
        self.sign_ins += 1
        if self.down:
            return httpx.Response(503)
        try:
            custom = self._claims(json.loads(request.content)["token"])
        except TokenUntrusted:
            return httpx.Response(400, json={"error": {"message": "INVALID_CUSTOM_TOKEN"}})
        if self._identities.get(custom["uid"], IdentityStatus(disabled=False, valid_since=0)).disabled:
            return httpx.Response(400, json={"error": {"message": "USER_DISABLED"}})
        token = self.issue(custom["uid"], provider="custom", **custom["claims"])
        return httpx.Response(200, json={"idToken": token, "refreshToken": "thrown-away", "expiresIn": "3600"})

    def _sign(self, header: dict[str, Any], payload: dict[str, Any]) -> str:
        body = ".".join(base64url(json.dumps(part).encode()) for part in (header, payload))
        return f"{body}.{self._signature(body)}"

    def _signature(self, body: str) -> str:
        return base64url(hmac.digest(self._secret, body.encode(), hashlib.sha256))

    def _claims(self, token: str) -> dict[str, Any]:
        body, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._signature(body), signature):
            raise TokenUntrusted("The fake Firebase did not issue it.")
        part = body.partition(".")[2]
        claims: dict[str, Any] = json.loads(base64url_decode(part))
        return claims


class _FakeMinter:
    def __init__(self, firebase: FakeFirebase) -> None:
        self._firebase = firebase

    async def mint(self, client: httpx.AsyncClient, claims: ServiceClaims) -> str:
        return self._firebase.mint(claims)


class _FakeTokens:
    """See `mstoken.caller.auth.Tokens`: each one is issued at once."""

    def __init__(self, firebase: FakeFirebase, service: str, clock: Callable[[], float]) -> None:
        self._firebase = firebase
        self._service = service
        self._clock = clock
        self._key = ProofKey()

    async def token(self, audience: str, mode: Mode) -> str:
        return self.token_sync(audience, mode)

    def token_sync(self, audience: str, mode: Mode) -> str:
        claims = (
            ServiceClaims.fresh(self._service, audience)
            if mode == "fresh"
            else ServiceClaims.bound(self._service, audience, self._key.thumbprint)
        )
        return self._firebase.issue(claims.uid, provider="custom", **claims.as_developer_claims())

    def proof(self, method: str, url: str, token: str, nonce: str | None) -> str:
        return self._key.proof(method, url, token, issued_at=self._clock(), nonce=nonce)

    def refused(self, audience: str, token: str) -> None: ...
