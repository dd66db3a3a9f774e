"""services/billing/orders.py, with its table, between the real Billing and Product services"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest
from typing_extensions import override

from mstoken import UserCaller
from mstoken.testing import FakeFirebase
from services.billing.app import MIGRATIONS
from services.billing.bills import Bill, BillLine, Bills
from services.billing.errors import BillInProgress, NeighbourUnavailable, OutOfStock
from services.billing.order_store import OrderStore
from services.billing.orders import KEY_LIFETIME, LEASE, PATIENCE, IdempotencyKey, Lease, Order, OrderItem, Orders
from services.billing.reservations import ReservationLine, Reservations
from services.billing.store import BillStore
from services.common.database import Database
from services.common.pages import PageRequest
from services.common.shapes import Money
from services.product.reservations import HOLD
from tests.clock import MovableTime
from tests.services.billing.conftest import Shop, open_shop
from tests.services.conftest import NewDatabase
from tests.services.shop import answered, eventually, refused


class Crash(BaseException):
    """The end of a process: nothing that catches errors is asked any more."""


class CrashingWay(httpx.AsyncBaseTransport):
    """A way to Product on which Billing ends: at a request that matches `at`, before or after Product has served it."""

    def __init__(self, way: httpx.AsyncBaseTransport, at: str, *, after: bool) -> None:
        self._way = way
        self._at = at
        self._after = after

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        ends = re.fullmatch(self._at, f"{request.method} {request.url.path}")
        if ends and not self._after:
            raise Crash
        response = await self._way.handle_async_request(request)
        if ends:
            raise Crash
        return response


RESERVE, COMMIT, RELEASE = "POST /reservations", r"POST /reservations/\w+/commit", r"DELETE /reservations/\w+"


def crashes(shop: Shop, at: str, *, after: bool) -> None:
    """From now on Billing ends there."""
    shop.to_product.fate = CrashingWay(shop.to_product.way, at, after=after)


def kinds(requests: list[httpx.Request]) -> list[str]:
    """What was asked of Product, without ids."""
    return [f"{request.method} {request.url.path.split('/')[-1]}" for request in requests]


async def has_stock(shop: Shop, product: dict[str, Any], count: int) -> bool:
    return await shop.stock_of(product) == count


async def has_bills(shop: Shop, count: int) -> bool:
    return len(await shop.bills()) == count


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("at", "after"),
    [(RESERVE, False), (RESERVE, True), (COMMIT, False), (COMMIT, True)],
    ids=["after pending", "after reserving", "before selling", "after selling"],
)
@pytest.mark.parametrize("wait", [timedelta(), HOLD * 1.5], ids=["at once", "after the reservation expired"])
async def test_a_crash_and_the_next_start(shop: Shop, at: str, after: bool, wait: timedelta) -> None:
    """Wherever Billing ends, at its next start it makes the one bill that was asked for, and stock is right."""
    kettle = await shop.offer(stock=10)
    crashes(shop, at, after=after)
    with pytest.raises(Crash):
        await shop.order((kettle["id"], 3), key="k")
    shop.to_product.fate = None
    assert await shop.bills() == []
    refused(await shop.order((kettle["id"], 3), key="k"), 409, "bill_in_progress")
    shop.time.advance(LEASE + wait)
    is_sold = at == COMMIT and after
    is_held = (at, after) != (RESERVE, False) and not wait
    in_stock = 7 if is_sold or is_held else 10
    async with shop.another_product():
        await eventually(lambda: has_stock(shop, kettle, in_stock))
    async with shop.another_billing():
        await eventually(lambda: has_bills(shop, 1))
    [bill] = await shop.bills()
    assert answered(await shop.order((kettle["id"], 3), key="k"), 201) == bill
    assert bill["total"] == {"amount": 3 * 4990, "currency": "USD"}
    assert await shop.stock_of(kettle) == 7


@pytest.mark.parametrize("after", [False, True])
async def test_a_crash_while_an_order_is_refused(shop: Shop, after: bool) -> None:
    """An order that was refused before Billing ended stays refused, and what it may have held is given back."""
    dollars, euros = await shop.offer(), await shop.offer(price={"amount": 1, "currency": "EUR"})
    crashes(shop, RELEASE, after=after)
    with pytest.raises(Crash):
        await shop.order((dollars["id"], 1), (euros["id"], 1), key="k")
    shop.to_product.fate = None
    shop.time.advance(LEASE)
    refused(await shop.order((dollars["id"], 1), (euros["id"], 1), key="k"), 422, "currencies_mixed")
    assert await shop.bills() == []
    assert (await shop.stock_of(dollars), await shop.stock_of(euros)) == (10, 10)


async def test_the_same_request_takes_an_order_over(shop: Shop) -> None:
    """A customer who asks again after a crash, once its lease has run out, gets the bill by that."""
    kettle = await shop.offer(stock=10)
    crashes(shop, COMMIT, after=True)
    with pytest.raises(Crash):
        await shop.order((kettle["id"], 3), key="k")
    shop.to_product.fate = None
    shop.time.advance(LEASE)
    bill = answered(await shop.order((kettle["id"], 3), key="k"), 201)
    assert await shop.bills() == [bill]
    assert await shop.stock_of(kettle) == 7


@pytest.mark.both_databases
async def test_many_processes_start_after_a_crash(new_database: NewDatabase, firebase: FakeFirebase) -> None:
    """Of several processes that start after a crash one takes the order over; there is one bill."""
    async with open_shop(new_database, firebase, deadline_seconds=30) as shop:
        kettle = await shop.offer(stock=10)
        crashes(shop, RESERVE, after=True)
        with pytest.raises(Crash):
            await shop.order((kettle["id"], 3), key="k")
        shop.to_product.fate = None
        shop.to_product.requests.clear()
        shop.time.advance(LEASE)
        async with shop.another_billing(), shop.another_billing(), shop.another_billing():
            await eventually(lambda: has_bills(shop, 1))
        assert kinds(shop.to_product.requests) == ["POST reservations", "POST commit"]
        assert await shop.stock_of(kettle) == 7


@pytest.mark.parametrize("fate", [httpx.ConnectError("refused"), httpx.Response(503), httpx.Response(404)])
async def test_an_outage_is_no_last_word(shop: Shop, fate: httpx.Response | Exception) -> None:
    """A request that met an outage may be sent again under its key, at once, and then makes its bill."""
    kettle = await shop.offer()
    shop.to_product.meets(fate)
    assert (await shop.order((kettle["id"], 1), key="k")).status_code in (502, 503)
    shop.to_product.fate = None
    bill = answered(await shop.order((kettle["id"], 1), key="k"), 201)
    assert await shop.bills() == [bill]


async def test_an_outage_that_the_customer_does_not_wait_for(shop: Shop) -> None:
    """An order that met an outage comes to its bill by itself, once Product is back."""
    kettle = await shop.offer()
    shop.to_product.meets(httpx.Response(503))
    refused(await shop.order((kettle["id"], 1)), 503, "product_unavailable")
    shop.to_product.fate = None
    async with shop.another_billing():
        await eventually(lambda: has_bills(shop, 1))


async def test_an_outage_that_lasts(shop: Shop) -> None:
    """A bill that could not be made for too long is given up: nothing is held for it, and its key says so."""
    kettle = await shop.offer(stock=10)
    crashes(shop, COMMIT, after=False)
    with pytest.raises(Crash):
        await shop.order((kettle["id"], 3), key="k")
    shop.to_product.fate = None
    shop.time.advance(PATIENCE + timedelta(seconds=1))
    refused(await shop.order((kettle["id"], 3), key="k"), 409, "order_given_up")
    refused(await shop.order((kettle["id"], 3), key="k"), 409, "order_given_up")
    assert await shop.bills() == []
    assert await shop.stock_of(kettle) == 10
    answered(await shop.order((kettle["id"], 3), key="other"), 201)


async def test_what_is_sold_is_not_given_up(shop: Shop) -> None:
    """An order whose items were sold before a long outage gets its bill, however late."""
    kettle = await shop.offer(stock=10)
    crashes(shop, COMMIT, after=True)
    with pytest.raises(Crash):
        await shop.order((kettle["id"], 3), key="k")
    shop.to_product.fate = None
    shop.time.advance(PATIENCE * 2)
    bill = answered(await shop.order((kettle["id"], 3), key="k"), 201)
    assert await shop.bills() == [bill]
    assert await shop.stock_of(kettle) == 7


async def test_one_order_that_cannot_be_made_does_not_keep_others_waiting(shop: Shop) -> None:
    """After a crash, orders that are refused meanwhile are abandoned, and those behind them are made."""
    kettle, cups = await shop.offer(stock=10), await shop.offer(stock=10)
    for product in kettle, cups:
        crashes(shop, RESERVE, after=False)
        with pytest.raises(Crash):
            await shop.order((product["id"], 3), key=product["id"])
    shop.to_product.fate = None
    await shop.product.delete(f"/products/{kettle['id']}", headers=shop.admin)
    shop.time.advance(LEASE)
    async with shop.another_billing():
        await eventually(lambda: has_bills(shop, 1))
    refused(await shop.order((kettle["id"], 3), key=kettle["id"]), 422, "product_unknown")


async def test_an_abandoned_order_is_no_bill(shop: Shop) -> None:
    """What was refused is in no list and under no id, for an administrator neither, and what it held is given back."""
    kettle, cups = await shop.offer(stock=10), await shop.offer(stock=0)
    refused(await shop.order((kettle["id"], 1), (cups["id"], 1)), 409, "out_of_stock")
    assert await shop.bills(shop.admin) == []
    bill_id = shop.to_product.requests[-1].url.path.split("/")[-1]
    refused(await shop.billing.get(f"/bills/{bill_id}", headers=shop.maya), 404, "bill_not_found")
    assert await shop.stock_of(kettle) == 10


async def test_a_key_is_kept_for_a_day(shop: Shop) -> None:
    """For 24 hours a key gives its first answer, then it is forgotten and makes another bill; the first bill stays."""
    assert timedelta(hours=24) == KEY_LIFETIME
    kettle = await shop.offer(stock=2)
    bill = answered(await shop.order((kettle["id"], 1), key="k"), 201)
    refused(await shop.order((kettle["id"], 9), key="short"), 409, "out_of_stock")
    shop.time.advance(KEY_LIFETIME - timedelta(minutes=1))
    assert answered(await shop.order((kettle["id"], 1), key="k"), 201) == bill
    shop.time.advance(timedelta(minutes=2))
    another = answered(await shop.order((kettle["id"], 1), key="k"), 201)
    assert another["id"] != bill["id"]
    assert await shop.bills() == [another, bill]
    await shop.product.patch(f"/products/{kettle['id']}", json={"stock": 9}, headers=shop.admin)
    answered(await shop.order((kettle["id"], 9), key="short"), 201)


@pytest.mark.both_databases
async def test_two_hundred_customers_and_a_hundred_units(new_database: NewDatabase, firebase: FakeFirebase) -> None:
    """Of 200 customers who want one of the last 100, exactly 100 get it, whatever they meet on the way."""
    async with open_shop(new_database, firebase, deadline_seconds=30) as shop:
        kettle = await shop.offer(stock=100)

        async def buy(number: int) -> tuple[str, str]:
            customer = shop.firebase.user_headers(f"customer-{number}")
            while True:
                response = await shop.order((kettle["id"], 1), by=customer, key="k")
                answer = response.json()
                if response.status_code == 201:
                    return "bought", answer["id"]
                if answer["code"] == "out_of_stock":
                    return answer["code"], ""
                assert "Retry-After" in response.headers, answer
                await asyncio.sleep(0.1)

        ends = await asyncio.gather(*(buy(number) for number in range(200)))
        assert Counter(end for end, _ in ends) == {"bought": 100, "out_of_stock": 100}
        assert await shop.stock_of(kettle) == 0
        sold = {bill["id"] for bill in await shop.bills(shop.admin)}
        assert sold == {bill_id for end, bill_id in ends if end == "bought"}


class FakeReservations(Reservations):
    """A Product that has enough of everything. `meanwhile` happens once, while Product serves that call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.sold: set[str] = set()
        self.expiries = 0
        self.refusal: OutOfStock | None = None
        self.meanwhile: dict[str, Callable[[], Awaitable[None]]] = {}

    @override
    async def hold(self, bill_id: str, items: Sequence[OrderItem]) -> Sequence[ReservationLine]:
        await self._serve("hold")
        if self.refusal is not None:
            raise self.refusal
        price = Money(amount=1, currency="USD")
        return [ReservationLine(product_id=item.product_id, name="x", price=price, quantity=1) for item in items]

    @override
    async def commit(self, bill_id: str) -> bool:
        await self._serve("commit")
        if self.expiries:
            self.expiries -= 1
            return False
        self.sold.add(bill_id)
        return True

    @override
    async def release(self, bill_id: str) -> bool:
        await self._serve("release")
        return bill_id not in self.sold

    async def _serve(self, call: str) -> None:
        self.calls.append(call)
        if (event := self.meanwhile.pop(call, None)) is not None:
            await event()


