"""services/billing/orders.py and order_store.py, with the real Product service"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from typing_extensions import override

from mstoken import UserCaller
from mstoken.testing import FakeFirebase
from services.billing.app import MIGRATIONS
from services.billing.bills import Bill, BillLine, Bills
from services.billing.errors import BillInProgress, NeighbourUnavailable, OutOfStock, ProductFailed
from services.billing.neighbours import DEADLINE_SECONDS
from services.billing.order_store import OrderStore
from services.billing.orders import (
    KEEP_KEYS,
    KEY_LIFETIME,
    LEASE,
    PATIENCE,
    PRODUCT_REMEMBERS,
    IdempotencyKey,
    Lease,
    Order,
    OrderItem,
    Orders,
)
from services.billing.reservations import ReservationLine, Reservations
from services.billing.store import BillStore
from services.common.database import Database
from services.common.errors import DatabaseUnavailable
from services.common.late_writes import LateWrites, Write
from services.common.pages import PageRequest
from services.common.shapes import Money
from services.product.reservations import HOLD
from tests.clock import MovableTime
from tests.postgresql import PostgresServer
from tests.services.billing.conftest import Shop, open_shop
from tests.services.conftest import NewDatabase, migrate, run_in_thread
from tests.services.shop import HeldTransport, answered, eventually, refused

CUSTOMERS_AT_ONCE = 50
"""More than a process has database connections. All of 200 would wait so long on a busy machine that none gets one."""


class Crash(BaseException):
    """The end of a process. It is not an Exception, so nothing handles it."""


class CrashingTransport(httpx.AsyncBaseTransport):
    """A network to Product. Billing crashes at a request that matches `at`, before or after Product serves it."""

    def __init__(self, transport: httpx.AsyncBaseTransport, at: str, *, after: bool) -> None:
        self._transport = transport
        self._at = at
        self._after = after

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        ends = re.fullmatch(self._at, f"{request.method} {request.url.path}")
        if ends and not self._after:
            raise Crash
        response = await self._transport.handle_async_request(request)
        if ends:
            raise Crash
        return response


RESERVE, COMMIT, RELEASE = "POST /reservations", r"POST /reservations/\w+/commit", r"DELETE /reservations/\w+"


def crash_at(shop: Shop, at: str, *, after: bool) -> None:
    """From now on, Billing crashes at these requests."""
    shop.to_product.outcome = CrashingTransport(shop.to_product.transport, at, after=after)


def kinds(requests: list[httpx.Request]) -> list[str]:
    """Return the method and the last part of the path of each request."""
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
    """Wherever Billing crashes, its next start issues the one bill that was requested, and the stock is right."""
    kettle = await shop.offer(stock=10)
    crash_at(shop, at, after=after)
    with pytest.raises(Crash):
        await shop.order((kettle["id"], 3), key="k")
    shop.to_product.outcome = None
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
    """An order that was refused before a crash stays refused, and what was held for it is put back."""
    dollars, euros = await shop.offer(), await shop.offer(price={"amount": 1, "currency": "EUR"})
    crash_at(shop, RELEASE, after=after)
    with pytest.raises(Crash):
        await shop.order((dollars["id"], 1), (euros["id"], 1), key="k")
    shop.to_product.outcome = None
    shop.time.advance(LEASE)
    refused(await shop.order((dollars["id"], 1), (euros["id"], 1), key="k"), 422, "currencies_mixed")
    assert await shop.bills() == []
    assert (await shop.stock_of(dollars), await shop.stock_of(euros)) == (10, 10)


async def test_the_same_request_continues_an_order(shop: Shop) -> None:
    """After a crash, when the lease has expired, the same request gets the bill."""
    kettle = await shop.offer(stock=10)
    crash_at(shop, COMMIT, after=True)
    with pytest.raises(Crash):
        await shop.order((kettle["id"], 3), key="k")
    shop.to_product.outcome = None
    shop.time.advance(LEASE)
    bill = answered(await shop.order((kettle["id"], 3), key="k"), 201)
    assert await shop.bills() == [bill]
    assert await shop.stock_of(kettle) == 7


@pytest.mark.both_databases
async def test_many_processes_start_after_a_crash(new_database: NewDatabase, firebase: FakeFirebase) -> None:
    """Of several processes that start after a crash one continues with the order, and there is one bill."""
    async with open_shop(new_database, firebase, deadline_seconds=30) as shop:
        kettle = await shop.offer(stock=10)
        crash_at(shop, RESERVE, after=True)
        with pytest.raises(Crash):
            await shop.order((kettle["id"], 3), key="k")
        shop.to_product.outcome = None
        shop.to_product.requests.clear()
        shop.time.advance(LEASE)
        async with shop.another_billing(), shop.another_billing(), shop.another_billing():
            await eventually(lambda: has_bills(shop, 1))
        assert kinds(shop.to_product.requests) == ["POST reservations", "POST commit"]
        assert await shop.stock_of(kettle) == 7


@pytest.mark.parametrize("outcome", [httpx.ConnectError("refused"), httpx.Response(503), httpx.Response(404)])
async def test_a_request_after_an_outage(shop: Shop, outcome: httpx.Response | Exception) -> None:
    """A request that met an outage may be sent again at once under its key, and gets its bill."""
    kettle = await shop.offer()
    shop.to_product.answers_with(outcome)
    assert (await shop.order((kettle["id"], 1), key="k")).status_code in (502, 503)
    shop.to_product.outcome = None
    bill = answered(await shop.order((kettle["id"], 1), key="k"), 201)
    assert await shop.bills() == [bill]


async def test_an_order_is_finished_after_an_outage(shop: Shop) -> None:
    """An order that met an outage is finished when Product is back, even if the customer does not ask again."""
    kettle = await shop.offer()
    shop.to_product.answers_with(httpx.Response(503))
    refused(await shop.order((kettle["id"], 1)), 503, "product_unavailable")
    shop.to_product.outcome = None
    async with shop.another_billing():
        await eventually(lambda: has_bills(shop, 1))


async def test_an_outage_that_lasts_too_long(shop: Shop) -> None:
    """An order that could not be finished for too long is abandoned: nothing is held for it, and its key says so."""
    kettle = await shop.offer(stock=10)
    crash_at(shop, COMMIT, after=False)
    with pytest.raises(Crash):
        await shop.order((kettle["id"], 3), key="k")
    shop.to_product.outcome = None
    shop.time.advance(PATIENCE + timedelta(seconds=1))
    refused(await shop.order((kettle["id"], 3), key="k"), 409, "order_given_up")
    refused(await shop.order((kettle["id"], 3), key="k"), 409, "order_given_up")
    assert await shop.bills() == []
    assert await shop.stock_of(kettle) == 10
    answered(await shop.order((kettle["id"], 3), key="other"), 201)


async def test_a_sold_order_is_not_given_up(shop: Shop) -> None:
    """An order whose items were sold before a long outage gets its bill, however late."""
    kettle = await shop.offer(stock=10)
    crash_at(shop, COMMIT, after=True)
    with pytest.raises(Crash):
        await shop.order((kettle["id"], 3), key="k")
    shop.to_product.outcome = None
    shop.time.advance(PATIENCE * 2)
    bill = answered(await shop.order((kettle["id"], 3), key="k"), 201)
    assert await shop.bills() == [bill]
    assert await shop.stock_of(kettle) == 7


async def test_a_refused_order_does_not_block_others(shop: Shop) -> None:
    """After a crash, an order that is refused now is abandoned, and the orders after it are finished."""
    kettle, cups = await shop.offer(stock=10), await shop.offer(stock=10)
    for product in kettle, cups:
        crash_at(shop, RESERVE, after=False)
        with pytest.raises(Crash):
            await shop.order((product["id"], 3), key=product["id"])
    shop.to_product.outcome = None
    await shop.product.delete(f"/products/{kettle['id']}", headers=shop.admin)
    shop.time.advance(LEASE)
    async with shop.another_billing():
        await eventually(lambda: has_bills(shop, 1))
    refused(await shop.order((kettle["id"], 3), key=kettle["id"]), 422, "product_unknown")


async def test_an_abandoned_order_is_no_bill(shop: Shop) -> None:
    """A refused order is in no list and under no id, not even for an administrator, and what it held is put back."""
    kettle, cups = await shop.offer(stock=10), await shop.offer(stock=0)
    refused(await shop.order((kettle["id"], 1), (cups["id"], 1)), 409, "out_of_stock")
    assert await shop.bills(shop.admin) == []
    bill_id = shop.to_product.requests[-1].url.path.split("/")[-1]
    refused(await shop.billing.get(f"/bills/{bill_id}", headers=shop.maya), 404, "bill_not_found")
    assert await shop.stock_of(kettle) == 10


async def test_a_key_is_kept_for_a_day(shop: Shop) -> None:
    """For 24 hours a key gets the first answer. Then it may be used for another bill. The first bill stays."""
    assert timedelta(hours=24) == KEY_LIFETIME
    kettle = await shop.offer(stock=2)
    bill = answered(await shop.order((kettle["id"], 1), key="k"), 201)
    refused(await shop.order((kettle["id"], 9), key="short"), 409, "out_of_stock")
    shop.time.advance(KEY_LIFETIME - timedelta(minutes=1))
    assert answered(await shop.order((kettle["id"], 1), key="k"), 201) == bill
    shop.time.advance(timedelta(minutes=4))
    another = answered(await shop.order((kettle["id"], 1), key="k"), 201)
    assert another["id"] != bill["id"]
    assert await shop.bills() == [another, bill]
    await shop.product.patch(f"/products/{kettle['id']}", json={"stock": 9}, headers=shop.admin)
    answered(await shop.order((kettle["id"], 9), key="short"), 201)


@pytest.mark.both_databases
@pytest.mark.slow
async def test_two_hundred_customers_and_a_hundred_units(new_database: NewDatabase, firebase: FakeFirebase) -> None:
    """Of 200 customers who want one of the last 100 units, exactly 100 get one."""
    async with open_shop(new_database, firebase, deadline_seconds=30) as shop:
        kettle = await shop.offer(stock=100)
        places = asyncio.Semaphore(CUSTOMERS_AT_ONCE)

        async def buy(number: int) -> tuple[str, str]:
            customer = shop.firebase.user_headers(f"customer-{number}")
            while True:
                async with places:
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
    """A Product that has enough of everything. The functions in `meanwhile` run once, during the call of that name."""

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


class OrderScenario:
    """Orders in a database, a fake Product, and two workers."""

    def __init__(self, database: Database) -> None:
        self.time = MovableTime()
        self.reservations = FakeReservations()
        self.store = OrderStore(database)
        self.bills = Bills(BillStore(database))
        self.late_writes = LateWrites()
        self.one, self.two = (
            Orders(self.store, self.bills, self.reservations, self.late_writes, clock=self.time) for _ in range(2)
        )

    async def order(self) -> Bill:
        return await self.one.place(MAYA, [OrderItem("kettle", 1)], "k")

    async def bill_ids(self) -> list[str]:
        """Return the ids of all bills."""
        return [bill.id for bill in (await self.bills.page(MAYA, PageRequest()))[0]]

    async def finish_in_another_worker(self) -> None:
        """Let the lease of the first worker expire, and the second worker finish its orders."""
        self.time.advance(LEASE)
        await self.two.resume()


@pytest.fixture
async def scenario(database_url: str) -> AsyncIterator[OrderScenario]:
    """A database without orders."""
    database = Database(database_url, MIGRATIONS)
    await database.open()
    yield OrderScenario(database)
    await database.close()


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("call", "calls"),
    [("hold", ["hold", "hold", "commit"]), ("commit", ["hold", "commit", "hold", "commit"])],
)
async def test_a_worker_that_is_too_slow(scenario: OrderScenario, call: str, calls: list[str]) -> None:
    """A worker whose order was finished by another worker takes no further step, and does not issue the bill."""
    scenario.reservations.meanwhile[call] = scenario.finish_in_another_worker
    with pytest.raises(BillInProgress):
        await scenario.order()
    assert scenario.reservations.calls == calls
    [bill_ids] = await scenario.bill_ids()
    assert scenario.reservations.sold == {bill_ids}
    assert (await scenario.order()).id == bill_ids


@pytest.mark.both_databases
@pytest.mark.parametrize("call", ["hold", "commit", "release"])
async def test_a_worker_that_has_lost_its_lease(scenario: OrderScenario, call: str) -> None:
    """A worker whose order is held by another worker neither issues the bill nor abandons the order."""

    async def lose_the_lease() -> None:
        scenario.time.advance(LEASE)
        [order_id] = await scenario.store.due(at=scenario.time(), limit=1)
        lease = Lease("another's", scenario.time() + LEASE)
        assert await scenario.store.take(order_id, lease, at=scenario.time()) is not None

    scenario.reservations.refusal = OutOfStock() if call == "release" else None
    scenario.reservations.meanwhile[call] = lose_the_lease
    with pytest.raises(BillInProgress):
        await scenario.order()
    assert await scenario.bill_ids() == []
    order = await scenario.store.under_key("maya", "k")
    assert order is not None
    assert order.status == "pending"


@pytest.mark.both_databases
@pytest.mark.parametrize("refusal", [None, OutOfStock()])
async def test_a_settled_order_is_left_alone(scenario: OrderScenario, refusal: OutOfStock | None) -> None:
    """An issued or abandoned order is not taken again when its lease has expired, nor changed under that lease."""
    lease = Lease("mine", scenario.time() + LEASE)
    order = Order("o", "maya", IdempotencyKey.of("k", []), [OrderItem("kettle", 1)], scenario.time())
    bill = Bill("o", "maya", "issued", scenario.time(), "USD", [BillLine("kettle", "x", 1, 1)])
    await scenario.store.add(order, lease, forget_before=scenario.time())
    assert await (scenario.store.abandon("o", lease) if refusal else scenario.store.issue(bill, lease))
    scenario.time.advance(LEASE)
    await scenario.two.resume()
    assert scenario.reservations.calls == []
    assert not await scenario.store.renew("o", lease)
    assert not await scenario.store.refuse("o", lease, OutOfStock())
    assert not await scenario.store.abandon("o", lease)
    assert not await scenario.store.issue(bill, lease)


def test_a_call_to_product_ends_before_a_renewed_lease() -> None:
    """A worker renews its lease when less than half of it is left, so half a lease must outlast a call to Product."""
    assert timedelta(seconds=DEADLINE_SECONDS) < LEASE / 2


@pytest.mark.both_databases
@pytest.mark.parametrize(("reserving", "selling"), [(0.51, 0.5), (0.9, 0.9)])
async def test_a_worker_renews_its_lease_before_the_sale(
    scenario: OrderScenario, reserving: float, selling: float
) -> None:
    """If reserving took more than half of the lease, the worker renews it, and no other worker sells the same order."""

    async def reserve_slowly() -> None:
        scenario.time.advance(LEASE * reserving)

    async def sell_slowly() -> None:
        scenario.time.advance(LEASE * selling)
        await scenario.two.resume()

    scenario.reservations.meanwhile = {"hold": reserve_slowly, "commit": sell_slowly}
    bill = await scenario.order()
    assert scenario.reservations.calls == ["hold", "commit"]
    assert await scenario.bill_ids() == [bill.id]
    assert await scenario.store.due(at=scenario.time(), limit=1) == []


@pytest.mark.both_databases
async def test_a_cancelled_worker(scenario: OrderScenario) -> None:
    """An order whose worker is cancelled can be continued at once, without waiting for its lease."""
    is_asked = asyncio.Event()

    async def never_answer() -> None:
        is_asked.set()
        await asyncio.Event().wait()

    scenario.reservations.meanwhile["commit"] = never_answer
    worker = asyncio.create_task(scenario.order())
    await is_asked.wait()
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker
    bill = await scenario.order()
    assert await scenario.bill_ids() == [bill.id]


@pytest.mark.both_databases
async def test_a_reservation_that_expired_is_made_again(scenario: OrderScenario) -> None:
    """If the reservation expires before the sale, the items are reserved again."""
    scenario.reservations.expiries = 1
    bill = await scenario.order()
    assert scenario.reservations.calls == ["hold", "commit", "hold", "commit"]
    assert await scenario.bill_ids() == [bill.id]


@pytest.mark.both_databases
async def test_reservations_that_expire_every_time(scenario: OrderScenario) -> None:
    """If the reservations expire every time, the order is left for later."""
    scenario.reservations.expiries = 3
    with pytest.raises(NeighbourUnavailable):
        await scenario.order()
    assert await scenario.bill_ids() == []
    await scenario.two.resume()
    assert len(await scenario.bill_ids()) == 1


@pytest.mark.both_databases
async def test_an_order_is_refused_by_one_worker_and_sold_by_another(scenario: OrderScenario) -> None:
    """A worker that was refused issues the bill if another worker has sold the items in the meantime."""
    scenario.reservations.refusal = OutOfStock()

    async def sell() -> None:
        scenario.reservations.refusal = None
        [order_id] = await scenario.store.due(at=scenario.time() + LEASE, limit=1)
        scenario.reservations.sold.add(order_id)

    scenario.reservations.meanwhile["release"] = sell
    bill = await scenario.order()
    assert await scenario.bill_ids() == [bill.id]


@pytest.mark.both_databases
@pytest.mark.parametrize("call", ["hold", "release"])
async def test_a_refusal_that_comes_too_late(scenario: OrderScenario, call: str) -> None:
    """A worker whose order was settled by another worker does not refuse it again."""
    scenario.reservations.refusal = OutOfStock("There are 0 of kettle.")
    scenario.reservations.meanwhile[call] = scenario.finish_in_another_worker
    with pytest.raises(BillInProgress):
        await scenario.order()
    with pytest.raises(OutOfStock, match=r"There are 0 of kettle\."):
        await scenario.order()
    assert await scenario.bill_ids() == []


@pytest.mark.both_databases
async def test_old_orders_are_forgotten(scenario: OrderScenario) -> None:
    """After a day a settled order is forgotten, and its bill stays. A pending order is not forgotten."""
    bill = await scenario.order()
    scenario.reservations.expiries = 3
    with pytest.raises(NeighbourUnavailable):
        await scenario.one.place(MAYA, [OrderItem("kettle", 1)], "another")
    await scenario.one.forget()
    assert await scenario.store.under_key("maya", "k") is not None
    scenario.time.advance(KEY_LIFETIME)
    await scenario.one.forget()
    assert await scenario.store.under_key("maya", "k") is not None
    scenario.time.advance(KEEP_KEYS - KEY_LIFETIME + LEASE)
    [forgotten, unfinished] = [await scenario.one.unforgotten(), await scenario.one.unfinished()]
    assert (forgotten.name, forgotten.count, forgotten.is_late) == ("expired idempotency keys", 1, False)
    assert (unfinished.name, unfinished.count, unfinished.is_late) == ("orders", 1, True)
    await scenario.one.forget()
    await scenario.two.forget()
    assert (await scenario.one.unforgotten()).count == 0
    assert await scenario.store.under_key("maya", "k") is None
    assert await scenario.store.under_key("maya", "another") is not None
    assert await scenario.bill_ids() == [bill.id]


class AwayStore(OrderStore):
    """Orders in a database that can be away. Transactions named in `breaks_after` are committed, and then break."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.is_away = False
        self.breaks_after: set[str] = set()

    def _check(self) -> None:
        if self.is_away:
            raise DatabaseUnavailable

    def _break(self, call: str) -> None:
        if call in self.breaks_after:
            self.is_away = True
            raise DatabaseUnavailable(maybe_written=True)

    @override
    async def add(self, order: Order, lease: Lease, *, forget_before: datetime) -> bool:
        self._check()
        added = await super().add(order, lease, forget_before=forget_before)
        self._break("add")
        return added

    @override
    async def take(self, order_id: str, lease: Lease, *, at: datetime) -> Order | None:
        self._check()
        taken = await super().take(order_id, lease, at=at)
        self._break("take")
        return taken

    @override
    async def free(self, order_id: str, lease: Lease, *, at: datetime) -> bool:
        self._check()
        return await super().free(order_id, lease, at=at)

    @override
    async def issue(self, bill: Bill, lease: Lease) -> bool:
        self._check()
        return await super().issue(bill, lease)


