"""services/billing/neighbours.py: Product and User are unavailable, slow, or give invalid answers"""

import asyncio
from dataclasses import replace

import httpx
import pytest
from typing_extensions import override

from mstoken import ServiceIdentity
from mstoken.caller.connections import Connections
from mstoken.caller.minting import Minter
from mstoken.claims import ServiceClaims
from mstoken.errors import SignInUnavailable
from mstoken.per_process import PerProcess
from mstoken.strict_jwt import unverified
from mstoken.testing import FakeFirebase
from services.billing.errors import NeighbourFailed, NeighbourUnavailable
from services.billing.neighbours import Neighbours
from services.billing.settings import BillingSettings
from services.common.breaker import FAILURES_TO_OPEN, OPEN_SECONDS, CircuitOpen
from services.common.deadlines import within
from services.common.ids import new_id
from tests.clock import FakeClock
from tests.services.billing.conftest import Shop, open_shop
from tests.services.conftest import NewDatabase
from tests.services.shop import KETTLE, FixedTransport, answered, refused

DOWN = [httpx.ConnectError("refused"), httpx.ReadTimeout("too slow"), httpx.Response(503), httpx.Response(504)]


def one_time_id(request: httpx.Request) -> str:
    """Return the id that a call spends: that of its fresh token, or of its proof."""
    proof = request.headers.get("DPoP")
    claims = unverified(proof).payload if proof else unverified(request.headers["X-MS-TOKEN"]).payload["ms"]
    spent: str = claims["jti"]
    return spent


class SlowTransport(httpx.AsyncBaseTransport):
    """A network on which no request is ever answered."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


@pytest.mark.parametrize(
    "outcome",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("too slow"),
        httpx.RemoteProtocolError("gone"),
        httpx.Response(500),
        httpx.Response(503, json={"code": "verifier_unavailable"}),
        httpx.Response(429),
    ],
)
async def test_product_does_not_answer(shop: Shop, outcome: httpx.Response | Exception) -> None:
    """While Product is unavailable there is no bill, and the answer says when to try again."""
    shop.to_product.answers_with(outcome)
    response = await shop.order((new_id(), 1))
    refused(response, 503, "product_unavailable")
    assert response.headers["Retry-After"] == "2"
    shop.to_product.outcome = None
    assert await shop.bills() == []


async def test_product_is_slow(new_database: NewDatabase, firebase: FakeFirebase) -> None:
    """A call to Product that takes too long is given up."""
    async with open_shop(new_database, firebase, deadline_seconds=0.1) as shop:
        shop.to_product.outcome = SlowTransport()
        async with asyncio.timeout(30):
            refused(await shop.order((new_id(), 1)), 503, "product_unavailable")


@pytest.mark.parametrize(
    "outcome",
    [
        httpx.Response(401, json={"code": "token_untrusted"}),
        httpx.Response(403, json={"code": "caller_not_allowed"}),
        httpx.Response(404),
        httpx.Response(422),
        httpx.Response(302, headers={"Location": "http://elsewhere/"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"items": [{"id": "x"}]}),
        httpx.Response(200, json={"items": [KETTLE | {"id": "x", "price": {"amount": 10**20, "currency": "USD"}}]}),
        httpx.Response(200, json={"items": [KETTLE | {"id": "x", "price": {"amount": -1, "currency": "USD"}}]}),
        httpx.Response(200, json={"items": [KETTLE | {"id": "x", "stock": "many"}]}),
    ],
)
async def test_product_refuses_or_answers_nonsense(shop: Shop, outcome: httpx.Response) -> None:
    """If Product refuses Billing, or its answer is not valid, there is no bill, and the answer is 502."""
    shop.to_product.answers_with(outcome)
    response = await shop.order((new_id(), 1))
    refused(response, 502, "product_failed")
    shop.to_product.outcome = None
    assert await shop.bills() == []


@pytest.mark.both_modes
async def test_billing_is_disabled(shop: Shop) -> None:
    """A Billing whose identity is disabled cannot call Product. The answer is 502, because waiting does not help."""
    shop.firebase.disable("svc:billing")
    refused(await shop.order((new_id(), 1)), 502, "product_failed")
    assert shop.to_product.requests == []


@pytest.mark.both_modes
async def test_firebase_is_unavailable(firebase: FakeFirebase) -> None:
    """If Firebase is unavailable the error says that another attempt may help."""
    firebase.down = True
    async with Neighbours(BillingSettings(), firebase.identity("billing")) as neighbours:
        with pytest.raises(NeighbourUnavailable) as caught:
            await neighbours.customer("maya")
    assert caught.value.code == "user_unavailable"


@pytest.mark.both_modes
async def test_each_call_has_its_own_token(shop: Shop) -> None:
    """Each call has a service token for its callee with its own one-time id, and never the user's token."""
    bill = await shop.bill()
    await shop.bill()
    answered(await shop.billing.get("/bills", headers=shop.maya))
    await shop.billing.get(f"/bills/{bill['id']}/invoice", headers=shop.maya)
    requests = shop.to_product.requests + shop.to_user.requests
    claims = [unverified(request.headers["X-MS-TOKEN"]).payload["ms"] for request in requests]
    # Each bill reserves, and then sells.
    expected = [("billing", "product")] * 4 + [("billing", "user")]
    assert [(claim["svc"], claim["aud"]) for claim in claims] == expected
    assert len({one_time_id(request) for request in requests}) == 5
    assert not [request for request in requests if "Authorization" in request.headers]