MAYA = UserCaller("maya", None, None, None, 0, 0)


class Workshop:
    """Orders in a database, a Product of a few lines, and two workers."""

    def __init__(self, database: Database) -> None:
        self.time = MovableTime()
        self.reservations = FakeReservations()
        self.store = OrderStore(database)
        self.bills = Bills(BillStore(database))
        self.one, self.two = (Orders(self.store, self.bills, self.reservations, clock=self.time) for _ in range(2))

    async def order(self) -> Bill:
        return await self.one.place(MAYA, [OrderItem("kettle", 1)], "k")

    async def made(self) -> list[str]:
        """The ids of all bills."""
        return [bill.id for bill in (await self.bills.page(MAYA, PageRequest()))[0]]

    async def taken_over(self) -> None:
        """The first worker was too slow: the second brings its orders to their end."""
        self.time.advance(LEASE)
        await self.two.resume()


@pytest.fixture
async def workshop(database_url: str) -> AsyncIterator[Workshop]:
    """A workshop with nothing to do."""
    database = Database(database_url, MIGRATIONS)
    await database.open()
    yield Workshop(database)
    await database.close()


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("call", "calls"),
    [("hold", ["hold", "hold", "commit"]), ("commit", ["hold", "commit", "hold", "commit"])],
)
async def test_a_worker_that_is_too_slow(workshop: Workshop, call: str, calls: list[str]) -> None:
    """A worker whose order another worker has finished meanwhile takes no further step, and does not make the bill."""
    workshop.reservations.meanwhile[call] = workshop.taken_over
    with pytest.raises(BillInProgress):
        await workshop.order()
    assert workshop.reservations.calls == calls
    [made] = await workshop.made()
    assert workshop.reservations.sold == {made}
    assert (await workshop.order()).id == made