@pytest.fixture
async def away(scenario: OrderScenario) -> OrderScenario:
    """A scenario whose database can be away."""
    scenario.store = AwayStore(scenario.store._database)
    scenario.one, scenario.two = (
        Orders(scenario.store, scenario.bills, scenario.reservations, scenario.late_writes, clock=scenario.time)
        for _ in range(2)
    )
    return scenario


async def test_a_lease_is_freed_when_the_database_is_back(away: OrderScenario) -> None:
    """An order that met a database that was away can be continued as soon as it is back."""
    store = cast("AwayStore", away.store)

    async def go_away() -> None:
        store.is_away = True

    away.reservations.meanwhile["commit"] = go_away
    with pytest.raises(DatabaseUnavailable):
        await away.order()
    store.is_away = False
    with pytest.raises(BillInProgress):
        await away.order()
    await away.late_writes.settle()
    bill = await away.order()
    assert await away.bill_ids() == [bill.id]


@pytest.mark.parametrize("call", ["add", "take"])
async def test_a_lease_that_was_taken_by_a_commit_that_broke(away: OrderScenario, call: str) -> None:
    """If the connection breaks while the lease is taken, and it was taken, it is freed when the database is back."""
    store = cast("AwayStore", away.store)
    if call == "take":
        away.reservations.expiries = 3
        with pytest.raises(NeighbourUnavailable):
            await away.order()
    store.breaks_after = {call}
    with pytest.raises(DatabaseUnavailable):
        await away.order()
    store.is_away, store.breaks_after = False, set()
    await away.late_writes.settle()
    bill = await away.order()
    assert await away.bill_ids() == [bill.id]


