"""tests/chaos/audit.py: a run in which all is right passes, and each kind of wrong answer is found."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest

from mstoken.testing import FakeFirebase
from services.billing import app as billing
from services.billing.neighbours import Neighbours
from services.billing.settings import BillingSettings
from services.product import app as product
from services.product.settings import ProductSettings
from tests.chaos import audit as module
from tests.chaos.audit import audit, is_honest, server_errors
from tests.chaos.books import Books
from tests.chaos.record import HOME, Catalogue, Downtime, Exchange, Kind, Record, Revision
from tests.services.billing.fakes import FakeQueue

KETTLES = {"items": [{"product_id": "kettle", "quantity": 2}, {"product_id": "tray", "quantity": 1}]}
CUPS = {"items": [{"product_id": "cup", "quantity": 9}]}
MIXED = {"items": [{"product_id": "cup", "quantity": 1}, {"product_id": "euro", "quantity": 1}]}


def usd(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "USD"}


def line(product_id: str, name: str, amount: int, quantity: int) -> dict[str, Any]:
    prices = {"unit_price": usd(amount), "amount": usd(amount * quantity)}
    return {"product_id": product_id, "name": name, "quantity": quantity, **prices}


LINES = [line("kettle", "Kettle", 4990, 2), line("tray", "Tray", 500, 1)]
BILL: dict[str, Any] = {
    "id": "b1",
    "user_id": "maya",
    "status": "issued",
    "created_at": "2026-01-01T00:00:00Z",
    "lines": LINES,
    "total": usd(10480),
}
DELIVERY = {"id": "d1", "bill_id": "b1", "status": "requested", "address": HOME}
KETTLE = {"id": "kettle", "name": "Kettle", "description": "", "price": usd(4990), "stock": 8}


def problem(status: int, code: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": "A title", "status": status, "code": code}


def exchange(at: float, operation: str, status: int | None, content: Any, **changes: Any) -> Exchange:
    """Return an exchange of Maya's from `at` to a second later, about the bill b1 or the product kettle."""
    path = operation.split(" ")[1].format(bill_id="b1", product_id="kettle")
    kind = module.PROBLEM
    if status == module.SUCCESS[operation]:
        kind = "text/html" if "invoice" in path else "application/json"
    headers = {"content-type": kind, "x-request-id": "r", "retry-after": "1"}
    text = content if isinstance(content, str) else json.dumps(content)
    service = "product" if "/products" in path else "billing"
    return Exchange("maya", service, operation, path, at, at + 1, status, headers, text, **changes)


def a_run() -> tuple[Record, Books]:
    """Return a run in which all is right. It is broken from 10 to 20, and Billing is killed from 11 to 12."""
    exchanges = [
        exchange(1, "POST /bills", 201, BILL, sent=KETTLES, key="k1"),
        exchange(3, "POST /bills/{bill_id}/delivery", 202, DELIVERY),
        exchange(11, "POST /bills", None, "ConnectError()", sent=CUPS, key="k2"),
        exchange(13, "POST /bills", 503, problem(503, "database_unavailable"), sent=CUPS, key="k2"),
        exchange(15, "POST /bills", 409, problem(409, "bill_in_progress"), sent=CUPS, key="k2"),
        exchange(17, "POST /bills", 409, problem(409, "out_of_stock"), sent=CUPS, key="k2"),
        exchange(18, "POST /bills", 422, problem(422, "currencies_mixed"), sent=MIXED, key="k3"),
        exchange(21, "POST /bills", 201, BILL, sent=KETTLES, key="k1"),
        exchange(23, "POST /bills", 409, problem(409, "out_of_stock"), sent=CUPS, key="k2"),
        exchange(25, "GET /bills/{bill_id}", 200, BILL),
        exchange(27, "GET /bills/{bill_id}/invoice", 200, "<p>99.80 USD, 5.00 USD, 104.80 USD</p>"),
        exchange(29, "GET /bills", 200, {"items": [BILL], "next_cursor": None}),
        exchange(31, "GET /bills/{bill_id}/delivery", 200, DELIVERY | {"status": "delivered"}),
        exchange(33, "GET /products/{product_id}", 200, KETTLE),
    ]
    prices = {"kettle": ("Kettle", 4990), "tray": ("Tray", 500), "cup": ("Cup", 100), "euro": ("Euro", 100)}
    catalogue = Catalogue(
        {name: [Revision(*price, 0, 0)] for name, price in prices.items()},
        stock={"kettle": 10, "tray": 10, "cup": 5, "euro": 5},
        currency={"kettle": "USD", "tray": "USD", "cup": "USD", "euro": "EUR"},
        scarce=["cup"],
    )
    books = Books(
        stock={"kettle": 8, "tray": 9, "cup": 5, "euro": 5},
        held=Counter(),
        sold=Counter(kettle=2, tray=1),
        released=Counter(cup=1, euro=1),
        orders={
            ("maya", "k1"): [("b1", "issued")],
            ("maya", "k2"): [("b2", "abandoned")],
            ("maya", "k3"): [("b3", "abandoned")],
        },
        bills={"b1": ("maya", "issued", "USD", [("kettle", "Kettle", 4990, 2), ("tray", "Tray", 500, 1)])},
        deliveries={"b1": ("d1", "delivered", HOME)},
        waiting=0,
    )
    downtimes = [
        Downtime("billing", "kill", 11, 12),
        Downtime("billing", "hang", 13, 14),
        Downtime("redis", "drop", 15, 16),
    ]
    record = Record(exchanges, catalogue, downtimes, warm_from=0, broken_from=10, calm_from=20)
    return record, books


