"""The callee's checks of a request: each refuses what it is for, and they are made in their order."""

import asyncio
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from mstoken import ServiceCaller, Settings, TokenVerifier, UserCaller
from mstoken.callee.callers import Admission, Call
from mstoken.callee.replay.memory import MemoryReplayStore
from mstoken.callee.replay.sqlite import SQLiteReplayStore
from mstoken.errors import MsTokenError, Refusal, SettingsError, StoreIsNew, TokenStale, VerifierUnavailable
from mstoken.testing import FakeFirebase
from mstoken.wire import CLOCK_SKEW_SECONDS, FRESH_TOKEN_MAX_AGE_SECONDS
from tests.mstoken.callee.harness import ADMINS, BILLING, BILLING_FOR_A_USER, USERS, USERS_AND_BILLING, Product
from tests.mstoken.callee.replay.fakes import ForgetfulReplayStore


async def test_a_service_is_admitted(product: Product) -> None:
    """A call with a fresh token of a service that the route admits has that service as its caller."""
    caller = await product.call(product.service_token())
    assert isinstance(caller, ServiceCaller)
    assert (caller.service, caller.uid, caller.user) == ("billing", "svc:billing", None)


async def test_a_user_is_admitted(product: Product) -> None:
    """The caller has the user's role, e-mail address and name."""
    token = product.user_token(role="admin", email="anna@example.com", name="Anna")
    caller = await product.call(user=f"Bearer {token}", admission=ADMINS)
    assert isinstance(caller, UserCaller)
    assert (caller.uid, caller.role, caller.email, caller.name) == ("anna", "admin", "anna@example.com", "Anna")


async def test_a_service_acts_for_a_user(product: Product) -> None:
    """If the route admits that, and a call has both tokens, the caller is the service, and knows the user."""
    user = f"bearer {product.user_token()}"
    caller = await product.call(product.service_token(), user=user, admission=BILLING_FOR_A_USER)
    assert isinstance(caller, ServiceCaller)
    assert caller.user is not None
    assert caller.user.uid == "anna"
    caller = await product.call(product.service_token(), admission=BILLING_FOR_A_USER)
    assert isinstance(caller, ServiceCaller)
    assert caller.user is None


FOREIGN = ["", "Basic YTpi", "Bearer a.b.SIGNATURE_REMOVED_BY_GOOGLE", "Bearer not-a-jwt", "Negotiate TlRMTVNTUA=="]
"""Values of Authorization that belong to others: to a proxy, a gateway, another library or Google's front end."""


@pytest.mark.parametrize("foreign", FOREIGN)
@pytest.mark.parametrize("admission", [BILLING, USERS_AND_BILLING])
async def test_a_foreign_authorization_beside_a_service_token_does_not_matter(
    product: Product, admission: Admission, foreign: str
) -> None:
    """The service is admitted. The header can be there twice."""
    assert await product.code(product.service_token(), user=foreign, admission=admission) == "accepted"
    call = Call("GET", "/products", [product.service_token()], [], authorizations=[foreign, foreign])
    assert str(await product.verifier.authorize(admission, call)) == "svc:billing"


async def test_the_token_of_a_user_beside_a_service_token_does_not_matter(product: Product) -> None:
    """The caller is the service alone, unless the route admits that it acts. The token may be invalid."""
    for token in product.user_token(), product.user_token(exp=1), "nonsense":
        caller = await product.call(product.service_token(), user=f"Bearer {token}")
        assert isinstance(caller, ServiceCaller)
        assert caller.user is None


@pytest.mark.parametrize("foreign", FOREIGN)
async def test_a_route_for_services_does_not_look_at_authorization(product: Product, foreign: str) -> None:
    """Without a service token, the token is missing, whatever is in Authorization: a user's token too."""
    for authorization in foreign, f"Bearer {product.user_token()}":
        assert await product.code(user=authorization, admission=BILLING) == "token_missing"
        assert await product.code(user=authorization, admission=BILLING_FOR_A_USER) == "token_missing"
    assert product.firebase.look_ups == 0


@pytest.mark.parametrize(
    ("admission", "code"),
    [(USERS_AND_BILLING, "token_missing"), (BILLING, "token_missing"), (USERS, "user_token_missing")],
)
async def test_a_call_without_a_token_is_refused(product: Product, admission: Admission, code: str) -> None:
    """The code tells which kind of token the route needs."""
    assert await product.code(admission=admission) == code