async def test_when_to_ask_again(scenario: OrderScenario) -> None:
    """While the worker may be alive, ask in a second. When it must be dead, ask when its lease has ended."""
    order = Order(
        "o", "maya", IdempotencyKey.of("k", [OrderItem("kettle", 1)]), [OrderItem("kettle", 1)], scenario.time()
    )
    await scenario.store.add(order, Lease("dead", scenario.time() + LEASE), forget_before=scenario.time())

    async def wait_seconds() -> int:
        with pytest.raises(BillInProgress) as refused:
            await scenario.order()
        assert refused.value.retry_after_seconds is not None
        return refused.value.retry_after_seconds

    assert await wait_seconds() == 1
    scenario.time.advance(LEASE / 2)
    wait = await wait_seconds()
    assert 14 <= wait <= 15
    scenario.time.advance(timedelta(seconds=wait))
    await scenario.order()


@pytest.mark.both_databases
async def test_a_lease_that_a_wrong_clock_has_written(scenario: OrderScenario) -> None:
    """An order that was leased while the clock was 50 minutes ahead is finished at once when the clock is right."""
    ahead = timedelta(minutes=50)

    async def correct_the_clock_and_die() -> None:
        scenario.time.advance(-ahead)
        raise Crash

    scenario.time.advance(ahead)
    scenario.reservations.meanwhile["commit"] = correct_the_clock_and_die
    lost = Orders(scenario.store, scenario.bills, scenario.reservations, NoLateWrites(), clock=scenario.time)
    with pytest.raises(Crash):
        await lost.place(MAYA, [OrderItem("kettle", 1)], "k")
    await scenario.two.resume()
    bill = await scenario.order()
    assert await scenario.bill_ids() == [bill.id]


