"""services/product/reservations.py, its store and its routes"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError

from mstoken.testing import FakeFirebase
from services.common.database import Database
from services.common.ids import new_id
from services.product.app import MIGRATIONS, create_app
from services.product.catalogue import Catalogue
from services.product.errors import (
    OutOfStock,
    ReservationCommitted,
    ReservationDiffers,
    ReservationExpired,
    ReservationNotFound,
    ReservationReleased,
)
from services.product.reservations import (
    HOLD,
    REMEMBER,
    Reservation,
    ReservationItem,
    ReservationLine,
    Reservations,
    ReservationStatus,
    after_commit,
    after_expiry,
    after_hold,
    after_release,
)
from services.product.settings import ProductSettings
from services.product.store import ProductStore, ReservationStore, deleted_products, products, reservations
from services.product.store import reservation_lines as lines
from tests.clock import MovableTime
from tests.services.shop import KETTLE, answered, eventually, refused, serving

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KETTLES = [ReservationItem("kettle", 3)]
LINES = [ReservationLine("kettle", "Kettle", 4990, "USD", 3)]
STATUSES: tuple[ReservationStatus, ...] = ("held", "committed", "released", "expired")


def reservation(status: ReservationStatus) -> Reservation:
    """Return a reservation that expires now, if it is held."""
    return Reservation("bill", status, NOW, LINES)


def test_the_first_request_to_hold() -> None:
    """A bill without a reservation gets one that is held for five minutes."""
    assert after_hold(None, "bill", KETTLES, NOW) == Reservation("bill", "held", NOW + timedelta(minutes=5))


def test_another_request_to_hold() -> None:
    """A reservation that is held or sold stays as it is; an expired one is held for another five minutes."""
    for status in ("held", "committed"):
        assert after_hold(reservation(status), "bill", KETTLES, NOW) == reservation(status)
    held_again = replace(reservation("held"), expires_at=NOW + HOLD)
    assert after_hold(reservation("expired"), "bill", KETTLES, NOW) == held_again


def test_a_request_to_hold_after_the_release() -> None:
    """A bill whose reservation was released holds nothing again."""
    with pytest.raises(ReservationReleased):
        after_hold(reservation("released"), "bill", KETTLES, NOW)


@pytest.mark.parametrize("status", ["held", "committed", "expired"])
@pytest.mark.parametrize("items", [[], [ReservationItem("kettle", 2)], [ReservationItem("cup", 3)], KETTLES * 2])
def test_a_request_to_hold_other_items(status: ReservationStatus, items: list[ReservationItem]) -> None:
    """The items of a reservation cannot be exchanged."""
    with pytest.raises(ReservationDiffers):
        after_hold(reservation(status), "bill", items, NOW)


def test_a_request_to_sell() -> None:
    """Items that are held, or were sold before, are sold. Every other request is refused with its reason."""
    assert after_commit(reservation("held")) == after_commit(reservation("committed")) == reservation("committed")
    with pytest.raises(ReservationNotFound):
        after_commit(None)
    with pytest.raises(ReservationExpired):
        after_commit(reservation("expired"))
    with pytest.raises(ReservationReleased):
        after_commit(reservation("released"))


def test_a_request_to_release() -> None:
    """Everything but a sale can be released, even before there is a reservation."""
    for status in ("held", "expired", "released"):
        assert after_release(reservation(status), "bill", NOW) == reservation("released")
    assert after_release(None, "bill", NOW) == Reservation("bill", "released", NOW)
    with pytest.raises(ReservationCommitted):
        after_release(reservation("committed"), "bill", NOW)


def test_an_expiry() -> None:
    """A reservation that is held expires at its time, and not before. All others stay as they are."""
    assert after_expiry(reservation("held"), NOW) == reservation("expired")
    assert after_expiry(reservation("held"), NOW - timedelta(microseconds=1)) == reservation("held")
    for status in STATUSES[1:]:
        assert after_expiry(reservation(status), NOW + HOLD) == reservation(status)
    with pytest.raises(ReservationNotFound):
        after_expiry(None, NOW)


def test_which_reservations_take_stock() -> None:
    """Items that are held or sold are out of stock; items that are released or expired are in stock."""
    assert [status for status in STATUSES if reservation(status).takes_stock] == ["held", "committed"]


class ProductApi:
    """The API of Product, as Billing and an administrator use it."""

    def __init__(self, product: httpx.AsyncClient, firebase: FakeFirebase) -> None:
        self.product = product
        self._firebase = firebase
        self._admin = firebase.user_headers("ines", role="admin")

    async def offer(self, stock: int = 10, **changes: Any) -> str:
        """Add a product, and return its id."""
        body = KETTLE | {"stock": stock} | changes
        product_id: str = answered(await self.product.post("/products", json=body, headers=self._admin), 201)["id"]
        return product_id

    async def change(self, product_id: str, **changes: Any) -> None:
        answered(await self.product.patch(f"/products/{product_id}", json=changes, headers=self._admin))

    async def delete(self, product_id: str) -> None:
        await self.product.delete(f"/products/{product_id}", headers=self._admin)

    async def stock(self, product_id: str) -> int:
        stock: int = answered(await self.product.get(f"/products/{product_id}", headers=self._admin))["stock"]
        return stock

    async def has(self, product_id: str, stock: int) -> bool:
        return await self.stock(product_id) == stock

    async def reserve(self, bill_id: str, *items: tuple[str, int]) -> httpx.Response:
        body_items = [{"product_id": product_id, "quantity": quantity} for product_id, quantity in items]
        return await self.call("POST", "/reservations", json={"bill_id": bill_id, "items": body_items})

    async def commit(self, bill_id: str) -> httpx.Response:
        return await self.call("POST", f"/reservations/{bill_id}/commit")

    async def release(self, bill_id: str) -> httpx.Response:
        return await self.call("DELETE", f"/reservations/{bill_id}")

    async def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Return Product's answer to a request of Billing."""
        auth = self._firebase.service_auth("billing", to="product")
        return await self.product.request(method, path, auth=auth, **request)