@pytest.mark.both_databases
@pytest.mark.parametrize("call", ["hold", "commit", "release"])
async def test_a_worker_that_has_lost_its_lease(workshop: Workshop, call: str) -> None:
    """A worker whose order another worker holds now neither makes the bill nor gives the order up."""

    async def lose_the_lease() -> None:
        workshop.time.advance(LEASE)
        [order_id] = await workshop.store.due(at=workshop.time(), limit=1)
        lease = Lease("another's", workshop.time() + LEASE)
        assert await workshop.store.take(order_id, lease, at=workshop.time()) is not None

    workshop.reservations.refusal = OutOfStock() if call == "release" else None
    workshop.reservations.meanwhile[call] = lose_the_lease
    with pytest.raises(BillInProgress):
        await workshop.order()
    assert await workshop.made() == []
    order = await workshop.store.under_key("maya", "k")
    assert order is not None
    assert order.status == "pending"


@pytest.mark.both_databases
@pytest.mark.parametrize("refusal", [None, OutOfStock()])
async def test_a_settled_order_is_left_alone(workshop: Workshop, refusal: OutOfStock | None) -> None:
    """An order that is issued or abandoned is not worked on again when its lease has run out, nor under that lease."""
    lease = Lease("mine", workshop.time() + LEASE)
    order = Order("o", "maya", IdempotencyKey.of("k", []), [OrderItem("kettle", 1)], workshop.time())
    bill = Bill("o", "maya", "issued", workshop.time(), "USD", [BillLine("kettle", "x", 1, 1)])
    await workshop.store.add(order, lease, forget_before=workshop.time())
    assert await (workshop.store.abandon("o", lease) if refusal else workshop.store.issue(bill, lease))
    workshop.time.advance(LEASE)
    await workshop.two.resume()
    assert workshop.reservations.calls == []
    assert not await workshop.store.renew("o", lease)
    assert not await workshop.store.refuse("o", lease, OutOfStock())
    assert not await workshop.store.abandon("o", lease)
    assert not await workshop.store.issue(bill, lease)