class NoLateWrites(LateWrites):
    """The late writes of a process that has died."""

    @override
    async def make(self, write: Write, *, useful_seconds: float) -> None: ...


async def test_a_database_that_is_away_for_a_moment(
    own_postgresql: PostgresServer, sqlite_databases: NewDatabase, firebase: FakeFirebase
) -> None:
    """Orders that lose a real PostgreSQL get their bills as soon as it is back. No one waits for a lease to end."""

    def new_database(migrations: Path | None = None) -> str:
        if migrations != MIGRATIONS:
            return sqlite_databases(migrations)
        run_in_thread(migrate(own_postgresql.url(), MIGRATIONS))
        return own_postgresql.url()

    async with open_shop(new_database, firebase, deadline_seconds=30) as shop:
        kettle = await shop.offer(stock=10)
        held = HeldTransport(shop.to_product.transport)
        shop.to_product.outcome = held
        orders = [asyncio.create_task(shop.order((kettle["id"], 1), key=f"k{number}")) for number in range(10)]

        async def have_begun() -> bool:
            return len(shop.to_product.requests) >= len(orders)

        await eventually(have_begun)
        own_postgresql.kill()
        held.may_answer.set()
        for order in orders:
            refused(await order, 503, "database_unavailable")
        shop.to_product.outcome = None
        await asyncio.to_thread(own_postgresql.start)
        back_at = time.monotonic()

        async def buy(key: str) -> float:
            while (answer := await shop.order((kettle["id"], 1), key=key)).status_code != 201:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            assert answer.json()["total"]["amount"] == 4990
            return time.monotonic() - back_at

        waits = await asyncio.gather(*(buy(f"k{number}") for number in range(len(orders))))
        assert max(waits) < LEASE.total_seconds() * 2 / 3
        assert len(await shop.bills()) == len(orders)
        assert await shop.stock_of(kettle) == 0