@pytest.fixture
def api(product: httpx.AsyncClient, firebase: FakeFirebase) -> ProductApi:
    """The API of Product, without products."""
    return ProductApi(product, firebase)


async def test_a_reservation(api: ProductApi) -> None:
    """Reserved items are out of stock. The answer has names and prices, in the requested order."""
    kettle, cups = await api.offer(10), await api.offer(5, name="Cups", price={"amount": 1, "currency": "EUR"})
    bill_id = new_id()
    reservation = answered(await api.reserve(bill_id, (cups, 2), (kettle, 10)), 201)
    del reservation["expires_at"]
    assert reservation == {
        "bill_id": bill_id,
        "status": "held",
        "lines": [
            {"product_id": cups, "name": "Cups", "price": {"amount": 1, "currency": "EUR"}, "quantity": 2},
            {"product_id": kettle, "name": "Kettle", "price": KETTLE["price"], "quantity": 10},
        ],
    }
    assert (await api.stock(kettle), await api.stock(cups)) == (0, 3)


async def test_the_same_reservation_again(api: ProductApi) -> None:
    """A repeated request gets the same reservation with its first price, and takes nothing more out of stock."""
    kettle, bill_id = await api.offer(10), new_id()
    first = answered(await api.reserve(bill_id, (kettle, 3)), 201)
    await api.change(kettle, price={"amount": 1, "currency": "EUR"})
    assert answered(await api.reserve(bill_id, (kettle, 3)), 200) == first
    assert await api.stock(kettle) == 7


async def test_another_reservation_for_the_same_bill(api: ProductApi) -> None:
    """The items of a bill's reservation cannot be exchanged."""
    kettle, cups, bill_id = await api.offer(), await api.offer(), new_id()
    answered(await api.reserve(bill_id, (kettle, 3)), 201)
    for items in [(kettle, 2)], [(cups, 3)], [(kettle, 3), (cups, 1)]:
        refused(await api.reserve(bill_id, *items), 409, "reservation_differs")
    assert (await api.stock(kettle), await api.stock(cups)) == (7, 10)