@pytest.fixture(scope="module")
def documentation() -> Mapping[str, Any]:
    """The OpenAPI documents of Billing and Product."""
    firebase = FakeFirebase(base_url="http://service")
    settings = BillingSettings(database_url="sqlite:///unused.db")
    apps = {
        "billing": billing.create_app(
            settings,
            verifier=firebase.verifier("billing"),
            neighbours=Neighbours(settings, firebase.identity("billing")),
            queue=FakeQueue(),
        ),
        "product": product.create_app(
            ProductSettings(database_url="sqlite:///unused.db"), verifier=firebase.verifier("product")
        ),
    }
    return {name: app.openapi() for name, app in apps.items()}


def test_a_run_in_which_all_is_right(documentation: Mapping[str, Any]) -> None:
    """Right answers, and outages while something is broken, are no faults."""
    assert audit(*a_run(), documentation) == []


@dataclass(frozen=True)
class Wrong:
    """A change of the exchange that begins at `at`, and a part of the sentence about it."""

    at: float
    changes: Callable[[Exchange], dict[str, Any]]
    sentence: str


def content(**changes: Any) -> Callable[[Exchange], dict[str, Any]]:
    """Change members of the JSON in an answer."""
    return lambda one: {"text": json.dumps(one.content | changes)}


def answer(status: int | None, code: str = "") -> Callable[[Exchange], dict[str, Any]]:
    """Replace an answer by a problem, or by none."""
    text = json.dumps(problem(status, code)) if status else "ReadError()"
    return lambda one: {"status": status, "text": text, "headers": {**one.headers, "content-type": module.PROBLEM}}


def header(name: str, value: str) -> Callable[[Exchange], dict[str, Any]]:
    return lambda one: {"headers": {**one.headers, name: value}}