async def test_the_request_id_is_passed_on(shop: Shop) -> None:
    """The calls that a request leads to carry its request id."""
    kettle = await shop.offer()
    answered(await shop.order((kettle["id"], 1), by=shop.maya | {"X-Request-ID": "purchase-1"}), 201)
    assert [request.headers["X-Request-ID"] for request in shop.to_product.requests] == ["purchase-1"] * 2


async def test_a_uid_stays_one_part_of_the_path(shop: Shop) -> None:
    """A uid with a slash in it does not lead to another path."""
    neighbours = Neighbours(BillingSettings(), shop.firebase.identity("billing"), transports={"user": shop.to_user})
    shop.to_user.answers_with(httpx.Response(404))
    async with neighbours:
        assert await neighbours.customer("../products?x") is None
    assert shop.to_user.requests[0].url.raw_path == b"/users/..%2Fproducts%3Fx"


class RecoveringTransport(httpx.AsyncBaseTransport):
    """A network whose first requests have these outcomes, in this order. Later requests succeed."""

    def __init__(self, *outcomes: httpx.Response | Exception) -> None:
        self._outcomes = list(outcomes)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        outcome = self._outcomes.pop(0) if self._outcomes else httpx.Response(200, json={"items": []})
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class WakingTransport(SlowTransport):
    """A network on which requests are answered when `answers` is set."""

    answers = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.answers:
            return httpx.Response(200, json={"items": []})
        return await super().handle_async_request(request)


class RecordedSleep:
    """Returns at once, and records the seconds that it was asked to sleep."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Calls:
    """Billing's calls to Product over a network of the test, at a time that stands still."""

    def __init__(self, firebase: FakeFirebase, identity: ServiceIdentity | None = None) -> None:
        self.clock = FakeClock()
        self.slept = RecordedSleep()
        self._identity = identity or firebase.identity("billing")

    def over(self, network: httpx.AsyncBaseTransport, *, deadline_seconds: float = 60.0) -> Neighbours:
        return Neighbours(
            BillingSettings(),
            self._identity,
            transports={"product": network},
            clock=self.clock,
            sleep=self.slept,
            deadline_seconds=deadline_seconds,
        )


async def ask(neighbours: Neighbours) -> None:
    """Make a call that must succeed."""
    response = await neighbours.call_product("GET", "/products")
    assert response.json() == {"items": []}


@pytest.fixture
def calls(firebase: FakeFirebase) -> Calls:
    """Calls at a time that stands still."""
    return Calls(firebase)


@pytest.mark.parametrize("outcome", DOWN)
@pytest.mark.both_modes
async def test_each_attempt_has_its_own_token(calls: Calls, outcome: httpx.Response | Exception) -> None:
    """After a failure the call is made again, after a short pause and with a new token."""
    network = RecoveringTransport(outcome)
    async with calls.over(network) as neighbours:
        await ask(neighbours)
    first, second = (one_time_id(request) for request in network.requests)
    assert first != second
    [pause] = calls.slept.seconds
    assert 0 <= pause <= 0.2


async def test_an_attempt_waits_as_long_as_the_service_asks(calls: Calls) -> None:
    """The next attempt comes after the Retry-After of the answer."""
    async with calls.over(RecoveringTransport(httpx.Response(503, headers={"Retry-After": "3"}))) as neighbours:
        await ask(neighbours)
    [pause] = calls.slept.seconds
    assert 3 <= pause < 4


async def test_no_attempt_after_the_deadline(calls: Calls) -> None:
    """If Retry-After is beyond the deadline, there is no further attempt, and no waiting."""
    network = RecoveringTransport(httpx.Response(503, headers={"Retry-After": "61"}))
    async with calls.over(network) as neighbours:
        with pytest.raises(NeighbourUnavailable):
            await ask(neighbours)
    assert (len(network.requests), calls.slept.seconds) == (1, [])


@pytest.mark.parametrize("outcome", [httpx.Response(500), httpx.Response(429), httpx.Response(403)])
async def test_which_answers_are_not_tried_again(calls: Calls, outcome: httpx.Response) -> None:
    """A defect, a rate limit and a refusal are not tried again, and do not count as failures of the service."""
    network = FixedTransport(outcome)
    async with calls.over(network) as neighbours:
        for number in range(FAILURES_TO_OPEN + 1):
            with pytest.raises((NeighbourUnavailable, NeighbourFailed)):
                await ask(neighbours)
            assert len(network.requests) == number + 1