async def test_all_or_nothing(api: ProductApi) -> None:
    """If one product is unknown, or too few are in stock, nothing is held. The bill may then reserve less."""
    kettle, cups, bill_id = await api.offer(10), await api.offer(1), new_id()
    problem = refused(await api.reserve(bill_id, (kettle, 1), (cups, 2)), 409, "out_of_stock")
    assert problem["detail"] == f"Product {cups}: 1 in stock, 2 requested."
    unknown = new_id()
    problem = refused(await api.reserve(bill_id, (kettle, 1), (unknown, 1)), 422, "product_unknown")
    assert unknown in problem["detail"]
    assert (await api.stock(kettle), await api.stock(cups)) == (10, 1)
    answered(await api.reserve(bill_id, (kettle, 1), (cups, 1)), 201)


async def test_a_release(api: ProductApi) -> None:
    """Released items are back in stock, once. Nothing can be reserved for the bill afterwards."""
    kettle, bill_id = await api.offer(10), new_id()
    answered(await api.reserve(bill_id, (kettle, 3)), 201)
    for _ in range(2):
        assert (await api.release(bill_id)).status_code == 204
        assert await api.stock(kettle) == 10
    refused(await api.reserve(bill_id, (kettle, 3)), 409, "reservation_released")
    refused(await api.commit(bill_id), 409, "reservation_released")


async def test_a_release_that_overtakes_its_reservation(api: ProductApi) -> None:
    """A reservation that arrives after its own release holds nothing."""
    kettle, bill_id = await api.offer(10), new_id()
    assert (await api.release(bill_id)).status_code == 204
    refused(await api.reserve(bill_id, (kettle, 3)), 409, "reservation_released")
    assert await api.stock(kettle) == 10


async def test_a_sale(api: ProductApi) -> None:
    """Sold items stay out of stock, however often the sale is repeated, and cannot be released."""
    kettle, bill_id = await api.offer(10), new_id()
    held = answered(await api.reserve(bill_id, (kettle, 3)), 201)
    for _ in range(2):
        assert (await api.commit(bill_id)).status_code == 204
    assert answered(await api.reserve(bill_id, (kettle, 3)), 200) == held | {"status": "committed"}
    refused(await api.release(bill_id), 409, "reservation_committed")
    assert await api.stock(kettle) == 7


async def test_a_sale_without_a_reservation(api: ProductApi) -> None:
    """A bill without a reservation sells nothing."""
    refused(await api.commit(new_id()), 404, "reservation_not_found")


async def test_a_deleted_product_is_not_put_back(api: ProductApi) -> None:
    """A product that was deleted in the meantime is not in the catalogue again. The other products are put back."""
    kettle, cups, bill_id = await api.offer(10), await api.offer(10), new_id()
    answered(await api.reserve(bill_id, (kettle, 3), (cups, 3)), 201)
    await api.delete(kettle)
    assert (await api.release(bill_id)).status_code == 204
    assert await api.stock(cups) == 10
    refused(await api.call("GET", f"/products/{kettle}"), 404, "product_not_found")


@pytest.mark.parametrize(
    "change",
    [
        {"bill_id": "x"},
        {"items": []},
        {"items": [{"product_id": "a", "quantity": 0}]},
        {"items": [{"product_id": "a", "quantity": 10**9}]},
        {"items": [{"product_id": "a,b", "quantity": 1}]},
        {"items": [{"product_id": "a", "quantity": 1}] * 2},
        {"items": [{"product_id": str(number), "quantity": 1} for number in range(101)]},
        {"more": 1},
    ],
)
async def test_an_invalid_reservation(api: ProductApi, change: dict[str, Any]) -> None:
    """A reservation needs the id of a bill, and 1 to 100 products, each only once."""
    body = {"bill_id": new_id(), "items": [{"product_id": "a", "quantity": 1}]} | change
    refused(await api.call("POST", "/reservations", json=body), 422, "request_invalid")