async def test_check_1_a_second_token_is_refused(product: Product) -> None:
    """Two valid tokens are refused, on two header lines or joined by a comma."""
    assert await product.code(product.service_token(), product.service_token()) == "token_malformed"
    assert await product.code(f"{product.service_token()}, {product.service_token()}") == "token_malformed"


async def test_check_3_the_token_of_a_user_is_not_a_service_token(product: Product) -> None:
    """It is refused in X-MS-TOKEN."""
    assert await product.code(product.user_token()) == "token_not_service"


async def test_check_3_the_token_of_a_service_is_not_a_user_token(product: Product) -> None:
    """It is refused in Authorization, with an ms claim and without one."""
    assert await product.code(user=f"Bearer {product.service_token()}") == "user_token_invalid"
    assert await product.code(user=f"Bearer {product.user_token(uid='svc:billing')}") == "user_token_invalid"


async def test_check_4_a_token_for_another_service_is_refused(product: Product) -> None:
    """A token that was made for User is not accepted by Product."""
    assert await product.code(product.service_token(audience="user")) == "token_wrong_audience"


@pytest.mark.parametrize("act", [FakeFirebase.disable, FakeFirebase.revoke])
async def test_check_5_a_disabled_or_revoked_service_is_refused(product: Product, act: Any) -> None:
    """It is refused although its token is valid."""
    token = product.service_token()
    act(product.firebase, "svc:billing")
    assert await product.code(token) == "identity_disabled"


async def test_check_5_a_token_that_was_minted_before_a_revocation_is_refused(product: Product) -> None:
    """It is refused although it was signed in afterwards. A token that was minted afterwards is accepted."""
    minted_at = int(product.clock())
    product.service_token()
    product.firebase.enable("svc:billing")
    product.clock.advance(10)
    assert await product.code(product.service_token(minted_at=minted_at)) == "identity_disabled"
    assert await product.code(product.service_token()) == "accepted"


@pytest.mark.parametrize("act", [FakeFirebase.disable, FakeFirebase.revoke])
async def test_check_5_a_disabled_or_revoked_user_is_refused(product: Product, act: Any) -> None:
    """The user is refused although the token is valid."""
    token = product.user_token()
    act(product.firebase, "anna")
    assert await product.code(user=f"Bearer {token}") == "user_token_revoked"


async def test_forgetting_a_user_makes_a_log_out_take_effect_at_once(product: Product) -> None:
    """In the service that logged the user out, the cached status does not delay the effect."""
    token = f"Bearer {product.user_token()}"
    assert await product.code(user=token) == "accepted"
    product.firebase.revoke("anna")
    product.verifier.forget("anna")
    assert await product.code(user=token) == "user_token_revoked"


async def test_check_6_a_fresh_token_is_accepted_for_sixty_seconds(product: Product) -> None:
    """A token that is 60 s old is accepted, one that is 61 s old is not. A user's token is accepted for its hour."""
    at_60, at_61 = product.service_token(), product.service_token()
    user = f"Bearer {product.user_token()}"
    product.clock.advance(60)
    assert await product.code(at_60) == "accepted"
    product.clock.advance(1)
    assert await product.code(at_61) == "token_stale"
    assert await product.code(user=user) == "accepted"


async def test_check_6_a_refresh_of_the_session_does_not_make_a_token_fresh(product: Product) -> None:
    """A refreshed token has a new iat, but the id and the auth_time of the first token."""
    now = int(product.clock())
    assert await product.code(product.service_token(iat=now, auth_time=now - 61)) == "token_stale"


async def test_check_6_a_custom_token_makes_fresh_tokens_for_sixty_seconds(product: Product) -> None:
    """A new sign-in with a custom token that was minted 61 s ago does not make a fresh token."""
    now = int(product.clock())
    assert await product.code(product.service_token(minted_at=now - 60)) == "accepted"
    assert await product.code(product.service_token(minted_at=now - 61)) == "token_stale"


