"""The callee's checks: each refuses what it is there for, and in the order of the design."""

import asyncio
import hashlib
import logging
from itertools import groupby
from typing import Any

import pytest

from mstoken import ServiceCaller, TokenVerifier, UserCaller
from mstoken.callee.callers import Admission, Call, Caller
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.claims import ServiceClaims
from mstoken.errors import MsTokenError, Refusal, VerifierUnavailable
from mstoken.testing import FakeFirebase
from mstoken.wire import CLOCK_SKEW_SECONDS, FRESH_TOKEN_MAX_AGE_SECONDS
from tests.clock import FakeClock
from tests.mstoken.callee.replay.fakes import ForgetfulReplayStore

ANYBODY = Admission.of(True, {"billing"})
USERS = Admission.of(True, ())
ADMINS = Admission.of({"admin"}, ())
BILLING = Admission.of(False, {"billing"})


class Callee:
    """The service product, and a Firebase and a clock that a test may move."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.firebase = FakeFirebase(clock=self.clock)
        self.verifier = self.firebase.verifier("product")

    def service_token(self, service: str = "billing", audience: str = "product", **claims: Any) -> str:
        """A token of `service` for `audience`, its claims changed by `claims`."""
        ms = ServiceClaims.fresh(service, audience).as_developer_claims()
        return self.firebase.issue(f"svc:{service}", **{"provider": "custom", **ms, **claims})

    def user_token(self, uid: str = "anna", **claims: Any) -> str:
        return self.firebase.issue(uid, **{"provider": "password", **claims})

    async def call(self, *service_tokens: str, user: str | None = None, admission: Admission = ANYBODY) -> Caller:
        authorizations = [] if user is None else [user]
        call = Call("GET", "/products", service_tokens, proofs=[], authorizations=authorizations)
        return await self.verifier.authorize(admission, call)

    async def code(self, *service_tokens: str, user: str | None = None, admission: Admission = ANYBODY) -> str:
        """The code of the refusal, or "accepted"."""
        try:
            await self.call(*service_tokens, user=user, admission=admission)
        except Refusal as refusal:
            return refusal.code
        return "accepted"


@pytest.fixture
def callee() -> Callee:
    return Callee()


def digest(token: str) -> str:
    """How a log line names a token."""
    return hashlib.sha256(token.encode()).hexdigest()[:8]


async def test_a_service_comes_in(callee: Callee) -> None:
    """A fresh token of an allowed service gives its caller."""
    caller = await callee.call(callee.service_token())
    assert isinstance(caller, ServiceCaller)
    assert (caller.service, caller.uid, caller.user) == ("billing", "svc:billing", None)


async def test_a_user_comes_in(callee: Callee) -> None:
    """A user's token gives role, e-mail address and name."""
    token = callee.user_token(role="admin", email="anna@example.com", name="Anna")
    caller = await callee.call(user=f"Bearer {token}", admission=ADMINS)
    assert isinstance(caller, UserCaller)
    assert (caller.uid, caller.role, caller.email, caller.name) == ("anna", "admin", "anna@example.com", "Anna")


async def test_a_service_acts_for_a_user(callee: Callee) -> None:
    """With both tokens the caller is the service, and knows the user."""
    caller = await callee.call(callee.service_token(), user=f"bearer {callee.user_token()}", admission=BILLING)
    assert isinstance(caller, ServiceCaller)
    assert caller.user is not None
    assert caller.user.uid == "anna"


@pytest.mark.parametrize(
    ("admission", "code"), [(ANYBODY, "token_missing"), (BILLING, "token_missing"), (USERS, "user_token_missing")]
)
async def test_no_token_at_all(callee: Callee, admission: Admission, code: str) -> None:
    """The code tells which token was missed."""
    assert await callee.code(admission=admission) == code


@pytest.mark.parametrize("token", ["", "no JWT", "a.b.c", "x" * 9216, "a.b,c.d"])
async def test_check_1_what_is_no_jwt(callee: Callee, token: str) -> None:
    """Text that is no JWT is malformed."""
    assert await callee.code(token) == "token_malformed"


async def test_check_1_one_header_line(callee: Callee) -> None:
    """Two good tokens are one too many, on two lines or joined by a comma."""
    assert await callee.code(callee.service_token(), callee.service_token()) == "token_malformed"
    assert await callee.code(f"{callee.service_token()}, {callee.service_token()}") == "token_malformed"


async def test_check_2_what_firebase_did_not_issue(callee: Callee) -> None:
    """Another project's token is not trusted."""
    foreign = FakeFirebase(clock=callee.clock)
    assert await callee.code(foreign.service_headers("billing", to="product")["X-MS-TOKEN"]) == "token_untrusted"