async def test_reservations_are_for_billing(api: ProductApi, firebase: FakeFirebase) -> None:
    """Users, administrators and other services may not use reservations. A user's token is not looked at."""
    path = f"/reservations/{new_id()}"
    for method, where in ("POST", "/reservations"), ("POST", f"{path}/commit"), ("DELETE", path):
        admin, user = firebase.user_headers("ines", role="admin"), firebase.service_auth("user", to="product")
        refused(await api.product.request(method, where, headers=admin), 401, "token_missing")
        refused(await api.product.request(method, where, auth=user), 403, "caller_not_allowed")


class StockScenario:
    """Products and reservations in a database, as one worker of the service uses them."""

    def __init__(self, database: Database, time: MovableTime) -> None:
        self.database = database
        self.time = time
        self.catalogue = Catalogue(ProductStore(database), clock=time)
        self.reservations = Reservations(ReservationStore(database), clock=time)

    async def offer(self, stock: int) -> str:
        """Add a product, and return its id."""
        return (await self.catalogue.add("Kettle", "", 4990, "USD", stock)).id

    async def stock(self, product_id: str) -> int:
        return (await self.catalogue.get(product_id)).stock

    async def reserved(self) -> Counter[tuple[str, str]]:
        """Return how many are reserved, by product and status of the reservation."""
        reserved: Counter[tuple[str, str]] = Counter()
        async with self.database.read() as connection:
            joined = select(lines.c.product_id, reservations.c.status, lines.c.quantity).join(reservations)
            for row in await connection.execute(joined):
                reserved[row.product_id, row.status] += row.quantity
        return reserved

    async def balance(self, product_id: str) -> int:
        """Return stock + held + committed, which is what was there in the beginning."""
        reserved = await self.reserved()
        return await self.stock(product_id) + reserved[product_id, "held"] + reserved[product_id, "committed"]


@pytest.fixture
async def scenario(database_url: str) -> AsyncIterator[StockScenario]:
    """A database without products."""
    database = Database(database_url, MIGRATIONS)
    await database.open()
    yield StockScenario(database, MovableTime())
    await database.close()


@pytest.mark.both_databases
async def test_a_reservation_that_is_held_for_too_long(scenario: StockScenario) -> None:
    """A reservation expires once, however many workers look, and its items are put back. A sold one does not."""
    kettle = await scenario.offer(10)
    abandoned, sold = new_id(), new_id()
    await scenario.reservations.hold(abandoned, [ReservationItem(kettle, 3)])
    await scenario.reservations.hold(sold, [ReservationItem(kettle, 2)])
    await scenario.reservations.commit(sold)
    assert await scenario.reservations.release_expired() == 0
    scenario.time.advance(HOLD)
    released = await asyncio.gather(*(scenario.reservations.release_expired() for _ in range(5)))
    assert sum(released) == 1
    assert await scenario.stock(kettle) == 8
    assert await scenario.balance(kettle) == 10


async def test_a_reservation_of_a_clock_that_was_ahead(scenario: StockScenario) -> None:
    """What was reserved while the clock was 50 minutes ahead is put back as soon as the clock is right."""
    kettle = await scenario.offer(10)
    scenario.time.advance(timedelta(minutes=50))
    await scenario.reservations.hold("bill", [ReservationItem(kettle, 3)])
    scenario.time.advance(-timedelta(minutes=50))
    assert await scenario.reservations.release_expired() == 1
    assert await scenario.stock(kettle) == 10


class OvertakenStore(ReservationStore):
    """A store in which `meanwhile` happens after expired reservations were listed, and before they are put back."""

    def __init__(self, database: Database, meanwhile: Callable[[], Awaitable[object]]) -> None:
        super().__init__(database)
        self._meanwhile = meanwhile

    async def expired(self, *, at: datetime, limit: int) -> Sequence[str]:
        bill_ids = await super().expired(at=at, limit=limit)
        await self._meanwhile()
        return bill_ids