@pytest.mark.both_databases
@pytest.mark.parametrize(("reserving", "selling"), [(0.51, 0.5), (0.9, 0.9)])
async def test_a_worker_renews_its_lease_before_the_sale(workshop: Workshop, reserving: float, selling: float) -> None:
    """If reserving took more than half of the lease, the worker renews it, and no other worker sells the same order."""

    async def reserve_slowly() -> None:
        workshop.time.advance(LEASE * reserving)

    async def sell_slowly() -> None:
        workshop.time.advance(LEASE * selling)
        await workshop.two.resume()

    workshop.reservations.meanwhile = {"hold": reserve_slowly, "commit": sell_slowly}
    bill = await workshop.order()
    assert workshop.reservations.calls == ["hold", "commit"]
    assert await workshop.made() == [bill.id]
    assert await workshop.store.due(at=workshop.time(), limit=1) == []


@pytest.mark.both_databases
async def test_a_worker_that_is_broken_off(workshop: Workshop) -> None:
    """An order whose worker is cancelled, since its time is over or its process ends, waits for nobody's lease."""
    is_asked = asyncio.Event()

    async def never_answer() -> None:
        is_asked.set()
        await asyncio.Event().wait()

    workshop.reservations.meanwhile["commit"] = never_answer
    worker = asyncio.create_task(workshop.order())
    await is_asked.wait()
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker
    bill = await workshop.order()
    assert await workshop.made() == [bill.id]