async def test_check_2_expiry_is_checked_here_too(callee: Callee) -> None:
    """firebase-admin checks no times against the emulator."""
    assert await callee.code(callee.service_token(exp=int(callee.clock()) - 6)) == "token_expired"


@pytest.mark.parametrize("name", ["exp", "iat", "auth_time"])
@pytest.mark.parametrize("value", [None, "1800000000", True, 1.8e9, -1, [], {}])
async def test_check_2_times_are_whole_seconds(callee: Callee, name: str, value: Any) -> None:
    """Any other kind of time is not trusted, in a service's token and in a user's."""
    assert await callee.code(callee.service_token(**{name: value})) == "token_untrusted"
    assert await callee.code(user=f"Bearer {callee.user_token(**{name: value})}") == "user_token_invalid"


async def test_check_2_nothing_from_the_future(callee: Callee) -> None:
    """A few seconds between the clocks are forgiven, more are not; nor is a token older than its sign-in."""
    now = int(callee.clock())
    assert await callee.code(callee.service_token(iat=now + 5, auth_time=now + 5)) == "accepted"
    assert await callee.code(callee.service_token(iat=now + 6, auth_time=now)) == "token_untrusted"
    assert await callee.code(callee.service_token(iat=now, auth_time=now + 1)) == "token_untrusted"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": None},
        {"alg": ["RS256"]},
        {"kid": None},
        {"kid": ""},
        {"kid": 7},
        {"kid": "k" * 129},
        {"typ": "at+jwt"},
        {"typ": None},
        {"crit": []},
        {"crit": ["exp"]},
    ],
)
async def test_check_2_a_header_that_no_id_token_has(callee: Callee, header: dict[str, Any]) -> None:
    """One algorithm, one key, and nothing to understand (RFC 8725, section 3.1; RFC 7515, section 4.1.11)."""
    token = callee.firebase.issue("svc:billing", provider="custom", header=header)
    assert await callee.code(token) == "token_untrusted"


async def test_check_2_a_tenant_is_another_world(callee: Callee) -> None:
    """Its users are not the project's."""
    tenant = {"sign_in_provider": "custom", "identities": {}, "tenant": "other"}
    assert await callee.code(callee.service_token(firebase=tenant)) == "token_untrusted"
    assert await callee.code(user=f"Bearer {callee.user_token(firebase=tenant)}") == "user_token_invalid"
    assert await callee.code(callee.service_token(firebase="custom")) == "token_untrusted"


async def test_check_2_no_id_token_lives_longer_than_an_hour(callee: Callee) -> None:
    """One that says so is none."""
    now = int(callee.clock())
    assert await callee.code(callee.service_token(exp=now + 3600)) == "accepted"
    assert await callee.code(callee.service_token(exp=now + 3601)) == "token_untrusted"


async def test_whitespace_around_a_value_is_no_part_of_it(callee: Callee) -> None:
    """RFC 9110, section 5.5: some servers leave it there."""
    assert await callee.code(f" \t{callee.service_token()}\t ") == "accepted"


async def test_check_3_a_user_is_no_service(callee: Callee) -> None:
    """A user's token does not count in X-MS-TOKEN."""
    assert await callee.code(callee.user_token()) == "token_not_service"


async def test_check_3_a_service_is_no_user(callee: Callee) -> None:
    """A service's token does not count in Authorization, with an ms claim or without."""
    assert await callee.code(user=f"Bearer {callee.service_token()}") == "user_token_invalid"
    assert await callee.code(user=f"Bearer {callee.user_token(uid='svc:billing')}") == "user_token_invalid"


async def test_check_4_another_audience(callee: Callee) -> None:
    """What was made for User is of no use at Product."""
    assert await callee.code(callee.service_token(audience="user")) == "token_wrong_audience"


@pytest.mark.parametrize("act", [FakeFirebase.disable, FakeFirebase.revoke])
async def test_check_5_a_dead_identity(callee: Callee, act: Any) -> None:
    """A disabled or revoked service is refused, though its token is good."""
    token = callee.service_token()
    act(callee.firebase, "svc:billing")
    assert await callee.code(token) == "identity_disabled"


@pytest.mark.parametrize("act", [FakeFirebase.disable, FakeFirebase.revoke])
async def test_check_5_a_dead_user(callee: Callee, act: Any) -> None:
    """And so is a user."""
    token = callee.user_token()
    act(callee.firebase, "anna")
    assert await callee.code(user=f"Bearer {token}") == "user_token_revoked"


async def test_forgetting_a_user_makes_a_log_out_count_at_once(callee: Callee) -> None:
    """Where the log-out happened, the cached status does not delay it."""
    token = f"Bearer {callee.user_token()}"
    assert await callee.code(user=token) == "accepted"
    callee.firebase.revoke("anna")
    callee.verifier.forget("anna")
    assert await callee.code(user=token) == "user_token_revoked"