@pytest.mark.both_databases
async def test_a_reservation_that_is_held_again_during_a_sweep_is_kept(scenario: StockScenario) -> None:
    """A sweep does not give back a reservation that expired, and was held again, after the sweep had listed it."""
    kettle, bill_id = await scenario.offer(10), new_id()

    async def expire_and_hold_again() -> None:
        assert await scenario.reservations.release_expired() == 1
        await scenario.reservations.hold(bill_id, [ReservationItem(kettle, 3)])

    await scenario.reservations.hold(bill_id, [ReservationItem(kettle, 3)])
    scenario.time.advance(HOLD)
    overtaken = Reservations(OvertakenStore(scenario.database, expire_and_hold_again), clock=scenario.time)
    assert await overtaken.release_expired() == 0
    assert await scenario.reserved() == {(kettle, "held"): 3}
    assert await scenario.stock(kettle) == 7


async def test_an_expired_reservation_is_held_again(firebase: FakeFirebase, database_url: str) -> None:
    """A bill whose reservation has expired sells nothing until it has reserved again, at the first price."""
    time = MovableTime()

    def process() -> AbstractAsyncContextManager[httpx.AsyncClient]:
        settings = ProductSettings(database_url=database_url)
        return serving(create_app(settings, verifier=firebase.verifier("product"), clock=time))

    async with process() as client:
        api, bill_id = ProductApi(client, firebase), new_id()
        kettle = await api.offer(10)
        first = answered(await api.reserve(bill_id, (kettle, 3)), 201)
    time.advance(HOLD)
    async with process() as client:
        api = ProductApi(client, firebase)
        await eventually(lambda: api.has(kettle, 10))
        refused(await api.commit(bill_id), 409, "reservation_expired")
        refused(await api.reserve(bill_id, (kettle, 4)), 409, "reservation_differs")
        await api.change(kettle, price={"amount": 1, "currency": "EUR"}, stock=2)
        refused(await api.reserve(bill_id, (kettle, 3)), 409, "out_of_stock")
        await api.change(kettle, stock=10)
        again = answered(await api.reserve(bill_id, (kettle, 3)), 200)
        assert again["lines"] == first["lines"]
        assert again["expires_at"] > first["expires_at"]
        assert (await api.commit(bill_id)).status_code == 204
        assert await api.stock(kettle) == 7


@pytest.mark.both_databases
async def test_an_expired_reservation_can_be_released(scenario: StockScenario) -> None:
    """An expired reservation can be released. Nothing is put back twice, and nothing is held for the bill again."""
    kettle, bill_id = await scenario.offer(10), new_id()
    await scenario.reservations.hold(bill_id, [ReservationItem(kettle, 3)])
    scenario.time.advance(HOLD)
    await scenario.reservations.release_expired()
    await scenario.reservations.release(bill_id)
    assert await scenario.stock(kettle) == 10
    with pytest.raises(ReservationReleased):
        await scenario.reservations.hold(bill_id, [ReservationItem(kettle, 3)])


@pytest.mark.both_databases
async def test_a_held_reservation_can_be_sold_late(scenario: StockScenario) -> None:
    """A reservation that is over its time and was not put back yet can be sold, and does not expire afterwards."""
    kettle, bill_id = await scenario.offer(10), new_id()
    await scenario.reservations.hold(bill_id, [ReservationItem(kettle, 3)])
    scenario.time.advance(HOLD + timedelta(minutes=1))
    await scenario.reservations.commit(bill_id)
    assert await scenario.reservations.release_expired() == 0
    assert await scenario.stock(kettle) == 7