DOUBLED = [line("kettle", "Kettle", 9980, 2), line("tray", "Tray", 1000, 1)]
WRONG = {
    "a defect": Wrong(13, answer(500, "internal_error"), "not expected"),
    "a defect while reading": Wrong(25, answer(500, "internal_error"), "not expected in calm"),
    "an outage in calm": Wrong(25, answer(503, "database_unavailable"), "not expected in calm"),
    "an outage before anything was broken": Wrong(3, answer(503, "overloaded"), "not expected in calm"),
    "an outage of a part that is not needed": Wrong(13, answer(503, "user_unavailable"), "not expected"),
    "a deadline that has passed": Wrong(13, answer(504, "deadline_exceeded"), "not expected"),
    "a bad gateway": Wrong(13, answer(502, "product_failed"), "not expected"),
    "a refusal of a good token": Wrong(13, answer(401, "user_token_invalid"), "not expected"),
    "a status that is not documented": Wrong(13, answer(418, "teapot"), "not documented"),
    "a problem as plain JSON": Wrong(13, header("content-type", "application/json"), "not documented"),
    "a 503 without Retry-After": Wrong(13, header("retry-after", ""), "1 answers 503 database_unavailable, not honest"),
    "a 503 that says to ask again at once": Wrong(13, header("retry-after", "0"), "not honest"),
    "a 503 with another code": Wrong(13, answer(503, "product_failed"), "1 answers 503 product_failed, not honest"),
    "a 503 of a proxy": Wrong(13, lambda one: {"text": "down"}, "1 answers 503 without a code, not honest"),
    "a defect, counted": Wrong(13, answer(500, "internal_error"), "1 answers 500 internal_error, not honest"),
    "a problem with another status inside": Wrong(13, content(status=500), "RFC 9457"),
    "no answer of a service that hung": Wrong(13, answer(None), "was up"),
    "no answer of a service that is up": Wrong(17, answer(None), "was up"),
    "doubled prices": Wrong(1, content(lines=DOUBLED, total=usd(20960)), "catalogue did not have"),
    "a line that does not add up": Wrong(
        1, content(lines=[line("kettle", "Kettle", 4990, 2) | {"amount": usd(1)}, LINES[1]]), "add up"
    ),
    "a total that is not the sum": Wrong(1, content(total=usd(10481)), "sum of the lines"),
    "two currencies": Wrong(1, content(total={"amount": 10480, "currency": "EUR"}), "more than one currency"),
    "not what was ordered": Wrong(1, content(lines=LINES[:1], total=usd(9980)), "what was ordered"),
    "a pending bill": Wrong(1, content(status="pending"), "issued"),
    "another customer's bill": Wrong(1, content(user_id="tomas"), "this customer"),
    "another bill for the same key": Wrong(21, content(id="b9"), "first time"),
    "other prices for the same key": Wrong(21, content(lines=DOUBLED, total=usd(20960)), "first time"),
    "a refusal after a bill": Wrong(21, answer(409, "out_of_stock"), "different answers"),
    "a bill that is not in the books": Wrong(1, content(id="b9"), "not as in the books"),
    "a bill that reads differently": Wrong(25, content(total=usd(1)), "as it was issued"),
    "an invoice with another total": Wrong(27, lambda one: {"text": "99.80 USD, 5.00 USD"}, "sums of the bill"),
    "a list without the bill": Wrong(29, content(items=[]), "missing"),
    "a list with another's bill": Wrong(29, content(items=[BILL | {"user_id": "tomas"}]), "as it was issued"),
    "a delivery to another address": Wrong(3, content(address=HOME | {"city": "Galway"}), "requested"),
    "two currencies for an order of one": Wrong(18, lambda one: {"sent": CUPS}, "these products have one currency"),
    "another currency than the catalogue's": Wrong(
        1,
        content(
            lines=[one | {part: one[part] | {"currency": "EUR"} for part in ("unit_price", "amount")} for one in LINES],
            total={"amount": 10480, "currency": "EUR"},
        ),
        "another currency than in the catalogue",
    ),
    "a price that the product never had": Wrong(33, content(price=usd(4991)), "did not have"),
    "a stock that the product never had": Wrong(33, content(stock=11), "never had"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_answer_is_found(wrong: Wrong, documentation: Mapping[str, Any]) -> None:
    """One answer that is wrong in one way is enough."""
    record, books = a_run()
    record.exchanges = [
        replace(one, **wrong.changes(one)) if one.sent_at == wrong.at else one for one in record.exchanges
    ]
    assert any(wrong.sentence in fault for fault in audit(record, books, documentation))


WRONG_BOOKS: dict[str, tuple[Callable[[Books], dict[str, Any]], str]] = {
    "a pending order": (lambda books: {"orders": books.orders | {("maya", "k1"): [("b1", "pending")]}}, "pending"),
    "two orders for a key": (
        lambda books: {"orders": books.orders | {("maya", "k1"): [("b1", "issued"), ("b3", "issued")]}},
        "has 2 orders",
    ),
    "an order that nobody placed": (lambda books: {"orders": books.orders | {("maya", "k4"): []}}, "placed the orders"),
    "a refused order that was issued": (
        lambda books: {"orders": books.orders | {("maya", "k2"): [("b2", "issued")]}},
        "refused, and the books",
    ),
    "a bill that nobody got": (lambda books: {"bills": books.bills | {"b4": books.bills["b1"]}}, "no customer got"),
    "a bill at another price": (
        lambda books: {
            "bills": {"b1": ("maya", "issued", "USD", [("kettle", "Kettle", 1, 2), ("tray", "Tray", 500, 1)])}
        },
        "not as in the books",
    ),
    "stock that is lost": (lambda books: {"stock": books.stock | {"cup": 4}}, "stock + held + sold"),
    "stock that is made": (lambda books: {"stock": books.stock | {"kettle": 10}}, "stock + held + sold"),
    "a product that was oversold": (
        lambda books: {"bills": {"b1": ("maya", "issued", "USD", [("cup", "Cup", 100, 6)])}},
        "of cup 6 are on bills, and there were 5",
    ),
    "stock below zero": (lambda books: {"stock": books.stock | {"cup": -1}}, "below zero"),
    "nothing that was put back": (lambda books: {"released": Counter()}, "came back into stock"),
    "sold and not billed": (
        lambda books: {"sold": books.sold + Counter(cup=1), "stock": books.stock | {"cup": 4}},
        "are on issued bills",
    ),
    "a delivery that is lost": (lambda books: {"deliveries": {}}, "other deliveries"),
    "a delivery that does not arrive": (lambda books: {"deliveries": {"b1": ("d1", "requested", HOME)}}, "under way"),
    "a delivery in the outbox": (lambda books: {"waiting": 1}, "in the outbox"),
}


@pytest.mark.parametrize("wrong", WRONG_BOOKS.values(), ids=WRONG_BOOKS.keys())
def test_wrong_books_are_found(
    wrong: tuple[Callable[[Books], dict[str, Any]], str], documentation: Mapping[str, Any]
) -> None:
    """One row that is wrong in one way is enough."""
    record, books = a_run()
    changes, sentence = wrong
    assert any(sentence in fault for fault in audit(record, replace(books, **changes(books)), documentation))


def test_plenty_is_not_sold_out(documentation: Mapping[str, Any]) -> None:
    """An order is refused as out of stock only if it asks for a product that may sell out."""
    record, books = a_run()
    record.catalogue.scarce.clear()
    assert any("there is plenty" in fault for fault in audit(record, books, documentation))


def test_a_run_in_which_nothing_sold_out_proves_nothing(documentation: Mapping[str, Any]) -> None:
    """At least one order must have been refused because a product was sold out."""
    record, books = a_run()
    record.exchanges = [one for one in record.exchanges if one.key != "k2"]
    del books.orders["maya", "k2"]
    assert audit(record, books, documentation) == ["no order was refused because a product was sold out"]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_run_without_one_kind_of_fault_proves_nothing(documentation: Mapping[str, Any], kind: Kind) -> None:
    """Parts must have been killed, must have hung, and must have lost packets."""
    record, books = a_run()
    record.downtimes = [down for down in record.downtimes if down.kind != kind]
    assert f"no part was broken in these ways: ['{kind}']" in audit(record, books, documentation)


def test_only_a_service_that_hung_may_say_that_a_body_was_late(documentation: Mapping[str, Any]) -> None:
    """It measured its own pause. The customers of the test send their bodies at once."""
    record, books = a_run()
    late = answer(408, "body_timeout")
    record.exchanges = [replace(one, **late(one)) if one.sent_at == 13 else one for one in record.exchanges]
    assert audit(record, books, documentation) == []
    record.downtimes = [replace(down, part="user") if down.kind == "hang" else down for down in record.downtimes]
    assert any("not expected" in fault for fault in audit(record, books, documentation))


def test_answers_5xx_are_counted_by_kind() -> None:
    """A 503 with a known code and `Retry-After` is honest. Every other 5xx is counted as not honest."""
    record, _ = a_run()
    outage, *_ = [one for one in record.exchanges if one.status == 503]
    defect = replace(outage, **answer(500, "internal_error")(outage))
    bare = replace(outage, text="<h1>Bad gateway</h1>", status=502)
    record.exchanges += [outage, defect, defect, bare]
    assert server_errors(record) == {
        "503 database_unavailable": 2,
        "500 internal_error, not honest": 2,
        "502 without a code, not honest": 1,
    }


@pytest.mark.parametrize(
    ("operation", "code", "expected"),
    [
        ("POST /bills", "product_unavailable", True),
        ("POST /bills", "user_unavailable", False),
        ("GET /bills", "product_unavailable", False),
        ("GET /bills", "overloaded", True),
    ],
)
def test_an_honest_503_names_what_the_request_needs(operation: str, code: str, expected: bool) -> None:
    """A part that the request does not use cannot be the reason for a 503."""
    assert is_honest(exchange(13, operation, 503, problem(503, code))) is expected


def test_an_honest_503_is_a_problem() -> None:
    """The right members in plain JSON are not enough."""
    outage = exchange(13, "GET /bills", 503, problem(503, "overloaded"))
    assert is_honest(outage)
    assert not is_honest(replace(outage, **header("content-type", "application/json")(outage)))


def test_the_next_scarce_products_are_offered_until_none_is_left() -> None:
    """Products that do not sell out are always on offer."""
    catalogue = Catalogue(stock=dict.fromkeys(["plenty", "a", "b", "c"], 1), scarce=["a", "b", "c"])
    offers = []
    for _ in range(3):
        catalogue.offer_next(2)
        offers.append(list(catalogue.on_offer))
    assert offers == [["plenty", "a", "b"], ["plenty", "c"], ["plenty", "c"]]


def test_a_delivery_does_not_go_back(documentation: Mapping[str, Any]) -> None:
    """A customer never sees an earlier status of a delivery after a later one."""
    record, books = a_run()
    record.exchanges.append(exchange(35, "GET /bills/{bill_id}/delivery", 200, DELIVERY))
    assert any("went back" in fault for fault in audit(record, books, documentation))


def test_an_order_may_be_given_up_when_enough_time_has_passed(documentation: Mapping[str, Any]) -> None:
    """Time is that of the shop's clock, which a run advances."""
    record, books = a_run()
    given_up = json.dumps(problem(409, "order_given_up"))
    record.exchanges = [replace(one, status=409, text=given_up) if one.key == "k3" else one for one in record.exchanges]
    assert any("given up too early" in fault for fault in audit(record, books, documentation))
    record.jumps = [(18.5, 600)]
    assert audit(record, books, documentation) == []


def test_few_answers_in_calm_say_that_another_service_is_slow(documentation: Mapping[str, Any]) -> None:
    """A busy machine may cause a quarter of them. More are a fault."""
    record, books = a_run()
    slow = exchange(35, "GET /bills/{bill_id}/invoice", 503, problem(503, "user_unavailable"))
    record.exchanges += [slow] * 3
    assert audit(record, books, documentation) == []
    record.exchanges += [slow]
    assert any("in calm are ['user_unavailable']" in fault for fault in audit(record, books, documentation))


@pytest.mark.parametrize(
    ("failed_at", "key", "is_expected"),
    [(5, "k3", True), (-23, "k3", True), (-24, "k3", False), (8, "k3", False), (5, "k2", False), (None, "k3", False)],
)
def test_an_order_that_failed_is_perhaps_in_progress(
    documentation: Mapping[str, Any], failed_at: float | None, key: str, *, is_expected: bool
) -> None:
    """In calm, too: another worker may go on with it before it is asked for again, until that worker's lease ends."""
    record, books = a_run()
    record.exchanges.append(
        exchange(7, "POST /bills", 409, problem(409, "bill_in_progress"), sent=MIXED, key="k3"),
    )
    if failed_at is not None:
        record.exchanges.append(
            exchange(failed_at, "POST /bills", 503, problem(503, "product_unavailable"), sent=MIXED, key=key),
        )
    faults = audit(record, books, documentation)
    assert any("not expected in calm" in fault and "bill_in_progress" in fault for fault in faults) != is_expected


def test_prices_of_the_time_are_possible() -> None:
    """While a price is changed, the old and the new one are possible; before and after it, one of them."""
    changes = [Revision("Old", 1, 0, 0), Revision("New", 2, sent_at=10, answered_at=12)]
    catalogue = Catalogue({"kettle": changes})
    assert catalogue.possible("kettle", 5, 9) == [("Old", 1)]
    assert catalogue.possible("kettle", 9, 11) == [("Old", 1), ("New", 2)]
    assert catalogue.possible("kettle", 11, 20) == [("Old", 1), ("New", 2)]
    assert catalogue.possible("kettle", 13, 20) == [("New", 2)]


@pytest.mark.parametrize("operation", module.SUCCESS)
def test_expected_answers_are_documented(documentation: Mapping[str, Any], operation: str) -> None:
    """What customers expect is what OpenAPI says, with the code in the description."""
    service = "product" if "/products" in operation else "billing"
    method, path = operation.split(" ")
    responses = documentation[service]["paths"][path][method.lower()]["responses"]
    assert str(module.SUCCESS[operation]) in responses
    refusals = [module.REFUSALS.get(operation, {}), module.OUTAGES_OF_ONE.get(operation, {})]
    for status, codes in (item for answers in refusals for item in answers.items()):
        for code in codes:
            assert f"`{code}`" in responses[str(status)]["description"]
    assert {str(status) for status in module.OUTAGES} <= responses.keys()
