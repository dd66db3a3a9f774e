"""The service Product under test, with callers, a Firebase and a clock that a test can control."""

import hashlib
from typing import Any

from mstoken import TokenVerifier
from mstoken.callee.callers import Admission, Call, Caller
from mstoken.claims import ServiceClaims
from mstoken.errors import Refusal
from mstoken.proof import ProofKey
from mstoken.strict_jwt import Unverified
from mstoken.testing import FakeFirebase
from tests.clock import FakeClock

BILLING = Admission.of(False, {"billing"})
USERS = Admission.of(True, ())
USERS_AND_BILLING = Admission.of(True, {"billing"})
ADMINS = Admission.of({"admin"}, ())
BILLING_FOR_A_USER = Admission.of(False, {"billing"}, acting_for_user=True)
URL = "https://product.example.com"


class Product:
    """The service Product, which verifies tokens of users and fresh tokens of services."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.firebase = FakeFirebase(clock=self.clock)
        self.verifier = self.firebase.verifier("product")

    def service_token(
        self, service: str = "billing", audience: str = "product", *, minted_at: float | None = None, **claims: Any
    ) -> str:
        """Return a fresh token of `service` for `audience`, with `claims` in place of its own.

        `minted_at` is in seconds since the epoch, and now by default.
        """
        minted_at = self.clock() if minted_at is None else minted_at
        ms = ServiceClaims.fresh(service, audience, minted_at=minted_at).as_developer_claims()
        return self.firebase.issue(f"svc:{service}", **{"provider": "custom", **ms, **claims})

    def user_token(self, uid: str = "anna", **claims: Any) -> str:
        """Return an ID token of a user, with `claims` in place of its own."""
        return self.firebase.issue(uid, **{"provider": "password", **claims})

    async def call(
        self, *service_tokens: str, user: str | None = None, admission: Admission = USERS_AND_BILLING
    ) -> Caller:
        """Verify a call with `service_tokens`, one for each header line, and `user` as the value of Authorization."""
        authorizations = [] if user is None else [user]
        call = Call("GET", "/products", service_tokens, proofs=[], authorizations=authorizations)
        return await self.verifier.authorize(admission, call)

    async def code(
        self, *service_tokens: str, user: str | None = None, admission: Admission = USERS_AND_BILLING
    ) -> str:
        """Return the code of the refusal of a call, or "accepted"."""
        try:
            await self.call(*service_tokens, user=user, admission=admission)
        except Refusal as refusal:
            return refusal.code
        return "accepted"


class CountingFirebase(FakeFirebase):
    """Counts the tokens that it verifies."""

    verifications = 0

    async def verify(self, jwt: Unverified, key_id: str) -> dict[str, Any]:
        self.verifications += 1
        return await super().verify(jwt, key_id)


class ProductWithProofs:
    """The service Product, and Billing with a key and a token that is bound to that key."""

    def __init__(self, **settings: Any) -> None:
        self.clock = FakeClock()
        self.firebase = CountingFirebase(clock=self.clock, base_url=URL, **settings)
        self.verifier = self.firebase.verifier("product")
        self.key = ProofKey()
        self.token = self.bound_token()

    def bound_token(
        self, service: str = "billing", audience: str = "product", *, minted_at: float | None = None, **claims: Any
    ) -> str:
        """Return a token that is bound to the key, with `claims` in place of its own.

        `minted_at` is in seconds since the epoch, and now by default.
        """
        minted_at = self.clock() if minted_at is None else minted_at
        ms = ServiceClaims.bound(service, audience, self.key.thumbprint, minted_at=minted_at).as_developer_claims()
        return self.firebase.issue(f"svc:{service}", **{"provider": "custom", **ms, **claims})

    def proof(self, method: str = "GET", path: str = "/products", nonce: str | None = None) -> str:
        """Return a new proof of the key for a call with the token."""
        return self.key.proof(method, URL + path, self.token, issued_at=self.clock(), nonce=nonce)

    def call(self, method: str = "GET", path: str = "/products", **proof: Any) -> Call:
        """Return a call as Billing makes it."""
        return Call(method, path, [self.token], [self.proof(method, path, **proof)], authorizations=[])

    async def code(self, call: Call, *, at: TokenVerifier | None = None, admission: Admission = BILLING) -> str:
        """Verify a call with the verifier `at`. Return the code of the refusal, or "accepted"."""
        try:
            await (at or self.verifier).authorize(admission, call)
        except Refusal as refusal:
            return refusal.code
        return "accepted"


def log_name(token: str) -> str:
    """Return the name of a token in logs: the first eight characters of its SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()[:8]