async def test_check_6_sixty_seconds_are_fresh(callee: Callee) -> None:
    """A token of 60 s passes, one of 61 s does not; a user's lasts its hour."""
    at_60, at_61 = callee.service_token(), callee.service_token()
    user = f"Bearer {callee.user_token()}"
    callee.clock.advance(60)
    assert await callee.code(at_60) == "accepted"
    callee.clock.advance(1)
    assert await callee.code(at_61) == "token_stale"
    assert await callee.code(user=user) == "accepted"


async def test_check_6_refreshing_does_not_make_it_fresh(callee: Callee) -> None:
    """A refreshed token has a new iat, and the id and auth_time of the first."""
    now = int(callee.clock())
    assert await callee.code(callee.service_token(iat=now, auth_time=now - 61)) == "token_stale"


async def test_check_7_who_may(callee: Callee) -> None:
    """Known callers that the route is not for: a customer, another service, a service where users are meant."""
    assert await callee.code(user=f"Bearer {callee.user_token()}", admission=ADMINS) == "caller_not_allowed"
    assert await callee.code(user=f"Bearer {callee.user_token()}", admission=BILLING) == "caller_not_allowed"
    assert await callee.code(callee.service_token("user")) == "caller_not_allowed"
    assert await callee.code(callee.service_token(), admission=ADMINS) == "caller_not_allowed"


async def test_check_7_a_service_does_not_borrow_a_role(callee: Callee) -> None:
    """An administrator's token beside its own does not make Billing an administrator."""
    admin = f"Bearer {callee.user_token(role='admin')}"
    assert await callee.code(callee.service_token(), user=admin, admission=ADMINS) == "caller_not_allowed"


async def test_check_8_once(callee: Callee) -> None:
    """A token counts once, for as long as it could be fresh."""
    token = callee.service_token()
    assert await callee.code(token) == "accepted"
    for _ in range(61):
        assert await callee.code(token) == "token_replayed"
        callee.clock.advance(1)
    assert await callee.code(token) == "token_stale"


async def test_check_8_a_spent_id_is_kept_for_as_long_as_any_worker_accepts_its_token(callee: Callee) -> None:
    """A token is refused as replayed until every worker refuses it as stale, however far the clocks are apart.

    The clock of the signer is ahead of this worker's by the largest difference that is allowed, and the clock of
    another worker is behind by as much.
    """
    store, settings = ForgetfulReplayStore(callee.clock), callee.firebase.settings()
    another_worker = TokenVerifier(
        "product", settings, firebase=callee.firebase, replay=store, clock=lambda: callee.clock() - CLOCK_SKEW_SECONDS
    )
    callee.verifier = callee.firebase.verifier("product", replay=store)
    signed_at = int(callee.clock()) + CLOCK_SKEW_SECONDS
    token = callee.service_token(iat=signed_at, auth_time=signed_at)
    assert await callee.code(token) == "accepted"
    callee.verifier = another_worker
    codes = []
    for _ in range(2 * (FRESH_TOKEN_MAX_AGE_SECONDS + 3 * CLOCK_SKEW_SECONDS)):
        codes.append(await callee.code(token))
        callee.clock.advance(0.5)
    assert [code for code, _ in groupby(codes)] == ["token_untrusted", "token_replayed", "token_stale"]


async def test_check_8_one_of_fifty(callee: Callee) -> None:
    """Of 50 calls that race with one token one comes in."""
    token = callee.service_token()
    codes = await asyncio.gather(*(callee.code(token) for _ in range(50)))
    assert sorted(codes) == ["accepted"] + ["token_replayed"] * 49


async def test_a_refused_call_burns_nothing(callee: Callee) -> None:
    """A token that the route refused is still good for one that does not."""
    token = callee.service_token()
    assert await callee.code(token, admission=ADMINS) == "caller_not_allowed"
    assert await callee.code(token, user="Bearer nonsense") == "user_token_invalid"
    assert await callee.code(token) == "accepted"


async def test_a_bad_user_token_beside_a_good_service_token(callee: Callee) -> None:
    """Whoever sends two tokens must have two good ones."""
    assert await callee.code(callee.service_token(), user="Bearer nonsense", admission=BILLING) == "user_token_invalid"


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a.b", "eyJ.eyJ."])
async def test_an_authorization_that_is_no_bearer_token(callee: Callee, authorization: str) -> None:
    """Another scheme or another text is an invalid token: 401, not 400."""
    assert await callee.code(user=authorization) == "user_token_invalid"