async def test_check_6_a_token_from_the_future_is_refused(product: Product) -> None:
    """The clock of the signer may be ahead by 5 s. A token from a later time would be fresh for too long."""
    now = int(product.clock())
    assert await product.code(product.service_token(minted_at=now + CLOCK_SKEW_SECONDS)) == "accepted"
    assert await product.code(product.service_token(minted_at=now + CLOCK_SKEW_SECONDS + 1)) == "token_untrusted"


async def test_the_time_of_a_call_with_a_fresh_token_is_that_of_its_minting(product: Product) -> None:
    """A refresh of the session, or another sign-in with the custom token, does not change it."""
    minted_at = int(product.clock()) - 40
    caller = await product.call(product.service_token(minted_at=minted_at))
    assert caller.issued_at == minted_at


async def test_check_7_a_caller_that_the_route_does_not_admit_is_refused(product: Product) -> None:
    """A customer, another service, and a service on a route for users are known, and not admitted."""
    assert await product.code(user=f"Bearer {product.user_token()}", admission=ADMINS) == "caller_not_allowed"
    assert await product.code(product.service_token("user")) == "caller_not_allowed"
    assert await product.code(product.service_token(), admission=ADMINS) == "caller_not_allowed"


async def test_check_7_a_service_does_not_get_the_role_of_its_user(product: Product) -> None:
    """With the token of an administrator beside its own, Billing is not an administrator."""
    admin = f"Bearer {product.user_token(role='admin')}"
    assert await product.code(product.service_token(), user=admin, admission=ADMINS) == "caller_not_allowed"


async def test_check_8_a_token_is_accepted_once(product: Product) -> None:
    """Its second use is refused for as long as the token is fresh."""
    token = product.service_token()
    assert await product.code(token) == "accepted"
    for _ in range(61):
        assert await product.code(token) == "token_replayed"
        product.clock.advance(1)
    assert await product.code(token) == "token_stale"


async def test_check_8_a_spent_id_is_kept_for_as_long_as_any_worker_accepts_its_token(product: Product) -> None:
    """A token is refused as replayed until every worker refuses it as stale, however far the clocks are apart.

    The clock of the signer is ahead of this worker's by the largest difference that is allowed, and the clock of
    another worker is behind by as much.
    """
    store, settings = ForgetfulReplayStore(product.clock), product.firebase.settings()
    another_worker = TokenVerifier(
        "product",
        settings,
        firebase=product.firebase,
        replay=store,
        clock=lambda: product.clock() - CLOCK_SKEW_SECONDS,
    )
    product.verifier = product.firebase.verifier("product", replay=store)
    signed_at = int(product.clock()) + CLOCK_SKEW_SECONDS
    token = product.service_token(minted_at=signed_at, iat=signed_at, auth_time=signed_at)
    assert await product.code(token) == "accepted"
    product.verifier = another_worker
    codes = []
    for _ in range(2 * (FRESH_TOKEN_MAX_AGE_SECONDS + 3 * CLOCK_SKEW_SECONDS)):
        codes.append(await product.code(token))
        product.clock.advance(0.5)
    assert [code for code, _ in groupby(codes)] == ["token_untrusted", "token_replayed", "token_stale"]


async def test_check_8_one_of_fifty_concurrent_calls_is_accepted(product: Product) -> None:
    """Fifty calls use the same token at the same time."""
    token = product.service_token()
    codes = await asyncio.gather(*(product.code(token) for _ in range(50)))
    assert sorted(codes) == ["accepted"] + ["token_replayed"] * 49


async def test_check_8_until_a_new_store_can_tell_service_tokens_are_refused_as_in_an_outage(product: Product) -> None:
    """No token could be accepted, so the answer says how long to wait. Users are admitted, as in every outage of it."""
    product.verifier = product.firebase.verifier("product", replay=a_new_store(product))
    for seconds_left in range(CLOCK_SKEW_SECONDS + 1, 0, -1):
        with pytest.raises(StoreIsNew) as caught:
            await product.call(product.service_token())
        assert (caught.value.status, caught.value.code) == (503, "verifier_unavailable")
        assert caught.value.retry_after_seconds == seconds_left
        assert await product.code(user=f"Bearer {product.user_token()}") == "accepted"
        product.clock.advance(1)
    assert await product.code(product.service_token()) == "accepted"


