"""services/billing/neighbours.py: Product and User out of reach, slow, hostile or strange"""

import asyncio

import httpx
import pytest

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
from tests.services.shop import KETTLE, StubbornTransport, answered, refused

DOWN = [httpx.ConnectError("refused"), httpx.ReadTimeout("too slow"), httpx.Response(503), httpx.Response(504)]


def one_time_id(request: httpx.Request) -> str:
    """What a call spends: the id of its fresh token, or of its proof."""
    proof = request.headers.get("DPoP")
    claims = unverified(proof).payload if proof else unverified(request.headers["X-MS-TOKEN"]).payload["ms"]
    spent: str = claims["jti"]
    return spent


class SlowTransport(httpx.AsyncBaseTransport):
    """A network that never answers, and never times out by itself."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


@pytest.mark.parametrize(
    "fate",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("too slow"),
        httpx.RemoteProtocolError("gone"),
        httpx.Response(500),
        httpx.Response(503, json={"code": "verifier_unavailable"}),
        httpx.Response(429),
    ],
)
async def test_product_does_not_answer(shop: Shop, fate: httpx.Response | Exception) -> None:
    """While Product cannot be reached, or cannot serve, there is no bill, and the caller hears when to try again."""
    shop.to_product.meets(fate)
    response = await shop.order((new_id(), 1))
    refused(response, 503, "product_unavailable")
    assert response.headers["Retry-After"] == "2"
    shop.to_product.fate = None
    assert await shop.bills() == []


async def test_product_is_slow(new_database: NewDatabase, firebase: FakeFirebase) -> None:
    """A Product that does not come to an end is given up on."""
    async with open_shop(new_database, firebase, deadline_seconds=0.1) as shop:
        shop.to_product.fate = SlowTransport()
        async with asyncio.timeout(5):
            refused(await shop.order((new_id(), 1)), 503, "product_unavailable")


@pytest.mark.parametrize(
    "fate",
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
async def test_product_refuses_or_makes_no_sense(shop: Shop, fate: httpx.Response) -> None:
    """A Product that lets Billing in no more, or answers nonsense, makes no bill, and is no fault of the caller's."""
    shop.to_product.meets(fate)
    response = await shop.order((new_id(), 1))
    refused(response, 502, "product_failed")
    shop.to_product.fate = None
    assert await shop.bills() == []


async def test_billing_may_not_sign_in(shop: Shop) -> None:
    """A Billing whose identity is disabled cannot ask Product, and waiting will not help its callers."""
    shop.firebase.disable("svc:billing")
    refused(await shop.order((new_id(), 1)), 502, "product_failed")
    assert shop.to_product.requests == []


async def test_billing_cannot_sign_in_now(firebase: FakeFirebase) -> None:
    """An outage of Firebase is told from a refusal: trying again may help."""
    firebase.down = True
    async with Neighbours(BillingSettings(), firebase.identity("billing")) as neighbours:
        with pytest.raises(NeighbourUnavailable) as caught:
            await neighbours.customer("maya")
    assert caught.value.code == "user_unavailable"


async def test_each_call_has_a_token_of_its_own(shop: Shop) -> None:
    """Each call carries a service token for its neighbour and a one-time id of its own, and never the user's token."""
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


async def test_the_request_id_goes_along(shop: Shop) -> None:
    """One id finds a purchase in the logs of all the services that it touches."""
    kettle = await shop.offer()
    answered(await shop.order((kettle["id"], 1), by=shop.maya | {"X-Request-ID": "purchase-1"}), 201)
    assert [request.headers["X-Request-ID"] for request in shop.to_product.requests] == ["purchase-1"] * 2


async def test_a_uid_stays_one_part_of_the_path(shop: Shop) -> None:
    """A uid with a slash in it asks for no other path."""
    neighbours = Neighbours(BillingSettings(), shop.firebase.identity("billing"), transports={"user": shop.to_user})
    shop.to_user.meets(httpx.Response(404))
    async with neighbours:
        assert await neighbours.customer("../products?x") is None
    assert shop.to_user.requests[0].url.raw_path == b"/users/..%2Fproducts%3Fx"


class Recovering(httpx.AsyncBaseTransport):
    """A network whose first requests meet fates of their own, in their order; the others are answered."""

    def __init__(self, *fates: httpx.Response | Exception) -> None:
        self._fates = list(fates)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        fate = self._fates.pop(0) if self._fates else httpx.Response(200, json={"items": []})
        if isinstance(fate, Exception):
            raise fate
        return fate


class Waking(SlowTransport):
    """A network that never answers, until it does."""

    answers = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.answers:
            return httpx.Response(200, json={"items": []})
        return await super().handle_async_request(request)