@pytest.mark.both_databases
async def test_a_reservation_that_expired_is_made_again(workshop: Workshop) -> None:
    """A bill whose reservation was given back before the sale reserves again."""
    workshop.reservations.expiries = 1
    bill = await workshop.order()
    assert workshop.reservations.calls == ["hold", "commit", "hold", "commit"]
    assert await workshop.made() == [bill.id]


@pytest.mark.both_databases
async def test_reservations_that_expire_always(workshop: Workshop) -> None:
    """A bill whose reservations do not hold is left for later."""
    workshop.reservations.expiries = 3
    with pytest.raises(NeighbourUnavailable):
        await workshop.order()
    assert await workshop.made() == []
    await workshop.two.resume()
    assert len(await workshop.made()) == 1


@pytest.mark.both_databases
async def test_an_order_is_refused_by_one_worker_and_sold_by_another(workshop: Workshop) -> None:
    """What is sold gets its bill, also from a worker who was told before that there is not enough."""
    workshop.reservations.refusal = OutOfStock()

    async def sell() -> None:
        workshop.reservations.refusal = None
        [order_id] = await workshop.store.due(at=workshop.time() + LEASE, limit=1)
        workshop.reservations.sold.add(order_id)

    workshop.reservations.meanwhile["release"] = sell
    bill = await workshop.order()
    assert await workshop.made() == [bill.id]


@pytest.mark.both_databases
@pytest.mark.parametrize("call", ["hold", "release"])
async def test_a_refusal_that_comes_too_late(workshop: Workshop, call: str) -> None:
    """A worker whose order another one has brought to its end refuses nothing any more."""
    workshop.reservations.refusal = OutOfStock("There are 0 of kettle.")
    workshop.reservations.meanwhile[call] = workshop.taken_over
    with pytest.raises(BillInProgress):
        await workshop.order()
    with pytest.raises(OutOfStock, match=r"There are 0 of kettle\."):
        await workshop.order()
    assert await workshop.made() == []


@pytest.mark.both_databases
async def test_orders_of_long_ago_are_forgotten(workshop: Workshop) -> None:
    """After a day a settled order is forgotten, and its bill is not; one that is not settled waits on."""
    bill = await workshop.order()
    workshop.reservations.expiries = 3
    with pytest.raises(NeighbourUnavailable):
        await workshop.one.place(MAYA, [OrderItem("kettle", 1)], "another")
    await workshop.one.forget()
    assert await workshop.store.under_key("maya", "k") is not None
    workshop.time.advance(KEY_LIFETIME + timedelta(minutes=1))
    await workshop.one.forget()
    await workshop.two.forget()
    assert await workshop.store.under_key("maya", "k") is None
    assert await workshop.store.under_key("maya", "another") is not None
    assert await workshop.made() == [bill.id]
