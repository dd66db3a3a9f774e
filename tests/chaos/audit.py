"""Checks every answer that customers saw, by itself, against the answers before it, and against the books."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, get_args

from services.billing.invoice import money
from services.billing.orders import LEASE, PATIENCE
from tests.chaos.books import BilledLine, Books
from tests.chaos.record import HOME, Catalogue, Exchange, Kind, Record

PROBLEM = "application/problem+json"

SUCCESS = {
    "POST /bills": 201,
    "GET /bills": 200,
    "GET /bills/{bill_id}": 200,
    "GET /bills/{bill_id}/invoice": 200,
    "POST /bills/{bill_id}/delivery": 202,
    "GET /bills/{bill_id}/delivery": 200,
    "GET /products/{product_id}": 200,
    "PATCH /products/{product_id}": 200,
}
"""What customers and the administrator ask for, and the status of an answer that gives it."""

REFUSALS: Mapping[str, Mapping[int, Collection[str]]] = {
    "POST /bills": {409: {"out_of_stock", "order_given_up"}, 422: {"currencies_mixed"}}
}
"""Final answers that are not a success, whether something is broken or not: operation -> status -> codes."""

OUTAGES: Mapping[int, Collection[str]] = {
    503: {"verifier_unavailable", "database_unavailable", "overloaded", "stopping"}
}
"""What any request may be answered with while something is broken.