async def test_check_8_a_token_that_is_older_than_a_new_store_is_stale(product: Product) -> None:
    """It may have been used. As soon as a new token would be accepted, the refusal makes the caller send one."""
    product.verifier = product.firebase.verifier("product", replay=a_new_store(product))
    before, during = product.service_token(), product.service_token(minted_at=product.clock() + CLOCK_SKEW_SECONDS)
    product.clock.advance(CLOCK_SKEW_SECONDS + 1)
    for token, age_seconds in ((before, CLOCK_SKEW_SECONDS + 1), (during, 1)):
        with pytest.raises(TokenStale) as caught:
            await product.call(token)
        assert (caught.value.age_seconds, caught.value.max_age_seconds) == (age_seconds, 0)
    assert await product.code(product.service_token()) == "accepted"


async def test_check_8_the_memory_of_a_store_is_compared_with_the_minting(product: Product) -> None:
    """A custom token that was used before the store was new is not accepted after a second sign-in with it."""
    minted_at = int(product.clock())
    product.verifier = product.firebase.verifier("product", replay=a_new_store(product))
    product.clock.advance(CLOCK_SKEW_SECONDS + 10)
    assert await product.code(product.service_token(minted_at=minted_at)) == "token_stale"


async def test_the_memory_of_a_new_store_begins_when_the_verifier_is_opened(product: Product, tmp_path: Path) -> None:
    """So it is over with the first seconds of a service, before the first calls come."""
    store = SQLiteReplayStore(tmp_path / "spent.db", clock=product.clock)
    async with product.firebase.verifier("product", replay=store) as verifier:
        product.clock.advance(CLOCK_SKEW_SECONDS)
        with pytest.raises(StoreIsNew):
            await verifier.ready()
        product.clock.advance(1)
        assert await verifier.ready() == []
        product.verifier = verifier
        assert await product.code(product.service_token()) == "accepted"


async def test_a_refused_call_spends_nothing(product: Product) -> None:
    """A token that was refused for another reason is accepted by a route that admits its caller."""
    token = product.service_token()
    assert await product.code(token, admission=ADMINS) == "caller_not_allowed"
    assert await product.code(token, user="Bearer nonsense", admission=BILLING_FOR_A_USER) == "user_token_invalid"
    assert await product.code(token) == "accepted"


async def test_a_service_that_acts_for_a_user_needs_two_valid_tokens(product: Product) -> None:
    """An invalid user's token is refused, although the service token beside it is valid."""
    code = await product.code(product.service_token(), user="Bearer nonsense", admission=BILLING_FOR_A_USER)
    assert code == "user_token_invalid"


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a.b", "eyJ.eyJ."])
async def test_an_authorization_that_is_not_a_bearer_token_is_refused(product: Product, authorization: str) -> None:
    """Another scheme or another text is an invalid token: 401, not 400."""
    assert await product.code(user=authorization) == "user_token_invalid"


async def test_two_authorization_lines_are_refused(product: Product) -> None:
    """They are refused even if both are valid, because frameworks differ in which one they read."""
    line = f"Bearer {product.user_token()}"
    with pytest.raises(Refusal) as caught:
        await product.verifier.authorize(USERS, Call("GET", "/", [], [], authorizations=[line, line]))
    assert caught.value.code == "user_token_invalid"


async def test_during_an_outage_of_firebase_calls_are_refused(product: Product) -> None:
    """The refusal says that there is an outage, not that the token is bad."""
    service, user = product.service_token(), f"Bearer {product.user_token()}"
    product.firebase.down = True
    assert await product.code(service) == "verifier_unavailable"
    assert await product.code(user=user) == "verifier_unavailable"


class BrokenStore(MemoryReplayStore):
    """A replay store that cannot be reached."""

    async def spend(self, one_time_id: str, *, issued_at: float, expires_at: float) -> bool:
        raise VerifierUnavailable("The store is down.")

    async def ready(self) -> None:
        raise VerifierUnavailable("The store is down.")


def a_new_store(product: Product) -> MemoryReplayStore:
    """Return a store whose memory begins now."""
    return MemoryReplayStore(complete_since=product.clock(), clock=product.clock)


class UncertainStore(MemoryReplayStore):
    """A replay store that has something to warn of."""

    async def ready(self) -> str | None:
        return "It may forget."


