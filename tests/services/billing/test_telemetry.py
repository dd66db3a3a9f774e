"""What the shop tells about a purchase: one trace through all services, metrics, and nothing about the customer."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from mstoken.safe_spans import SPAN_ATTRIBUTES, STATEMENT, SafeSpanExporter
from mstoken.wire import SERVICE_TOKEN_HEADER
from services.common.measures import TRACEPARENT
from services.common.telemetry import METRIC_ATTRIBUTES
from tests.recorded import Recorded, recording
from tests.services.billing.conftest import Shop
from tests.services.conventions import use_new_conventions
from tests.services.shop import ADDRESS, answered, eventually
from tests.trace_tree import Node, picture, tree

CLIENT_ADDRESS = "203.0.113.9"


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """OpenTelemetry with the filters of a service. It is there before the apps are made."""
    use_new_conventions(monkeypatch)
    only = View(instrument_name="*", attribute_keys=set(METRIC_ATTRIBUTES))
    with recording(SafeSpanExporter, [only]) as recorded:
        yield recorded


@pytest.fixture
def traced(shop: Shop) -> Shop:
    """A shop whose calls carry the names of their spans, as those of instrumented clients do."""
    for network in shop.to_product, shop.to_user:
        network.transport = AsyncOpenTelemetryTransport(network.transport)
    for client in shop.billing, shop.product, shop.user:
        client.event_hooks = {"request": [_inject]}
    return shop


async def _inject(request: httpx.Request) -> None:
    propagate.inject(request.headers)


async def buy(shop: Shop, recorded: Recorded) -> dict[str, Any]:
    """Buy a kettle, have it delivered to the address in the profile, and return the delivery."""
    answered(await shop.user.patch("/profile", json={"address": ADDRESS}, headers=shop.maya))
    kettle = await shop.offer()
    with trace.get_tracer("test").start_as_current_span("purchase"):
        bill = answered(await shop.order((kettle["id"], 1)), 201)
        delivery: dict[str, Any] = answered(
            await shop.billing.post(f"/bills/{bill['id']}/delivery", headers=shop.maya), 202
        )

    async def is_handed_over() -> bool:
        return bool(recorded.named("send deliver"))

    await eventually(is_handed_over)
    await deliver(shop, delivery["id"])
    return delivery


async def deliver(shop: Shop, delivery_id: str) -> None:
    """Do what the function `deliver` does with a task."""
    context = propagate.extract({TRACEPARENT: shop.queue.traceparents[0] or ""})
    with trace.get_tracer("test").start_as_current_span("deliver", context, SpanKind.CONSUMER):
        for status in "dispatched", "delivered":
            headers = shop.firebase.service_headers("delivery", to="billing")
            path = f"/deliveries/{delivery_id}/events"
            answered(await shop.billing.post(path, json={"status": status}, headers=headers))


def of_one_trace(recorded: Recorded, name: str) -> list[ReadableSpan]:
    """Return the spans of the trace to which the span of that name belongs."""
    (first,) = recorded.named(name)
    return [span for span in recorded.spans if span.context.trace_id == first.context.trace_id]


def nodes(spans: list[ReadableSpan]) -> list[Node]:
    return [
        Node(
            trace.format_span_id(span.context.span_id),
            span.parent and trace.format_span_id(span.parent.span_id),
            "",
            span.name,
            span.start_time or 0,
            span.end_time or 0,
        )
        for span in spans
    ]


PURCHASE = """
purchase
  POST /bills
    mstoken.verification
    POST
      POST /reservations
        mstoken.verification
          mstoken.replay.spend
    POST
      POST /reservations/{bill_id}/commit
        mstoken.verification
          mstoken.replay.spend
  POST /bills/{bill_id}/delivery
    mstoken.verification
    GET
      GET /users/{uid}
        mstoken.verification
          mstoken.replay.spend
    send deliver
      deliver
        POST /deliveries/{delivery_id}/events
          mstoken.verification
            mstoken.replay.spend
        POST /deliveries/{delivery_id}/events
          mstoken.verification
            mstoken.replay.spend