@pytest.mark.both_databases
async def test_keys_are_forgotten_in_batches(scenario: OrderScenario) -> None:
    """One transaction deletes a limited number of orders, so that the others do not wait for it."""
    for number in range(5):
        await scenario.one.place(MAYA, [OrderItem("kettle", 1)], f"k{number}")
    before = scenario.time() + LEASE + timedelta(seconds=1)
    assert [await scenario.store.forget(before=before, limit=2) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.both_databases
async def test_the_key_of_an_order_that_took_long(scenario: OrderScenario) -> None:
    """An order that was finished after more than 24 hours keeps its key: the answer may have been lost on its way."""
    scenario.reservations.expiries = 3
    with pytest.raises(NeighbourUnavailable):
        await scenario.order()
    order = await scenario.store.under_key("maya", "k")
    assert order is not None
    scenario.reservations.sold.add(order.id)
    scenario.time.advance(KEEP_KEYS * 2)
    await scenario.two.resume()
    await scenario.one.forget()
    bill = await scenario.order()
    assert await scenario.bill_ids() == [bill.id]


async def test_an_order_that_product_may_have_forgotten(
    scenario: OrderScenario, caplog: pytest.LogCaptureFixture
) -> None:
    """An order that is pending for so long that Product may not remember a sale is left for a person."""
    scenario.reservations.expiries = 3
    with pytest.raises(NeighbourUnavailable):
        await scenario.order()
    scenario.time.advance(PRODUCT_REMEMBERS + LEASE)
    scenario.reservations.calls.clear()
    with pytest.raises(ProductFailed):
        await scenario.order()
    await scenario.two.resume()
    assert scenario.reservations.calls == []
    assert "find out, and settle the order by hand" in caplog.text
    assert (await scenario.one.unfinished()).is_late