async def test_two_authorization_lines(callee: Callee) -> None:
    """One may not choose which of two counts."""
    line = f"Bearer {callee.user_token()}"
    with pytest.raises(Refusal) as caught:
        await callee.verifier.authorize(USERS, Call("GET", "/", [], [], authorizations=[line, line]))
    assert caught.value.code == "user_token_invalid"


async def test_an_outage_of_firebase_lets_nobody_in(callee: Callee) -> None:
    """It is an outage, and no attack."""
    service, user = callee.service_token(), f"Bearer {callee.user_token()}"
    callee.firebase.down = True
    assert await callee.code(service) == "verifier_unavailable"
    assert await callee.code(user=user) == "verifier_unavailable"


class BrokenStore(MemoryReplayStore):
    """A replay store that cannot be reached."""

    async def spend(self, one_time_id: str, expires_at: float) -> bool:
        raise VerifierUnavailable("The store is away.")

    async def ready(self) -> None:
        raise VerifierUnavailable("The store is away.")


async def test_an_outage_of_the_store_lets_no_service_in(callee: Callee) -> None:
    """Without a place to write the id down there is no spending; users need none."""
    callee.verifier = callee.firebase.verifier("product", replay=BrokenStore())
    assert await callee.code(callee.service_token()) == "verifier_unavailable"
    assert await callee.code(user=f"Bearer {callee.user_token()}") == "accepted"
    with pytest.raises(VerifierUnavailable, match="away"):
        await callee.verifier.ready()


async def test_what_is_wrong_is_said_while_it_does_no_harm(callee: Callee) -> None:
    """Ready with a warning: the status of identities is known, but cannot be asked for anew."""
    token = callee.service_token
    assert await callee.code(token()) == "accepted"
    assert await callee.verifier.ready() == []
    callee.firebase.down = True
    assert await callee.code(token("new")) == "verifier_unavailable"
    assert await callee.verifier.ready() == ["Identity status: The fake Firebase is down."]


async def test_each_call_is_one_log_line(callee: Callee, caplog: pytest.LogCaptureFixture) -> None:
    """Who called, for whom, how old the token was, its id and digest, and the verdict; the token itself never."""
    caplog.set_level(logging.INFO, "mstoken.calls")
    token = callee.service_token()
    callee.clock.advance(2)
    caller = await callee.call(token)
    assert isinstance(caller, ServiceCaller)
    assert await callee.code(token) == "token_replayed"
    accepted, refused = (vars(record) for record in caplog.records)
    expected = {
        "message": "call",
        "caller": "svc:billing",
        "audience": "product",
        "mode": "fresh",
        "age_seconds": 2.0,
        "one_time_id": caller.one_time_id,
        "token": digest(token),
        "verdict": "accepted",
    }
    assert expected.items() <= accepted.items()
    assert (expected | {"verdict": "token_replayed"}).items() <= refused.items()
    assert token not in str(accepted) + str(refused)


async def test_why_a_call_cannot_be_verified_is_logged(callee: Callee, caplog: pytest.LogCaptureFixture) -> None:
    """For operators, since the answer does not say it; a function has no /readyz."""
    caplog.set_level(logging.INFO, "mstoken.calls")
    callee.verifier = callee.firebase.verifier("product", replay=BrokenStore())
    assert await callee.code(callee.service_token()) == "verifier_unavailable"
    assert [vars(record)["reason"] for record in caplog.records] == ["The store is away."]


async def test_a_users_call_is_logged_without_its_token(callee: Callee, caplog: pytest.LogCaptureFixture) -> None:
    """The scheme and the token stay out, also where the token is bad."""
    caplog.set_level(logging.INFO, "mstoken.calls")
    token = callee.user_token()
    await callee.call(user=f"Bearer {token}")
    await callee.code(user="Bearer password-typed-here")
    accepted, refused = (vars(record) for record in caplog.records)
    assert (accepted["caller"], accepted["mode"], accepted["token"]) == ("user:anna", "user", digest(token))
    assert (refused["caller"], refused["verdict"]) == (None, "user_token_invalid")
    assert token not in str(accepted)
    assert "password-typed-here" not in str(refused)


def test_a_verifier_needs_a_name_that_can_be() -> None:
    """A slip in the service's name is found when the program starts."""
    with pytest.raises(ValueError, match="no service name"):
        FakeFirebase().verifier("Product")


async def test_closing_lets_go_of_the_store() -> None:
    """`async with` closes what the verifier opened."""
    store = MemoryReplayStore()
    firebase = FakeFirebase()
    async with TokenVerifier("product", firebase.settings(), firebase=firebase, replay=store):
        await store.spend("one", 4_000_000_000)
    assert await store.spend("one", 4_000_000_000) is True


def test_refusals_are_errors_of_ours() -> None:
    """One root catches everything that the library raises on purpose."""
    assert issubclass(Refusal, MsTokenError)