@pytest.mark.parametrize("outcome", DOWN)
async def test_a_service_that_is_down_gets_no_calls(calls: Calls, outcome: httpx.Response | Exception) -> None:
    """After five failures a service gets no calls for two seconds. Then one call tests whether it is back."""
    network = FixedTransport(outcome)
    async with calls.over(network) as neighbours:
        for _ in range(10):
            with pytest.raises(NeighbourUnavailable):
                await ask(neighbours)
        assert len(network.requests) == FAILURES_TO_OPEN
        calls.clock.advance(OPEN_SECONDS)
        with pytest.raises(NeighbourUnavailable):
            await ask(neighbours)
        assert len(network.requests) == FAILURES_TO_OPEN + 1
        network.outcome = httpx.Response(200, json={"items": []})
        with pytest.raises(NeighbourUnavailable):
            await ask(neighbours)
        calls.clock.advance(OPEN_SECONDS)
        for _ in range(3):
            await ask(neighbours)
    assert len(network.requests) == FAILURES_TO_OPEN + 4


async def test_callers_without_time_do_not_open_the_circuit(calls: Calls) -> None:
    """Calls that end because their caller has no time left do not count as failures of the service."""
    network = WakingTransport()
    async with calls.over(network) as neighbours:
        for _ in range(FAILURES_TO_OPEN * 2):
            with pytest.raises(TimeoutError):
                async with within(0.001):
                    await ask(neighbours)
        network.answers = True
        await ask(neighbours)


async def test_a_service_that_never_answers_is_down(calls: Calls) -> None:
    """Attempts that use up their own time count as failures."""
    causes: list[BaseException | None] = []
    async with calls.over(SlowTransport(), deadline_seconds=0.05) as neighbours:
        # On a busy machine, the time of a call may end before it has a token. That is not a failure of the service.
        while not any(isinstance(cause, CircuitOpen) for cause in causes) and len(causes) < FAILURES_TO_OPEN * 20:
            with pytest.raises(NeighbourUnavailable) as caught:
                await ask(neighbours)
            causes.append(caught.value.__cause__)
    assert TimeoutError in {type(cause) for cause in causes[:-1]} <= {TimeoutError, SignInUnavailable}
    assert isinstance(causes[-1], CircuitOpen)


class SilentMinter(Minter):
    """A token service that mints `tokens` custom tokens, and then accepts requests and never answers."""

    def __init__(self, firebase: FakeFirebase, tokens: int = 0) -> None:
        self._firebase = firebase
        self._tokens = tokens

    @override
    async def mint(self, connections: Connections, claims: ServiceClaims) -> str:
        if self._tokens == 0:
            await asyncio.Event().wait()
        self._tokens -= 1
        return self._firebase.mint(claims)


def signs_in_with(minter: Minter, firebase: FakeFirebase) -> ServiceIdentity:
    """Return Billing's identity, whose custom tokens come from `minter`."""
    identity = firebase.identity("billing")
    parts = firebase.identity_parts("billing").get()
    identity.replace_parts(PerProcess(lambda: replace(parts, minter=minter)))
    return identity


@pytest.mark.both_modes
async def test_a_token_service_that_hangs_does_not_open_the_circuit(firebase: FakeFirebase) -> None:
    """The service that is called is not to blame, so calls to it go on as soon as there are tokens."""
    calls = Calls(firebase, signs_in_with(SilentMinter(firebase), firebase))
    causes = []
    async with calls.over(WakingTransport(), deadline_seconds=0.02) as neighbours:
        for _ in range(FAILURES_TO_OPEN * 2):
            with pytest.raises(NeighbourUnavailable) as caught:
                await ask(neighbours)
            causes.append(type(caught.value.__cause__))
    # On a busy machine, the time of a whole call may end before that of its attempt.
    assert SignInUnavailable in set(causes) <= {SignInUnavailable, TimeoutError}


async def test_a_second_sign_in_that_hangs_does_not_open_the_circuit(firebase: FakeFirebase) -> None:
    """The service has answered: it refused the first token as too old. The call waits for another one."""
    challenge = {"WWW-Authenticate": 'MsToken error="token_stale"'}
    network = FixedTransport(httpx.Response(401, headers=challenge))
    minter = SilentMinter(firebase, tokens=1)
    causes = []
    async with Calls(firebase, signs_in_with(minter, firebase)).over(network, deadline_seconds=2.0) as neighbours:
        with pytest.raises(NeighbourUnavailable) as caught:
            await ask(neighbours)
        causes.append(type(caught.value.__cause__))
    assert len(network.requests) == 1
    assert causes == [SignInUnavailable]


async def test_the_remaining_time_is_passed_on(calls: Calls) -> None:
    """A call carries the time that its caller still waits: that of the attempt, or that of the whole request."""
    network = RecoveringTransport()
    async with calls.over(network) as neighbours:
        await ask(neighbours)
        async with within(5):
            await ask(neighbours)
    announced = [int(request.headers["X-Envoy-Expected-Rq-Timeout-Ms"]) for request in network.requests]
    assert 25_000 < announced[0] <= 30_000
    assert 1_000 < announced[1] <= 5_000