class Slept:
    """Sleeps no time, and knows for how long it was asked to."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Calls:
    """Billing's calls to a Product that is nothing but a network."""

    def __init__(self, firebase: FakeFirebase) -> None:
        self.clock = FakeClock()
        self.slept = Slept()
        self._identity = firebase.identity("billing")

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
    """A call that is answered, or raises."""
    response = await neighbours.call_product("GET", "/products")
    assert response.json() == {"items": []}


@pytest.fixture
def calls(firebase: FakeFirebase) -> Calls:
    """Calls in a time that stands still."""
    return Calls(firebase)


@pytest.mark.parametrize("fate", DOWN)
async def test_another_try_has_a_token_of_its_own(calls: Calls, fate: httpx.Response | Exception) -> None:
    """A call that came to nothing is made again after a moment, with a token that is not spent yet."""
    network = Recovering(fate)
    async with calls.over(network) as neighbours:
        await ask(neighbours)
    first, second = (one_time_id(request) for request in network.requests)
    assert first != second
    [pause] = calls.slept.seconds
    assert 0 <= pause <= 0.2


async def test_another_try_comes_when_the_neighbour_says(calls: Calls) -> None:
    """Who is asked to come back in a while comes back after that."""
    async with calls.over(Recovering(httpx.Response(503, headers={"Retry-After": "3"}))) as neighbours:
        await ask(neighbours)
    [pause] = calls.slept.seconds
    assert 3 <= pause < 4


async def test_no_other_try_when_there_is_no_time_for_it(calls: Calls) -> None:
    """Who is asked to come back when it will be too late does not wait for that."""
    network = Recovering(httpx.Response(503, headers={"Retry-After": "61"}))
    async with calls.over(network) as neighbours:
        with pytest.raises(NeighbourUnavailable):
            await ask(neighbours)
    assert (len(network.requests), calls.slept.seconds) == (1, [])


@pytest.mark.parametrize("fate", [httpx.Response(500), httpx.Response(429), httpx.Response(403)])
async def test_an_answer_that_will_be_the_same_is_not_asked_for_again(calls: Calls, fate: httpx.Response) -> None:
    """A defect, a limit and a refusal are not tried again, and are no reason to leave the neighbour alone."""
    network = StubbornTransport(fate)
    async with calls.over(network) as neighbours:
        for number in range(FAILURES_TO_OPEN + 1):
            with pytest.raises((NeighbourUnavailable, NeighbourFailed)):
                await ask(neighbours)
            assert len(network.requests) == number + 1


@pytest.mark.parametrize("fate", DOWN)
async def test_a_neighbour_that_is_down_is_left_alone(calls: Calls, fate: httpx.Response | Exception) -> None:
    """After a few failures nobody asks it, until one may see whether it is back; another neighbour is asked as ever."""
    network = StubbornTransport(fate)
    async with calls.over(network) as neighbours:
        for _ in range(10):
            with pytest.raises(NeighbourUnavailable):
                await ask(neighbours)
        assert len(network.requests) == FAILURES_TO_OPEN
        calls.clock.advance(OPEN_SECONDS)
        with pytest.raises(NeighbourUnavailable):
            await ask(neighbours)
        assert len(network.requests) == FAILURES_TO_OPEN + 1
        network.fate = httpx.Response(200, json={"items": []})
        with pytest.raises(NeighbourUnavailable):
            await ask(neighbours)
        calls.clock.advance(OPEN_SECONDS)
        for _ in range(3):
            await ask(neighbours)
    assert len(network.requests) == FAILURES_TO_OPEN + 4


async def test_customers_without_time_do_not_cut_a_neighbour_off(calls: Calls) -> None:
    """Calls that end because the one who asked gives up say nothing about the neighbour."""
    network = Waking()
    async with calls.over(network) as neighbours:
        for _ in range(FAILURES_TO_OPEN * 2):
            with pytest.raises(TimeoutError):
                async with within(0.001):
                    await ask(neighbours)
        network.answers = True
        await ask(neighbours)


async def test_a_neighbour_that_never_answers_is_down(calls: Calls) -> None:
    """Tries that use up their own time count."""
    async with calls.over(SlowTransport(), deadline_seconds=0.02) as neighbours:
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(NeighbourUnavailable):
                await ask(neighbours)
        with pytest.raises(NeighbourUnavailable) as caught:
            await ask(neighbours)
    assert isinstance(caught.value.__cause__, CircuitOpen)


async def test_the_time_that_is_left_goes_along(calls: Calls) -> None:
    """A neighbour hears how long its answer is waited for: as long as the call may take, or its own caller waits."""
    network = Recovering()
    async with calls.over(network) as neighbours:
        await ask(neighbours)
        async with within(5):
            await ask(neighbours)
    announced = [int(request.headers["X-Envoy-Expected-Rq-Timeout-Ms"]) for request in network.requests]
    assert 25_000 < announced[0] <= 30_000
    assert 1_000 < announced[1] <= 5_000