A 504 (`deadline_exceeded`) is documented, and not among them: every wait of a service is to end before its request's.
"""

OUTAGES_OF_ONE: Mapping[str, Mapping[int, Collection[str]]] = {
    "POST /bills": {409: {"bill_in_progress"}, 503: {"product_unavailable"}},
    "POST /bills/{bill_id}/delivery": {503: {"user_unavailable"}},
    "GET /bills/{bill_id}/invoice": {503: {"user_unavailable"}},
}
"""What requests of one operation may be answered with as well while something is broken."""

SLOW = {"product_unavailable", "user_unavailable"}
MAX_SLOW = 0.25
"""Answers that a busy machine may cause although nothing is broken, and how large their share may be in calm."""

DELIVERY_STEPS = ("requested", "dispatched", "delivered", "failed")


def is_final(exchange: Exchange) -> bool:
    """Return whether a customer is satisfied with the answer. If not, the same request is sent again."""
    return exchange.status == SUCCESS[exchange.operation] or _is_in(REFUSALS.get(exchange.operation, {}), exchange)


def is_5xx(exchange: Exchange) -> bool:
    """Return whether the service says that it could not do what was asked for (RFC 9110, section 15.6)."""
    return exchange.status is not None and exchange.status >= 500


def is_honest(exchange: Exchange) -> bool:
    """Return whether an answer is a 503 that says in the documented form what is unavailable and when to ask again."""
    codes = {*OUTAGES[503], *OUTAGES_OF_ONE.get(exchange.operation, {}).get(503, ())}
    after = exchange.headers.get("retry-after", "")
    is_problem = exchange.status == 503 and exchange.headers.get("content-type") == PROBLEM
    return is_problem and exchange.code in codes and after.isdecimal() and int(after) > 0


def server_errors(record: Record) -> Counter[str]:
    """Count the answers 5xx that customers saw: "503 overloaded", or "500 internal_error, not honest"."""
    return Counter(
        f"{exchange.status} {exchange.code or 'without a code'}{'' if is_honest(exchange) else ', not honest'}"
        for exchange in record.exchanges
        if is_5xx(exchange)
    )


def audit(record: Record, books: Books, documentation: Mapping[str, Any]) -> list[str]:
    """Return everything that is wrong with a run, one sentence each. `documentation` is service -> OpenAPI document."""
    return [
        *(fault for exchange in record.exchanges for fault in _faults_of_answer(exchange, record, documentation)),
        *(f"{count} answers {kind}" for kind, count in server_errors(record).items() if "not honest" in kind),
        *_faults_of_run(record, books),
        *_faults_of_calm(record),
        *_faults_of_orders(record, books),
        *_faults_of_readings(record),
        *_faults_of_deliveries(record, books),
        *books.faults(record.catalogue.stock),
    ]


def _faults_of_answer(exchange: Exchange, record: Record, documentation: Mapping[str, Any]) -> Iterator[str]:
    """Check one answer by itself: a status and a code that are documented, and possible at that time."""
    if exchange.status is None:
        if not record.was_down(exchange):
            yield f"{exchange.service} was up, and gave no answer: {exchange}"
        return
    path = exchange.operation.split(" ", 1)
    answers = documentation[exchange.service]["paths"][path[1]][path[0].lower()]["responses"]
    documented = answers.get(str(exchange.status), {})
    media_type = exchange.headers.get("content-type", "").split(";")[0]
    if media_type not in documented.get("content", {}):
        yield f"an answer that is not documented: {exchange}"
    if "x-request-id" not in exchange.headers:
        yield f"an answer without X-Request-ID: {exchange}"
    if exchange.status != SUCCESS[exchange.operation]:
        yield from _faults_of_problem(exchange, record)


def _faults_of_problem(exchange: Exchange, record: Record) -> Iterator[str]:
    is_outage = _is_in(OUTAGES, exchange) or _is_in(OUTAGES_OF_ONE.get(exchange.operation, {}), exchange)
    is_expected = is_outage and (_is_slow(exchange, record) or not record.was_calm(exchange))
    # A service that hung cannot know whether the body was late or the service itself. Nothing was done.
    is_expected |= (exchange.status, exchange.code) == (408, "body_timeout") and record.did_hang(exchange)
    if not is_expected and not _is_in(REFUSALS.get(exchange.operation, {}), exchange):
        yield f"an answer that was not expected {'in calm' if record.was_calm(exchange) else 'at all'}: {exchange}"
        return
    content = exchange.content
    if exchange.headers["content-type"] != PROBLEM or content.get("status") != exchange.status or not content["title"]:
        yield f"not problem details of RFC 9457: {exchange}"


def _is_slow(exchange: Exchange, record: Record) -> bool:
    """Return whether an answer may be caused by a busy machine alone.

    After such an answer an order is pending, and no worker has its lease. The search for such orders may take it before
    the customer asks again, so `bill_in_progress` may follow until that lease ends.
    """
    if exchange.code in SLOW:
        return True
    return exchange.code == "bill_in_progress" and any(
        (earlier.uid, earlier.key) == (exchange.uid, exchange.key)
        and earlier.code in SLOW
        and 0 <= exchange.sent_at - earlier.ended_at < LEASE.total_seconds()
        for earlier in record.exchanges
    )


def _faults_of_run(record: Record, books: Books) -> Iterator[str]:
    """Check that what is to be tested did happen: a run without it proves nothing about it."""
    if missing := sorted(set(get_args(Kind)) - {down.kind for down in record.downtimes}):
        yield f"no part was broken in these ways: {missing}"
    if not any(one.code == "out_of_stock" for one in record.exchanges):
        yield "no order was refused because a product was sold out"
    if not books.released:
        yield "nothing that was held for an order came back into stock"


def _faults_of_calm(record: Record) -> Iterator[str]:
    """Check that few answers say that another service is slow while nothing is broken."""
    calm = [exchange for exchange in record.exchanges if record.was_calm(exchange)]
    slow = [exchange for exchange in calm if _is_slow(exchange, record)]
    if len(slow) > max(2, MAX_SLOW * len(calm)):
        yield f"{len(slow)} of {len(calm)} answers in calm are {sorted({str(exchange.code) for exchange in slow})}"


def _faults_of_orders(record: Record, books: Books) -> Iterator[str]:
    """Check what each idempotency key led to: one bill, as ordered, at possible prices, and the same in the books."""
    attempts: dict[tuple[str, str], list[Exchange]] = {}
    for exchange in record.exchanges:
        if exchange.operation == "POST /bills" and exchange.key is not None:
            attempts.setdefault((exchange.uid, exchange.key), []).append(exchange)
    seen: dict[str, str] = {}
    for (uid, key), exchanges in attempts.items():
        found = books.orders.get((uid, key), [])
        if len(found) != 1:
            yield f"the key {key} has {len(found)} orders in the books"
        ends = [exchange for exchange in exchanges if is_final(exchange)]
        if not ends:
            yield f"the key {key} never got an answer"
            continue
        if any((one.status, one.code) != (ends[0].status, ends[0].code) for one in ends):
            yield f"the key {key} got different answers: {[str(one) for one in ends]}"
        elif ends[0].status == SUCCESS["POST /bills"]:
            yield from _faults_of_bill(ends[0], exchanges[0].sent_at, record.catalogue)
            yield from (
                f"not the answer of the first time: {one}" for one in ends[1:] if one.content != ends[0].content
            )
            bill = ends[0].content
            if seen.setdefault(bill["id"], key) != key:
                yield f"the bill {bill['id']} was issued for two keys"
            if found[:1] != [(bill["id"], "issued")]:
                yield f"not as in the books, which have {found}: {ends[0]}"
            if books.bills.get(bill["id"]) != (uid, bill["status"], bill["total"]["currency"], _lines(bill)):
                yield f"not as in the books, which have {books.bills.get(bill['id'])}: {ends[0]}"
        else:
            yield from _faults_of_refusal(ends[0], exchanges[0].sent_at, record)
            if [status for _, status in found] != ["abandoned"]:
                yield f"refused, and the books have {found}: {ends[0]}"
    if unseen := books.bills.keys() - seen.keys():
        yield f"no customer got the bills {sorted(unseen)}"
    if others := books.orders.keys() - attempts.keys():
        yield f"no customer placed the orders {sorted(others)}"


def _faults_of_bill(exchange: Exchange, ordered_at: float, catalogue: Catalogue) -> Iterator[str]:
    """Check a bill by itself: lines as ordered, names and prices of the time, and sums that add up."""
    bill = exchange.content
    if (bill["status"], bill["user_id"]) != ("issued", exchange.uid):
        yield f"not a bill of this customer that is issued: {exchange}"
    ordered = [(item["product_id"], item["quantity"]) for item in exchange.sent["items"]]
    if [(line["product_id"], line["quantity"]) for line in bill["lines"]] != ordered:
        yield f"not what was ordered ({ordered}): {exchange}"
    for line in bill["lines"]:
        possible = catalogue.possible(line["product_id"], ordered_at, exchange.ended_at)
        if (line["name"], line["unit_price"]["amount"]) not in possible:
            yield f"a price or a name that the catalogue did not have ({possible}): {exchange}"
        if line["amount"]["amount"] != line["unit_price"]["amount"] * line["quantity"]:
            yield f"a line that does not add up: {exchange}"
        if line["unit_price"]["currency"] != catalogue.currency[line["product_id"]]:
            yield f"another currency than in the catalogue: {exchange}"
    currencies = {line[part]["currency"] for line in bill["lines"] for part in ("unit_price", "amount")}
    if bill["total"]["amount"] != sum(line["amount"]["amount"] for line in bill["lines"]):
        yield f"a total that is not the sum of the lines: {exchange}"
    if currencies != {bill["total"]["currency"]}:
        yield f"more than one currency: {exchange}"


def _faults_of_refusal(exchange: Exchange, ordered_at: float, record: Record) -> Iterator[str]:
    products = {item["product_id"] for item in exchange.sent["items"]}
    if exchange.code == "out_of_stock" and not products.intersection(record.catalogue.scarce):
        yield f"out of stock, and there is plenty: {exchange}"
    if exchange.code == "currencies_mixed" and len({record.catalogue.currency[name] for name in products}) == 1:
        yield f"these products have one currency: {exchange}"
    if (
        exchange.code == "order_given_up"
        and record.shop_seconds(ordered_at, exchange.ended_at) < PATIENCE.total_seconds()
    ):
        yield f"given up too early: {exchange}"


def _faults_of_readings(record: Record) -> Iterator[str]:
    """Check what was read: a bill is what it was when it was issued, a product is one of its revisions."""
    issued = [one for one in record.exchanges if one.operation == "POST /bills" and one.status == 201]
    bills = {one.content["id"]: one.content for one in issued}
    for exchange in record.exchanges:
        if exchange.status != SUCCESS[exchange.operation]:
            continue
        match exchange.operation:
            case "GET /bills/{bill_id}":
                if exchange.content != bills[exchange.path.split("/")[2]]:
                    yield f"not the bill as it was issued: {exchange}"
            case "GET /bills/{bill_id}/invoice":
                bill = bills[exchange.path.split("/")[2]]
                sums = [bill["total"], *(line["amount"] for line in bill["lines"])]
                if any(money(**sum_) not in exchange.text for sum_ in sums):
                    yield f"not the sums of the bill {bill}: {exchange}"
            case "GET /bills":
                before = [one.content for one in issued if one.uid == exchange.uid and one.ended_at < exchange.sent_at]
                yield from _faults_of_list(exchange, before, bills)
            case "GET /products/{product_id}" | "PATCH /products/{product_id}":
                yield from _faults_of_product(exchange, record.catalogue)


def _faults_of_list(
    exchange: Exchange, before: Sequence[Mapping[str, Any]], bills: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    """Check a list of bills, of which there may be more pages: the latest first, and none is missing."""
    page = exchange.content
    ids = [bill["id"] for bill in page["items"]]
    if ids != sorted(ids, reverse=True):
        yield f"not the latest bills first: {exchange}"
    for bill in page["items"]:
        if bill["user_id"] != exchange.uid or bill != bills.get(bill["id"], bill):
            yield f"in a list, not as it was issued: {bill}"
    on_page = {bill["id"] for bill in before if page["next_cursor"] is None or bill["id"] > min(ids, default="")}
    if missing := on_page - set(ids):
        yield f"in a list, the bills {sorted(missing)} are missing: {exchange}"


def _faults_of_product(exchange: Exchange, catalogue: Catalogue) -> Iterator[str]:
    product = exchange.content
    possible = catalogue.possible(product["id"], exchange.sent_at, exchange.ended_at)
    if (product["name"], product["price"]["amount"]) not in possible:
        yield f"a price or a name that the product did not have ({possible}): {exchange}"
    if not 0 <= product["stock"] <= catalogue.stock[product["id"]]:
        yield f"a stock that the product never had: {exchange}"


def _faults_of_deliveries(record: Record, books: Books) -> Iterator[str]:
    """Check the deliveries: one for a bill, to its address, which goes forward, and arrives."""
    answers = [
        one for one in record.exchanges if one.path.endswith("/delivery") and one.status == SUCCESS[one.operation]
    ]
    requested = {}
    for path, of_bill in groupby(sorted(answers, key=lambda one: (one.path, one.sent_at)), lambda one: one.path):
        exchanges = list(of_bill)
        bill_id = path.split("/")[2]
        first = exchanges[0].content
        requested[bill_id] = (first["id"], "delivered", first["address"])
        for one in exchanges:
            delivery = one.content
            told = (delivery["id"], delivery["bill_id"], delivery["address"])
            asked = exchanges[0].sent
            if told != (first["id"], bill_id, asked["address"] if asked else HOME):
                yield f"not the delivery that was requested: {one}"
        steps = [one.content["status"] for one in exchanges]
        if steps != sorted(steps, key=DELIVERY_STEPS.index):
            yield f"a delivery went back: {steps} for {path}"
    if books.deliveries != requested:
        yield f"the books have other deliveries than customers: {_difference(books.deliveries, requested)}"


def _difference(one: Mapping[str, object], other: Mapping[str, object]) -> dict[str, object]:
    return {key: (one.get(key), other.get(key)) for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def _lines(bill: Mapping[str, Any]) -> list[BilledLine]:
    return [
        (line["product_id"], line["name"], line["unit_price"]["amount"], line["quantity"]) for line in bill["lines"]
    ]


def _is_in(answers: Mapping[int, Collection[str]], exchange: Exchange) -> bool:
    return exchange.status is not None and exchange.code in answers.get(exchange.status, ())