async def waits_for_a_lock(database: Database) -> bool:
    """Return whether a statement waits for a lock that another transaction of this PostgreSQL database holds."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with database.read() as connection:
        return bool((await connection.execute(text(waiting))).scalar_one())


@pytest.mark.both_databases
async def test_a_reservation_has_the_price_of_its_moment(scenario: StockScenario, database_kind: str) -> None:
    """A reservation that waits for another transaction to change a product gets the price after that change."""
    kettle = await scenario.offer(10)
    async with scenario.database.write() as another:
        await another.execute(update(products).where(products.c.id == kettle).values(amount=1))
        reserving = asyncio.create_task(scenario.reservations.hold(new_id(), [ReservationItem(kettle, 3)]))
        if database_kind == "postgresql":
            await eventually(lambda: waits_for_a_lock(scenario.database))
    reservation, _ = await reserving
    assert [line.amount for line in reservation.lines] == [1]
    assert await scenario.stock(kettle) == 7


@pytest.mark.both_databases
async def test_a_release_that_waits_for_a_sale(scenario: StockScenario, database_kind: str) -> None:
    """A release that waits for a transaction in which the reservation is sold is refused, and stock stays as it is."""
    kettle, bill_id = await scenario.offer(10), new_id()
    await scenario.reservations.hold(bill_id, [ReservationItem(kettle, 3)])
    async with scenario.database.write() as another:
        sold = update(reservations).where(reservations.c.bill_id == bill_id).values(status="committed")
        await another.execute(sold)
        releasing = asyncio.create_task(scenario.reservations.release(bill_id))
        if database_kind == "postgresql":
            await eventually(lambda: waits_for_a_lock(scenario.database))
    with pytest.raises(ReservationCommitted):
        await releasing
    assert await scenario.reserved() == {(kettle, "committed"): 3}
    assert await scenario.stock(kettle) == 7


@pytest.mark.both_databases
async def test_concurrent_reservations_of_the_last_units(scenario: StockScenario) -> None:
    """However many bills reserve at once, in whatever order of products, not one unit too many is held."""
    one, two = await scenario.offer(20), await scenario.offer(30)

    async def reserve(number: int) -> bool:
        items = [ReservationItem(one, 1), ReservationItem(two, 1)]
        try:
            await scenario.reservations.hold(new_id(), items if number % 2 else items[::-1])
        except OutOfStock:
            return False
        return True

    assert sum(await asyncio.gather(*(reserve(number) for number in range(40)))) == 20
    assert (await scenario.stock(one), await scenario.stock(two)) == (0, 10)


@pytest.mark.both_databases
async def test_the_database_refuses_stock_below_zero(scenario: StockScenario) -> None:
    """Whatever the code does, the database does not store a negative stock."""
    kettle = await scenario.offer(2)
    with pytest.raises(IntegrityError):
        async with scenario.database.write() as connection:
            await connection.execute(update(products).where(products.c.id == kettle).values(stock=-1))
    assert await scenario.stock(kettle) == 2


@pytest.mark.both_databases
async def test_concurrent_reservations_for_one_bill(scenario: StockScenario) -> None:
    """The same request many times at once makes one reservation, and one of the answers says that it is new."""
    kettle, bill_id = await scenario.offer(10), new_id()
    made = await asyncio.gather(*(scenario.reservations.hold(bill_id, [ReservationItem(kettle, 3)]) for _ in range(10)))
    assert sum(is_new for _, is_new in made) == 1
    assert len({str(reservation) for reservation, _ in made}) == 1
    assert await scenario.stock(kettle) == 7


@pytest.mark.both_databases
async def test_stock_is_neither_made_nor_lost(scenario: StockScenario) -> None:
    """Concurrent reservations, sales, releases and expiries of the same bills do not change stock + held + sold."""
    kettle, cups = await scenario.offer(50), await scenario.offer(40)
    bill_ids = [new_id() for _ in range(12)]

    async def live(worker: int) -> None:
        for step, bill_id in enumerate(bill_ids):
            items = [ReservationItem(cups, 2), ReservationItem(kettle, step + 1)]
            action = (worker * 5 + step * 3) % 7
            try:
                if action < 4:
                    await scenario.reservations.hold(bill_id, items)
                elif action == 4:
                    await scenario.reservations.release(bill_id)
                elif action == 5:
                    scenario.time.advance(HOLD / 3)
                    await scenario.reservations.release_expired()
                else:
                    await scenario.reservations.hold(bill_id, items)
                    await scenario.reservations.commit(bill_id)
            except (OutOfStock, ReservationReleased, ReservationCommitted, ReservationExpired):
                continue  # Expired: between another worker's making and its commit, the time went on.

    async with asyncio.TaskGroup() as workers:
        for worker in range(8):
            workers.create_task(live(worker))
    reserved = await scenario.reserved()
    assert {status for _, status in reserved} >= {"committed", "released"}
    assert await scenario.balance(kettle) == 50
    assert await scenario.balance(cups) == 40
    assert min(await scenario.stock(kettle), await scenario.stock(cups)) >= 0


async def deleted(scenario: StockScenario) -> dict[str, int]:
    """Return the stock of the products that were deleted."""
    async with scenario.database.read() as connection:
        rows = await connection.execute(select(deleted_products.c.id, deleted_products.c.stock))
        return {row.id: row.stock for row in rows}


@pytest.mark.both_databases
@pytest.mark.parametrize("end", ["release", "expire", "commit"])
async def test_a_product_that_is_deleted_while_it_is_held(scenario: StockScenario, end: str) -> None:
    """What is put back of a deleted product is not lost, and what is held of it can still be sold."""
    kettle, cups = await scenario.offer(10), await scenario.offer(10)
    bill_id = new_id()
    await scenario.reservations.hold(bill_id, [ReservationItem(kettle, 3), ReservationItem(cups, 2)])
    await scenario.catalogue.remove(kettle)
    assert await deleted(scenario) == {kettle: 7}
    match end:
        case "release":
            await scenario.reservations.release(bill_id)
        case "expire":
            scenario.time.advance(HOLD)
            assert await scenario.reservations.release_expired() == 1
        case "commit":
            await scenario.reservations.commit(bill_id)
    assert await deleted(scenario) == {kettle: 7 if end == "commit" else 10}
    assert await scenario.stock(cups) == (8 if end == "commit" else 10)


@pytest.mark.both_databases
async def test_a_product_that_is_deleted_and_put_back_at_once(scenario: StockScenario) -> None:
    """Units are not lost between the deletion of their product and the releases of their bills, in any order."""
    kettle, bills = await scenario.offer(10), [new_id() for _ in range(6)]
    for bill_id in bills:
        await scenario.reservations.hold(bill_id, [ReservationItem(kettle, 1)])
    releases = (scenario.reservations.release(bill_id) for bill_id in bills)
    await asyncio.gather(*releases, scenario.catalogue.remove(kettle))
    assert await deleted(scenario) == {kettle: 10}


@pytest.mark.both_databases
async def test_what_became_of_reservations_is_forgotten(scenario: StockScenario) -> None:
    """After 30 days a reservation that is not held is deleted with its lines, as is the stock of a deleted product."""
    kettle, gone = await scenario.offer(100), await scenario.offer(1)
    bills = {status: new_id() for status in STATUSES}
    for bill_id in bills.values():
        await scenario.reservations.hold(bill_id, [ReservationItem(kettle, 1)])
    await scenario.reservations.commit(bills["committed"])
    await scenario.reservations.release(bills["released"])
    await scenario.catalogue.remove(gone)
    scenario.time.advance(HOLD)
    await scenario.reservations.release_expired()
    await scenario.reservations.hold(bills["held"], [ReservationItem(kettle, 1)])
    before = await scenario.reserved()
    scenario.time.advance(REMEMBER - HOLD)
    await scenario.reservations.forget()
    assert await scenario.reserved() == before
    scenario.time.advance(HOLD * 2)
    backlog = await scenario.reservations.unforgotten()
    assert (backlog.name, backlog.count, backlog.is_late) == ("old reservations", 3, False)
    overdue = await scenario.reservations.overdue()
    assert (overdue.name, overdue.count, overdue.is_late) == ("expired reservations", 1, True)
    await asyncio.gather(scenario.reservations.forget(), scenario.reservations.forget())
    assert await scenario.reserved() == {(kettle, "held"): 1}
    assert await deleted(scenario) == {}
    assert (await scenario.reservations.unforgotten()).count == 0


@pytest.mark.both_databases
async def test_reservations_are_forgotten_in_batches(scenario: StockScenario) -> None:
    """One transaction deletes a limited number of reservations, so that buyers do not wait for it."""
    kettle = await scenario.offer(100)
    for _ in range(5):
        bill_id = new_id()
        await scenario.reservations.hold(bill_id, [ReservationItem(kettle, 1)])
        await scenario.reservations.commit(bill_id)
    store, before = ReservationStore(scenario.database), scenario.time() + HOLD
    assert [await store.forget(before=before, limit=2) for _ in range(4)] == [2, 2, 1, 0]
