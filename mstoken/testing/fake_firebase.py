"""A fake Firebase in memory, for the tests of services that use mstoken."""

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
from pydantic import SecretStr
from typing_extensions import override

from mstoken.callee.firebase import Firebase, IdentityStatus
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.replay.store import ReplayStore
from mstoken.callee.verifier import TokenVerifier
from mstoken.caller.auth import ServiceAuth
from mstoken.caller.calls import TokenSource
from mstoken.caller.connections import Connections
from mstoken.caller.identity import ServiceIdentity
from mstoken.caller.parts import IdentityParts
from mstoken.claims import ServiceClaims, service_uid
from mstoken.errors import TokenUntrusted, VerifierUnavailable
from mstoken.per_process import PerProcess
from mstoken.proof import ProofKey
from mstoken.settings import Settings
from mstoken.strict_jwt import Unverified, base64url, base64url_decode
from mstoken.wire import ID_TOKEN_LIFETIME_SECONDS, SERVICE_TOKEN_HEADER, Mode

ISSUER = "https://securetoken.google.com/"
HEADER = {"alg": "RS256", "typ": "JWT", "kid": "fake"}
MAX_UID_CHARACTERS = 128


class FakeFirebase(Firebase):
    """A Firebase project in memory.

    It signs tokens with a secret of this instance, and checks what Firebase says that a verifier must check (Firebase,
    "Verify ID tokens using a third-party JWT library"); the verifier itself checks the times. While `down` is True, it
    refuses sign-ins and look-ups, and still verifies tokens, as a verifier with certificates in memory does. `sign_ins`
    and `look_ups` count the requests of each kind.
    """

    def __init__(
        self, project_id: str = "demo-test", *, clock: Callable[[], float] = time.time, **settings: Any
    ) -> None:
        """`clock` returns seconds since the epoch.

        `settings` are the settings of all verifiers and identities of this project, by field name, such as
        `mode="proof", base_url="http://product"`.
        """
        self.project_id = project_id
        self._settings = settings
        self.down = False
        self.sign_ins = 0
        self.look_ups = 0
        self.clock = clock
        self._secret = secrets.token_bytes(32)
        self._identities: dict[str, IdentityStatus] = {}

    def settings(self, **settings: Any) -> Settings:
        """Return settings for this project, with `settings` in place of the project's own."""
        defaults = {"project_id": self.project_id, "emulator_host": None, "api_key": SecretStr("fake")}
        return Settings(**(defaults | self._settings | settings))

    def verifier(self, audience: str, *, replay: ReplayStore | None = None, **settings: Any) -> TokenVerifier:
        """Return a verifier for the service `audience` that uses this Firebase. By default it spends ids in memory."""
        replay = replay or MemoryReplayStore(clock=self.clock)
        return TokenVerifier(audience, self.settings(**settings), firebase=self, replay=replay, clock=self.clock)

    def identity(self, service: str, **settings: Any) -> ServiceIdentity:
        """Return the identity of `service`, which signs in to this Firebase."""
        identity = ServiceIdentity(service)
        identity.replace_parts(self.identity_parts(service, **settings))
        return identity

    def identity_parts(self, service: str, **settings: Any) -> PerProcess[IdentityParts]:
        """Return the parts with which `service` signs in to this Firebase."""
        transport = httpx.MockTransport(self._answer)
        return PerProcess(
            lambda: IdentityParts.of(
                service, self.settings(**settings), _FakeMinter(self), transport, self.clock, asyncio.sleep
            )
        )

    def service_auth(self, service: str, *, to: str, mode: Mode | None = None) -> ServiceAuth:
        """Return an `httpx.Auth` like that of `identity(service).to(to, mode)`, but without sign-ins."""
        return ServiceAuth(self.token_source(service), to, mode or self.settings().mode)

    def token_source(self, service: str) -> TokenSource:
        """Return tokens and proofs of `service` without sign-ins, for the adapters of HTTP clients."""
        return _FakeTokens(self, service, self.clock)

    def user_headers(
        self,
        uid: str,
        *,
        role: str | None = None,
        email: str | None = None,
        email_verified: bool | None = None,
        name: str | None = None,
    ) -> dict[str, str]:
        """Return the header of a user who has just logged in. By default Firebase has not verified the e-mail address.

        Firebase sets `email_verified` for each user with an address, to false until the address is verified.
        """
        is_verified = email_verified or (None if email is None else False)
        optional_claims = {"role": role, "email": email, "email_verified": is_verified, "name": name}
        claims: dict[str, Any] = {key: value for key, value in optional_claims.items() if value is not None}
        return {"Authorization": f"Bearer {self.issue(uid, provider='password', **claims)}"}

    def service_headers(self, service: str, *, to: str) -> dict[str, str]:
        """Return the header of a service that has just signed in for one call to the service `to`, in fresh mode."""
        claims = ServiceClaims.fresh(service, to, minted_at=self.clock()).as_developer_claims()
        return {SERVICE_TOKEN_HEADER: self.issue(service_uid(service), provider="custom", **claims)}

    def bound_token(self, service: str, audience: str, key_thumbprint: str) -> str:
        """Return the token of a service that has just signed in for an hour, bound to a key (RFC 7638)."""
        claims = ServiceClaims.bound(service, audience, key_thumbprint, minted_at=self.clock()).as_developer_claims()
        return self.issue(service_uid(service), provider="custom", **claims)

    def issue(self, uid: str, *, provider: str, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """Return an ID token as Firebase issues it, with `claims` and `header` in place of its own."""
        now = int(self.clock())
        self._identities.setdefault(uid, IdentityStatus(disabled=False, valid_since=0))
        payload = {
            "iss": f"{ISSUER}{self.project_id}",
            "aud": self.project_id,
            "sub": uid,
            "iat": now,
            "auth_time": now,
            "exp": now + ID_TOKEN_LIFETIME_SECONDS,
            "firebase": {"identities": {}, "sign_in_provider": provider},
        }
        return self.sign({**HEADER, **(header or {})}, json.dumps(payload | claims))

    def sign(self, header: Mapping[str, Any], payload: str) -> str:
        """Return a token with this header and this payload, as they are, and the signature of this Firebase."""
        parts = (json.dumps(header).encode(), payload.encode("utf-8", "surrogateescape"))
        body = ".".join(base64url(part) for part in parts)
        return f"{body}.{self._signature(body)}"

    def disable(self, uid: str) -> None:
        """Disable `uid`, as an administrator does in the Firebase console."""
        self._identities[uid] = IdentityStatus(disabled=True, valid_since=self._valid_since(uid))

    def enable(self, uid: str) -> None:
        """Enable `uid` and revoke its earlier tokens, as `mstoken services enable` does."""
        self.revoke(uid)

    def revoke(self, uid: str) -> None:
        """Revoke every token of `uid` that was issued before the next second."""
        self._identities[uid] = IdentityStatus(disabled=False, valid_since=int(self.clock()) + 1)

    def _valid_since(self, uid: str) -> int:
        status = self._identities.get(uid)
        return status.valid_since if status else 0

    @override
    async def open(self) -> None:
        pass

    @override
    async def aclose(self) -> None:
        pass

    @override
    def ready(self) -> str | None:
        return None

    @override
    async def verify(self, jwt: Unverified, key_id: str) -> dict[str, Any]:
        if key_id != HEADER["kid"]:
            raise TokenUntrusted("The token names a key that the fake Firebase does not have.")
        claims = self._claims(jwt.encoded)
        subject = claims.get("sub")
        if claims.get("aud") != self.project_id or claims.get("iss") != f"{ISSUER}{self.project_id}":
            raise TokenUntrusted("The token is for another project.")
        if not isinstance(subject, str) or not 0 < len(subject) <= MAX_UID_CHARACTERS:
            raise TokenUntrusted("The sub of the token cannot be a uid.")
        return claims

    @override
    async def look_up(self, uids: Sequence[str]) -> dict[str, IdentityStatus]:
        if self.down:
            raise VerifierUnavailable("The fake Firebase is down.")
        self.look_ups += 1
        return {uid: self._identities[uid] for uid in uids if uid in self._identities}

    def mint(self, claims: ServiceClaims) -> str:
        """Return a custom token for a sign-in to this Firebase. It is minted now, whatever `claims.minted_at` is."""
        claims = claims.with_minted_at(self.clock())
        return self.sign({"alg": "RS256"}, json.dumps({"uid": claims.uid, "claims": claims.as_developer_claims()}))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a sign-in, as `accounts:signInWithCustomToken` of Identity Toolkit does."""
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

    def _signature(self, body: str) -> str:
        return base64url(hmac.digest(self._secret, body.encode(), hashlib.sha256))

    def _claims(self, token: str) -> dict[str, Any]:
        body, _, signature = token.rpartition(".")
        if not hmac.compare_digest(self._signature(body), signature):
            raise TokenUntrusted("The fake Firebase did not sign the token.")
        part = body.partition(".")[2]
        claims: dict[str, Any] = json.loads(base64url_decode(part))
        return claims


class _FakeMinter:
    def __init__(self, firebase: FakeFirebase) -> None:
        self._firebase = firebase

    async def mint(self, connections: Connections, claims: ServiceClaims) -> str:
        return self._firebase.mint(claims)


class _FakeTokens:
    """Tokens of one service, for `ServiceAuth`. They are issued without a sign-in."""

    def __init__(self, firebase: FakeFirebase, service: str, clock: Callable[[], float]) -> None:
        self._firebase = firebase
        self._service = service
        self._clock = clock
        self._key = ProofKey()

    async def token(self, audience: str, mode: Mode, *, new: bool = False) -> str:
        return self.token_sync(audience, mode)

    def token_sync(self, audience: str, mode: Mode, *, new: bool = False) -> str:
        if mode == "proof":
            return self._firebase.bound_token(self._service, audience, self._key.thumbprint)
        return self._firebase.service_headers(self._service, to=audience)[SERVICE_TOKEN_HEADER]

    def proof(self, method: str, url: str, token: str, nonce: str | None) -> str:
        return self._key.proof(method, url, token, issued_at=self._clock(), nonce=nonce)

    def refused(self, audience: str, mode: Mode, token: str, *, is_revoked: bool) -> bool:
        return False  # It has no stock: the token that was refused is as new as any.