async def test_a_warning_of_the_store_is_a_warning_of_the_verifier(product: Product) -> None:
    """The verifier is ready."""
    product.verifier = product.firebase.verifier("product", replay=UncertainStore())
    assert await product.verifier.ready() == ["Replay store: It may forget."]


async def test_an_outage_of_the_store_does_not_stop_a_service_from_starting(product: Product) -> None:
    """Opening a verifier raises nothing, and users are admitted."""
    async with product.firebase.verifier("product", replay=BrokenStore()) as product.verifier:
        assert await product.code(user=f"Bearer {product.user_token()}") == "accepted"


async def test_during_an_outage_of_the_store_services_are_refused(product: Product) -> None:
    """An id that cannot be stored is not spent. Users are admitted, because their tokens are not spent."""
    product.verifier = product.firebase.verifier("product", replay=BrokenStore())
    assert await product.code(product.service_token()) == "verifier_unavailable"
    assert await product.code(user=f"Bearer {product.user_token()}") == "accepted"
    with pytest.raises(VerifierUnavailable, match="down"):
        await product.verifier.ready()


async def test_a_failed_look_up_is_a_warning_of_a_ready_verifier(product: Product) -> None:
    """The verifier is ready: the status of known identities is still used."""
    token = product.service_token
    assert await product.code(token()) == "accepted"
    assert await product.verifier.ready() == []
    product.firebase.down = True
    assert await product.code(token("new")) == "verifier_unavailable"
    assert await product.verifier.ready() == ["Identity status: The fake Firebase is down."]


def test_the_audience_must_be_a_service_name() -> None:
    """A typing error in the name of this service is found at the start."""
    with pytest.raises(ValueError, match="not a service name"):
        FakeFirebase().verifier("Product")


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any of the settings."""
    for field in Settings.model_fields.values():
        monkeypatch.delenv(str(field.validation_alias), raising=False)


@pytest.mark.usefixtures("no_settings")
async def test_settings_are_read_when_a_verifier_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module can make one without any environment. If a setting is missing, it does not open, and says which."""
    firebase = FakeFirebase()
    verifier = TokenVerifier("product", firebase=firebase)
    for use in verifier.open, verifier.ready:
        with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT is not set"):
            await use()
    with pytest.raises(SettingsError, match="GOOGLE_CLOUD_PROJECT is not set"):
        verifier.prepare()
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", firebase.project_id)
    monkeypatch.setenv("MSTOKEN_REPLAY_URL", "memory:")
    async with verifier:
        assert verifier._parts.get().replay is not None


@pytest.mark.usefixtures("no_settings")
async def test_closing_a_verifier_that_was_not_used_reads_nothing() -> None:
    """An app whose start failed can still be closed."""
    await TokenVerifier("product").aclose()


def test_a_verifier_can_be_opened_again_in_another_event_loop(tmp_path: Path) -> None:
    """A test client runs each of its lifespans in a loop of its own. What was spent before stays spent."""
    product = Product()
    settings = product.firebase.settings(replay_url=f"sqlite:///{tmp_path / 'spent.db'}")
    verifier = product.verifier = TokenVerifier("product", settings, firebase=product.firebase, clock=product.clock)

    async def codes(*tokens: str) -> list[str]:
        async with verifier:
            return [await product.code(token) for token in tokens]

    asyncio.run(codes())  # The memory of the store begins.
    product.clock.advance(CLOCK_SKEW_SECONDS + 1)
    token = product.service_token()
    assert asyncio.run(codes(token)) == ["accepted"]
    assert asyncio.run(codes(token, product.service_token())) == ["token_replayed", "accepted"]


async def test_closing_a_verifier_closes_its_store() -> None:
    """`async with` closes what the verifier opened."""
    store = StoreThatCloses()
    firebase = FakeFirebase()
    async with TokenVerifier("product", firebase.settings(), firebase=firebase, replay=store):
        assert not store.is_closed
    assert store.is_closed


class StoreThatCloses(MemoryReplayStore):
    """Remembers whether it was closed."""

    is_closed = False

    async def aclose(self) -> None:
        self.is_closed = True


def test_refusals_are_errors_of_this_library() -> None:
    """One class catches every error that the library raises on purpose."""
    assert issubclass(Refusal, MsTokenError)