"""
"""A purchase without its sign-ins, of which some are made ahead of need, and without the statements."""


async def test_a_purchase_is_one_trace(traced: Shop, recorded: Recorded) -> None:
    """It goes through Billing, Product and User, through the outbox to the function, and back to Billing."""
    await buy(traced, recorded)
    spans = of_one_trace(recorded, "purchase")
    calls = [span for span in spans if span.name != "mstoken.sign_in" and STATEMENT not in (span.attributes or {})]
    assert picture(tree(nodes(calls)), with_times=False) == PURCHASE.strip()
    sign_ins = [span for span in spans if span.name == "mstoken.sign_in"]
    assert sign_ins  # The first call to a service waits for one.
    assert {span.name for span in spans if STATEMENT in (span.attributes or {})} >= {"INSERT", "SELECT", "UPDATE"}
    assert {span.status.status_code for span in spans} == {StatusCode.UNSET}


async def test_questions_that_a_process_asks_itself_are_left_out(traced: Shop, recorded: Recorded) -> None:
    """Each process looks for work all the time. Such a statement belongs to no trace, and is not exported."""
    await buy(traced, recorded)
    roots = {span.name for span in recorded.spans if span.parent is None}
    assert roots <= {"purchase", "mstoken.sign_in", "PATCH /profile", "POST /products"}


async def test_the_metrics_of_a_purchase(traced: Shop, recorded: Recorded) -> None:
    """Bills and deliveries are counted by the states that they come into, hand-overs by their outcome."""
    await buy(traced, recorded)

    def counts(metric: str, attribute: str) -> dict[str, int]:
        return {point.attributes.get(attribute, ""): point.value for point in recorded.points(metric)}

    assert counts("shop.bills", "shop.bill.state") == {"pending": 1, "issued": 1}
    assert counts("shop.deliveries", "shop.delivery.status") == {"requested": 1, "dispatched": 1, "delivered": 1}
    assert counts("shop.outbox.hand_overs", "error.type") == {"": 1}
    assert counts("shop.circuit.open", "shop.circuit")["product"] == 0
    answered(await traced.order(((await traced.offer(stock=1))["id"], 2)), 409)
    assert counts("shop.bills", "shop.bill.state") == {"pending": 2, "issued": 1, "abandoned": 1}


async def test_a_repeated_report_is_not_counted(traced: Shop, recorded: Recorded) -> None:
    """The queue may send a task twice. A delivery comes into a status once."""
    delivery = await buy(traced, recorded)
    await deliver(traced, delivery["id"])
    points = recorded.points("shop.deliveries")
    assert {point.attributes["shop.delivery.status"]: point.value for point in points}["delivered"] == 1


@pytest.mark.both_databases
class TestUnfinishedWork:
    """What is not finished is measured."""

    async def test_the_age_of_the_oldest_delivery(self, shop: Shop, recorded: Recorded) -> None:
        """It counts from the request for the delivery, however often it was handed over since."""
        shop.queue.unavailable = True
        bill = await shop.bill()
        path = f"/bills/{bill['id']}/delivery"
        answered(await shop.billing.post(path, json={"address": ADDRESS}, headers=shop.maya), 202)
        shop.time.advance(timedelta(minutes=7))

        async def is_measured() -> bool:
            return any(point.value >= 420 for point in recorded.points("shop.outbox.age"))

        async with shop.another_billing():  # It measures when it starts.
            await eventually(is_measured)

    async def test_orders_that_are_not_settled(self, shop: Shop, recorded: Recorded) -> None:
        """An order that waits for Product is pending."""
        kettle = await shop.offer()
        shop.to_product.answers_with(httpx.Response(503))
        answered(await shop.order((kettle["id"], 1)), 503)

        async def is_measured() -> bool:
            return [point.value for point in recorded.points("shop.bills.pending")] == [1]

        async with shop.another_billing():
            await eventually(is_measured)


async def test_nothing_about_a_customer_is_exported(traced: Shop, recorded: Recorded) -> None:
    """Sign-up, log-in, a purchase, and refusals: no token, key, password, id, name or address of the customer.

    Neither the spans nor the metrics have any of it.
    """
    for client in traced.billing, traced.product, traced.user:
        transport = client._transport
        assert isinstance(transport, httpx.ASGITransport)
        transport.client = (CLIENT_ADDRESS, 50_000)
    account = {"email": "wanda.okoro@example.com", "password": "correct horse battery", "display_name": "Wanda Okoro"}
    signed_up = answered(await traced.user.post("/signup", json=account), 201)
    log_in = {"email": account["email"], "password": account["password"]}
    logged_in = answered(await traced.user.post("/login", json=log_in, headers={"Host": "wanda.example"}))
    await traced.user.post("/login", json=log_in | {"password": "another secret"})
    await buy(traced, recorded)
    token = traced.firebase.service_headers("billing", to="product")[SERVICE_TOKEN_HEADER]
    for _ in range(2):
        await traced.product.get("/products?q=umbrella-4711", headers={SERVICE_TOKEN_HEADER: token})
    await traced.product.get("/products", headers={"Authorization": "Bearer broken-4712"})
    traced.to_user.answers_with(httpx.ConnectError("no way to maya"))
    bill = await traced.bill()
    await traced.billing.get(f"/bills/{bill['id']}/invoice", headers=traced.maya)
    secrets = {
        *texts_of(account),
        *texts_of(signed_up),
        *texts_of(logged_in),
        *texts_of(ADDRESS),
        *("another secret", "umbrella-4711", "broken-4712", "wanda.example", "no way to maya", CLIENT_ADDRESS),
        *("maya", "web-api-key", "key-1", bill["id"], token),
        *(headers["Authorization"].removeprefix("Bearer ") for headers in (traced.maya, traced.tomas, traced.admin)),
    }
    exported = "".join(span.to_json() for span in recorded.spans) + repr(list(recorded.all_points()))
    assert len(recorded.spans) > 100
    assert "token_replayed" in exported
    assert [secret for secret in secrets if secret in exported] == []
    assert re.search(r"eyJ[\w-]+\.[\w-]+\.", exported) is None
    assert {name for span in recorded.spans for name in span.attributes or {}} <= SPAN_ATTRIBUTES
    assert {name for _, point in recorded.all_points() for name in point.attributes} <= METRIC_ATTRIBUTES


def texts_of(value: object) -> Iterator[str]:
    """Iterate over the texts in a JSON value that are long enough to be found by no accident."""
    match value:
        case str() if len(value) > 3 and not value.startswith(("http", "Bearer")):
            yield value
        case dict():
            for member in value.values():
                yield from texts_of(member)
        case list():
            for member in value:
                yield from texts_of(member)
